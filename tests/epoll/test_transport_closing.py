"""How a stream transport ends, what it says of itself, and who owns its socket."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import weakref
from typing import Any

import pytest

from tests.epoll.twins import (
    PAIRS,
    Loop,
    Pair,
    Recorder,
    Reports,
    adopted,
    drain,
    is_open,
    receive,
    run,
    tcp_pair,
    turn,
    turn_until,
)

BIG = bytes(range(256)) * 40_000


@pytest.mark.parametrize("end", ["close", "abort"])
def test_the_loss_is_told_in_the_next_turn_and_once(loop: Loop, pair: Pair, end: str) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        for _ in range(3):
            getattr(transport, end)()
        assert transport.is_closing()
        assert not protocol.is_lost
        loop.call_soon(protocol.note, "scheduled afterwards")
        transport.abort()
        turn(loop)
        assert protocol.events == [("made",), ("lost", None), ("scheduled afterwards",)]
        assert peer.recv(1) == b""
        transport.close()
        transport.abort()
        turn(loop, 3)
    assert len(protocol.events) == 3


def test_close_sends_what_was_written(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.write(BIG)
        transport.close()
        turn(loop, 3)
        assert not protocol.is_lost
        assert drain(loop, peer, len(BIG)) == BIG
        turn_until(loop, lambda: protocol.is_lost)
        assert peer.recv(1) == b""
    assert protocol.events == [("made",), ("pause",), ("resume",), ("lost", None)]


def test_the_loss_after_the_last_byte_comes_before_what_resume_writing_schedules(
    loop: Loop, pair: Pair
) -> None:
    class Scheduler(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            loop.call_soon(self.note, "scheduled")

    protocol = Scheduler()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.set_write_buffer_limits(0)  # resumes when all is sent
        transport.write(BIG)
        transport.close()
        assert drain(loop, peer, len(BIG)) == BIG
        turn_until(loop, lambda: ("scheduled",) in protocol.events)
    assert protocol.events[-3:] == [("resume",), ("lost", None), ("scheduled",)]


def test_abort_does_not_send_what_was_written(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.write(BIG)
        transport.abort()
        assert transport.get_write_buffer_size() == 0
        turn(loop)
        assert protocol.events == [("made",), ("pause",), ("lost", None)]
        count = 0
        while piece := peer.recv(1 << 20):
            count += len(piece)
        assert 0 < count < len(BIG)


def test_abort_ends_a_close_that_waits(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, _):
        transport.write(BIG)
        transport.close()
        turn(loop, 2)
        assert not protocol.is_lost
        transport.abort()
        turn(loop)
        assert protocol.events == [("made",), ("pause",), ("lost", None)]


def test_data_after_close_are_not_told(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.write(BIG)
        transport.close()
        peer.send(b"x")
        turn(loop, 3)
        # The kernel answers a connection that was closed with something unread by a reset.
        with contextlib.suppress(ConnectionResetError):
            drain(loop, peer, len(BIG))
        turn_until(loop, lambda: protocol.is_lost)
    assert protocol.received == b""


def test_a_peer_that_ends_while_a_close_waits(loop: Loop) -> None:
    protocol = Recorder()
    with adopted(loop, protocol) as (transport, peer):
        transport.write(BIG)
        transport.close()
        peer.close()
        turn_until(loop, lambda: protocol.is_lost)
    assert [event[0] for event in protocol.events] == ["made", "pause", "lost"]
    assert protocol.events[-1][1] in {"ConnectionResetError", "BrokenPipeError"}


def test_the_descriptor_is_open_in_connection_lost_and_closed_after_it(
    loop: Loop, pair: Pair
) -> None:
    seen: list[bool] = []

    class Protocol(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            seen.append(is_open(fd))
            assert self.transport.get_extra_info("socket").fileno() == fd

    with adopted(loop, Protocol(), pair) as (transport, _):
        fd = transport.get_extra_info("socket").fileno()
        transport.close()
        assert is_open(fd)
        turn(loop, 2)
        assert seen == [True]
        assert not is_open(fd)
        assert transport.get_extra_info("socket").fileno() == -1


def test_a_failing_connection_lost_is_reported(loop: Loop, reports: Reports) -> None:
    class Protocol(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise ZeroDivisionError

    protocol = Protocol()
    with adopted(loop, protocol) as (transport, peer):
        fd = transport.get_extra_info("socket").fileno()
        transport.close()
        turn(loop, 2)
        assert not is_open(fd)
        assert peer.recv(1) == b""
    report = reports.take_one()
    assert report.summary == (
        "ZeroDivisionError",
        "Exception in callback _SelectorTransport._call_connection_lost",
    ) or isinstance(report["exception"], ZeroDivisionError)
    assert protocol.events == [("made",), ("lost", None)]


def test_a_failing_connection_made_is_reported_and_the_connection_stays(
    loop: Loop, reports: Reports
) -> None:
    class Protocol(Recorder):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            raise ZeroDivisionError

    protocol = Protocol()
    with adopted(loop, protocol) as (transport, peer):
        assert isinstance(reports.take_one()["exception"], ZeroDivisionError)
        assert not transport.is_closing()
        peer.send(b"x")
        turn_until(loop, lambda: protocol.received == b"x")


def test_close_in_connection_made(loop: Loop, pair: Pair) -> None:
    class Protocol(Recorder):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            transport.write(b"bye")
            transport.close()

    protocol = Protocol()
    with adopted(loop, protocol, pair) as (_, peer):
        turn(loop, 2)
        assert receive(peer, 3) == b"bye"
        assert peer.recv(1) == b""
    assert protocol.events == [("made",), ("lost", None)]


def test_a_transport_is_what_asyncio_says(loop: Loop) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        assert isinstance(transport, asyncio.Transport)
        assert not isinstance(transport, asyncio.DatagramTransport)
        assert "fd=" in repr(transport)
        assert "read=" in repr(transport)
        transport.anything = 5
        assert transport.anything == 5
        assert weakref.ref(transport)() is transport
        transport.close()
        assert "closing" in repr(transport)
        turn(loop, 2)
        assert "closed" in repr(transport)


def test_extra_infos_of_tcp(loop: Loop) -> None:
    with adopted(loop, Recorder()) as (transport, peer):
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock is transport.get_extra_info("socket")
        assert transport.get_extra_info("sockname") == peer.getpeername()
        assert transport.get_extra_info("peername") == peer.getsockname()
        assert sock.getsockname() == peer.getpeername()
        assert sock.getpeername() == peer.getsockname()
        assert sock.family == socket.AF_INET
        assert sock.type == socket.SOCK_STREAM
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_extra_info("nothing") is None
        assert transport.get_extra_info("nothing", 5) == 5
        assert transport.get_extra_info("sslcontext") is None
        transport.abort()
        turn(loop, 2)
        assert transport.get_extra_info("peername") == peer.getsockname()


def test_extra_infos_of_unix(loop: Loop) -> None:
    with adopted(loop, Recorder(), PAIRS["unix"]) as (transport, _):
        assert transport.get_extra_info("socket").family == socket.AF_UNIX
        assert transport.get_extra_info("sockname") == ""
        assert transport.get_extra_info("peername") == ""


def test_a_descriptor_of_a_transport_is_not_watched_by_others(loop: Loop) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        fd = transport.get_extra_info("socket").fileno()
        for call in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                call(fd, print)
        for remove in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                remove(fd)


def test_a_descriptor_may_be_watched_once_its_transport_closes(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    reader, writer = os.pipe()
    with adopted(loop, protocol, pair) as (transport, _):
        fd = transport.get_extra_info("socket").fileno()
        with pytest.raises(RuntimeError) as refusal:
            loop.add_reader(fd, print)
        assert str(refusal.value) == f"File descriptor {fd} is used by transport {transport!r}"
        transport.close()
        loop.add_reader(fd, protocol.note, "readable")
        assert loop.remove_reader(fd)
        loop.add_writer(fd, protocol.note, "writable")
        assert loop.remove_writer(fd)
        turn(loop, 2)
    assert protocol.events == [("made",), ("lost", None)]
    os.dup2(reader, fd)  # the number is somebody else's
    loop.add_reader(fd, protocol.note, "readable")
    os.write(writer, b"x")
    turn_until(loop, lambda: ("readable",) in protocol.events)
    assert loop.remove_reader(fd)
    for each in (reader, writer, fd):
        os.close(each)


def test_the_handed_socket_belongs_to_the_transport(loop: Loop, pair: Pair) -> None:
    ours, peer = pair()
    with peer:
        protocol = Recorder()
        transport, _ = run(loop, loop.connect_accepted_socket(lambda: protocol, ours))
        fd = ours.fileno()
        assert transport.get_extra_info("socket").fileno() == fd
        transport.close()
        turn(loop, 2)
        assert ours.fileno() == -1
        assert not is_open(fd)


def test_a_dropped_transport_is_kept_by_the_loop(loop: Loop) -> None:
    protocol = Recorder()
    ours, peer = tcp_pair()
    with peer:
        run(loop, loop.connect_accepted_socket(lambda: protocol, ours))
        protocol.transport = None
        gc.collect()
        peer.send(b"x")
        turn_until(loop, lambda: protocol.received == b"x")
    turn_until(loop, lambda: protocol.is_lost)
    assert ours.fileno() == -1


def test_a_transport_that_is_done_lets_go(loop: Loop) -> None:
    ours, peer = tcp_pair()
    with peer:
        transport, protocol = run(loop, loop.connect_accepted_socket(Recorder, ours))
        gone = weakref.ref(protocol)
        protocol.transport = None
        del protocol
        transport.close()
        turn(loop, 3)
        gc.collect()
        assert gone() is None, "the transport keeps its protocol"


def test_a_pipe_of_transports(loop: Loop) -> None:
    """Closing one connection in the callback of another."""
    first, second = Recorder("first"), Recorder("second", events := [])
    first.events = events
    with adopted(loop, first) as (one, peer), adopted(loop, second) as (other, other_peer):
        peer.send(b"x")
        other_peer.send(b"y")
        first.note_data = lambda _: other.abort()  # type: ignore[method-assign]
        turn_until(loop, lambda: second.is_lost)
        assert not one.is_closing()
        turn(loop, 2)
    lost = events.index(("second", "lost", None))
    assert ("second", "data", b"y") not in events[lost:]


def test_sendfile(loop: Loop, tmp_path: Any) -> None:  # noqa: ANN401
    path = tmp_path / "file"
    path.write_bytes(BIG[:300_000])
    with adopted(loop, Recorder()) as (transport, peer), path.open("rb") as file:
        task = loop.create_task(loop.sendfile(transport, file))
        assert drain(loop, peer, 300_000) == BIG[:300_000]
        assert run(loop, asyncio.wait_for(task, 5)) == 300_000
        assert transport.is_reading()
        transport.write(b"x")
        turn(loop)
        assert receive(peer, 1) == b"x"


def test_writing_during_sendfile_is_refused(loop: Loop, tmp_path: Any) -> None:  # noqa: ANN401
    path = tmp_path / "file"
    path.write_bytes(BIG)
    with adopted(loop, Recorder()) as (transport, peer), path.open("rb") as file:
        task = loop.create_task(loop.sendfile(transport, file))
        turn(loop, 3)
        with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
            transport.write(b"x")
        drain(loop, peer, len(BIG))
        run(loop, asyncio.wait_for(task, 5))
