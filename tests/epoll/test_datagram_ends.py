"""How a transport of datagrams ends, what it says of itself, and who owns its socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
import warnings
from typing import Any

import pytest

from tests.epoll.datagrams import DatagramRecorder, endpoint, full, inet_peers, take_all
from tests.epoll.twins import Loop, is_open, run, turn, turn_until


@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_loss_is_told_in_the_next_turn_and_once(loop: Loop, end: str) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (ours, _), endpoint(loop, protocol, sock=ours) as transport:
        assert not transport.is_closing()
        for _ in range(3):
            getattr(transport, end)()
        assert transport.is_closing()
        assert not transport.is_reading()
        assert not protocol.is_lost
        loop.call_soon(protocol.note, "scheduled afterwards")
        turn(loop)
        assert protocol.events == [("made",), ("lost", None), ("scheduled afterwards",)]
        transport.close()
        turn(loop, 3)
    assert len(protocol.events) == 3


def test_close_sends_what_is_queued(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with full(loop, protocol) as (transport, peer, sent):
        transport.close()
        transport.sendto(b"more")
        turn(loop, 3)
        assert not protocol.is_lost
        assert take_all(loop, peer, sent + 1)[-1] == b"more"
        turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", None)]


@pytest.mark.parametrize("closes_first", [False, True])
def test_abort_does_not_send_what_is_queued(loop: Loop, closes_first: bool) -> None:
    protocol = DatagramRecorder()
    with full(loop, protocol) as (transport, peer, sent):
        if closes_first:
            transport.close()
        transport.abort()
        turn(loop)
        assert protocol.events == [("made",), ("lost", None)]
        assert len(take_all(loop, peer, sent - 1)) == sent - 1
        with pytest.raises(BlockingIOError):
            peer.recv(10)


def test_nothing_is_received_after_close(loop: Loop) -> None:
    class Closing(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
            super().datagram_received(data, addr)
            self.transport.close()

    protocol = Closing()
    with inet_peers() as (ours, peer), endpoint(loop, protocol, sock=ours):
        for _ in range(5):
            peer.sendto(b"x", ours.getsockname())
        turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("data", b"x"), ("lost", None)]


def test_sendto_between_close_and_the_loss(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (ours, peer), endpoint(loop, protocol, sock=ours) as transport:
        transport.close()
        transport.sendto(b"late", peer.getsockname())
        assert peer.recv(10) == b"late"


def test_sendto_after_the_end_of_a_restricted_transport(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    with inet_peers() as (_, peer):
        with endpoint(loop, DatagramRecorder(), remote_addr=peer.getsockname()) as transport:
            transport.abort()
            with caplog.at_level(logging.WARNING, logger="asyncio"):
                for _ in range(4):
                    transport.sendto(b"x")
                assert caplog.messages == []
                transport.sendto(b"x")
                turn(loop, 2)
                transport.sendto(b"x")
            assert caplog.messages == ["socket.send() raised exception."] * 2
            with pytest.raises(ValueError, match="Invalid address"):
                transport.sendto(b"x", ("127.0.0.1", 1))
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(10)


def test_what_is_known_of_a_transport(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (ours, peer):
        name = ours.getsockname()
        with endpoint(loop, protocol, sock=ours) as transport:
            assert transport.get_extra_info("sockname") == name
            assert transport.get_extra_info("peername", "default") is None
            assert transport.get_extra_info("nothing") is None
            assert transport.get_extra_info("nothing", default=1) == 1
            assert transport.get_extra_info("socket").fileno() == ours.fileno()
            assert type(transport.get_extra_info("socket")).__name__ == "TransportSocket"
            assert isinstance(transport, asyncio.BaseTransport)
            assert transport.get_protocol() is protocol
            other = DatagramRecorder()
            transport.set_protocol(other)
            assert transport.get_protocol() is other
            peer.sendto(b"x", name)
            turn_until(loop, lambda: other.received)
            transport.close()
            turn(loop, 2)
            assert other.is_lost
            assert not protocol.is_lost
            assert transport.get_extra_info("sockname") == name
            assert transport.get_extra_info("socket").fileno() == -1


def test_the_repr(loop: Loop) -> None:
    with inet_peers() as (ours, peer), endpoint(loop, DatagramRecorder(), sock=ours) as transport:
        fd = ours.fileno()
        turn(loop)

        def text() -> str:
            return repr(transport).partition(" ")[2]

        assert text() == f"fd={fd} read=polling write=<idle, bufsize=0>>"
        transport.pause_reading()
        assert text() == f"fd={fd} read=idle write=<idle, bufsize=0>>"
        transport.close()
        assert text() == f"closing fd={fd} read=idle write=<idle, bufsize=0>>"
        turn(loop, 2)
        assert text() == f"closed fd={fd}>"
        assert peer.fileno() >= 0


def test_the_descriptor_is_closed_after_the_loss(loop: Loop) -> None:
    class Looking(DatagramRecorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            self.note("open", is_open(fd))

    protocol = Looking()
    with inet_peers() as (ours, _), endpoint(loop, protocol, sock=ours) as transport:
        fd = ours.fileno()
        transport.close()
        turn(loop)
        assert protocol.events == [("made",), ("open", True)]
        assert ours.fileno() == -1
        assert not is_open(fd)


def test_a_descriptor_has_one_owner(loop: Loop) -> None:
    with inet_peers() as (ours, _), endpoint(loop, DatagramRecorder(), sock=ours) as transport:
        for misuse in (
            lambda: loop.add_reader(ours, print),
            lambda: loop.add_writer(ours.fileno(), print),
            lambda: run(loop, loop.sock_recv(ours, 1)),
        ):
            with pytest.raises(RuntimeError, match="is used by transport"):
                misuse()
        transport.abort()
        turn(loop)
        assert ours.fileno() == -1


def test_an_unclosed_transport_warns(loop: Loop) -> None:
    with inet_peers() as (ours, _):
        transport, protocol = run(loop, loop.create_datagram_endpoint(DatagramRecorder, sock=ours))
        loop.close()
        protocol.transport = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del transport
            gc.collect()
        messages = [str(entry.message) for entry in caught if "transport" in str(entry.message)]
        assert len(messages) == 1
        assert messages[0].startswith("unclosed transport <")
        assert ours.fileno() == -1


def test_a_cancelled_endpoint(loop: Loop) -> None:
    protocol = DatagramRecorder()

    async def cancel() -> None:
        making = asyncio.ensure_future(
            loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
        )
        while not protocol.events and not making.done():
            await asyncio.sleep(0)
            if protocol.transport is not None:
                making.cancel()
        await asyncio.gather(making, return_exceptions=True)

    run(loop, cancel())
    protocol.transport.abort()
    turn(loop, 3)
    assert protocol.is_lost


def test_debug_mode_logs(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    loop.set_debug(True)
    caplog.set_level(logging.DEBUG, logger="asyncio")
    with inet_peers() as (ours, _), endpoint(loop, DatagramRecorder(), sock=ours) as transport:
        transport.pause_reading()
        transport.resume_reading()
        transport._fatal_error(OSError("of a test"))
        turn(loop)
    words = [message.partition("> ")[2] or message for message in caplog.messages]
    assert "pauses reading" in words
    assert "resumes reading" in words
    assert any("Fatal error on transport" in message for message in caplog.messages)
    assert sys.exc_info() == (None, None, None)
    assert isinstance(ours, socket.socket)
