"""What is our transport's own: its memory, its descriptor, what it gathers and what it hides."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import os
import socket
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest

import epoll
from epoll._loop import SocketTransport
from tests.epoll.twins import (
    BufferedRecorder,
    Loop,
    Recorder,
    adopted,
    drain,
    receive,
    run,
    tcp_pair,
    turn,
    turn_until,
    unix_pair,
)

MUCH = b"0123456789abcdef" * (1 << 18)
TIME = 10.0


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def accepted(loop: Loop, protocol: asyncio.Protocol) -> tuple[Any, socket.socket]:
    """A connection that the loop has accepted, so that it has no socket object yet."""
    server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
    peer = socket.create_connection(server.sockets[0].getsockname(), timeout=TIME)
    while not isinstance(protocol, Recorder) or protocol.transport is None:
        await asyncio.sleep(0)
    server.close()
    return protocol.transport, peer


def test_it_is_a_transport_that_cannot_be_made_by_hand() -> None:
    assert issubclass(SocketTransport, asyncio.Transport)
    with pytest.raises(TypeError):
        SocketTransport()


def test_attributes_and_weak_references(ours: Loop) -> None:
    with adopted(ours, Recorder()) as (transport, _):
        transport.mark = 1
        assert transport.__dict__ == {"mark": 1}
        assert weakref.ref(transport)() is transport


def test_a_cycle_through_a_lost_transport_is_collected(ours: Loop) -> None:
    protocol = Recorder()
    with adopted(ours, protocol) as (transport, _):
        transport.mark = transport
        gone = weakref.ref(transport)
    del transport, protocol.transport
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", ["peername", "sockname"])
def test_names_are_known_after_the_end(ours: Loop, name: str) -> None:
    protocol = Recorder()
    transport, peer = run(ours, accepted(ours, protocol))
    with peer:
        known = {"peername": peer.getsockname(), "sockname": peer.getpeername()}[name]
    turn_until(ours, lambda: protocol.is_lost)
    assert transport.get_extra_info(name) == known


def test_the_socket_is_made_when_it_is_asked_for(ours: Loop) -> None:
    protocol = Recorder()
    transport, peer = run(ours, accepted(ours, protocol))
    with peer:
        wrapped = transport.get_extra_info("socket")
        assert wrapped.fileno() == transport._sock.fileno() == transport._sock_fd
        assert wrapped is transport.get_extra_info("socket")
        assert (wrapped.family, wrapped.type, wrapped.gettimeout()) == (
            socket.AF_INET,
            socket.SOCK_STREAM,
            0,
        )
        assert wrapped.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        transport.close()
        turn(ours, 2)
        assert wrapped.fileno() == -1
        assert transport._sock is None


def test_the_socket_of_a_lost_transport_is_closed(ours: Loop) -> None:
    protocol = Recorder()
    transport, peer = run(ours, accepted(ours, protocol))
    peer.close()
    turn_until(ours, lambda: protocol.is_lost)
    assert transport.get_extra_info("socket").fileno() == -1


def test_extra_information_is_complete(ours: Loop) -> None:
    with adopted(ours, Recorder()) as (transport, peer):
        assert set(transport._extra) == {"socket", "sockname", "peername"}
        assert transport._extra["peername"] == peer.getsockname()
        assert transport.get_extra_info("absent", default=5) == 5
        assert transport.get_extra_info("absent") is None


@pytest.mark.parametrize("asks", [False, True], ids=["without", "with"])
def test_no_descriptor_is_left(ours: Loop, asks: bool) -> None:
    run(ours, asyncio.sleep(0))
    before = open_descriptors()
    protocol = Recorder()
    transport, peer = run(ours, accepted(ours, protocol))
    if asks:
        transport.get_extra_info("socket")
    peer.close()
    turn_until(ours, lambda: protocol.is_lost)
    assert open_descriptors() == before


def test_a_program_that_closes_its_socket_does_not_free_the_number(ours: Loop) -> None:
    ours_end, peer = tcp_pair()
    protocol = Recorder()
    with peer:
        transport, _ = run(ours, ours.connect_accepted_socket(lambda: protocol, ours_end))
        number = ours_end.fileno()
        ours_end.close()
        assert os.fstat(number)
        peer.send(b"still here")
        turn_until(ours, lambda: protocol.received)
        transport.close()
        turn(ours, 2)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
        os.dup2(peer.fileno(), number)  # a stranger gets the number
        del transport, ours_end, protocol.transport
        gc.collect()
        os.close(number)


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_socket_is_the_callers_again_when_no_transport_is_made(
    ours: Loop, is_closed: bool
) -> None:
    class NoProtocol:
        """Has no connection_made(); may close the socket before that is found."""

        def __getattribute__(self, name: str) -> object:
            if is_closed:
                ours_end.close()
            raise AttributeError(name)

    before = open_descriptors()
    ours_end, peer = tcp_pair()
    with peer:
        with pytest.raises(AttributeError, match="connection_made"):
            ours._make_socket_transport(ours_end, NoProtocol())  # type: ignore[attr-defined]
        if not is_closed:
            ours_end.sendall(b"mine")
            assert receive(peer, 4) == b"mine"
            ours_end.close()
        assert peer.recv(1) == b""
    assert open_descriptors() == before


def test_an_unclosed_transport_is_warned_of_when_its_loop_is_closed() -> None:
    loop = epoll.new_event_loop()
    ours_end, peer = unix_pair()
    with peer:
        protocol = Recorder()
        run(loop, loop.connect_accepted_socket(lambda: protocol, ours_end))
        del protocol.transport
        with pytest.warns(ResourceWarning, match="unclosed transport <SocketTransport fd="):
            loop.close()
        assert peer.recv(1) == b""
    assert ours_end.fileno() == -1


def test_a_transport_of_a_closed_loop_refuses() -> None:
    loop = epoll.new_event_loop()
    ours_end, peer = unix_pair()
    with peer, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        transport, _ = run(loop, loop.connect_accepted_socket(Recorder, ours_end))
        loop.close()
        for method, *arguments in (("write", b"x"), ("close",), ("abort",)):
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                getattr(transport, method)(*arguments)
        assert not transport.is_closing()
        del transport
        gc.collect()


def test_a_dropped_loop_takes_its_transports_along() -> None:
    loop = epoll.new_event_loop()
    ours_end, peer = unix_pair()
    with peer, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        run(loop, loop.connect_accepted_socket(Recorder, ours_end))
        gone = weakref.ref(loop)
        del loop, ours_end
        gc.collect()
        assert gone() is None
        assert peer.recv(1) == b""


def test_what_a_callback_writes_is_one_piece(ours: Loop) -> None:
    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            for piece in (b"head ", bytearray(b"and "), memoryview(b"body")):
                self.transport.write(piece)

    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # which keeps pieces apart
    ends[0].setblocking(False)
    with ends[1] as peer:
        peer.settimeout(TIME)
        transport = ours._make_socket_transport(ends[0], Answering())
        peer.send(b"?")
        turn(ours, 3)
        assert peer.recv(100) == b"head and body"
        transport.abort()
        turn(ours, 2)


def test_a_question_for_the_buffer_sends_first(ours: Loop) -> None:
    with adopted(ours, Recorder()) as (transport, peer):
        peer.setblocking(False)

        def write() -> None:
            transport.write(b"data")
            assert transport.get_write_buffer_size() == 0
            assert peer.recv(10) == b"data"
            asked.append(True)

        asked: list[bool] = []
        ours.call_soon(write)
        turn(ours, 2)
        assert asked


def test_too_much_is_sent_at_once_and_pauses_inside_the_write(ours: Loop) -> None:
    protocol = Recorder()
    with adopted(ours, protocol) as (transport, peer):
        memory = bytearray(MUCH)

        def write() -> None:
            transport.write(memory)
            protocol.note("written")
            memory[:] = bytes(len(memory))  # it was snapshotted, and may even be resized
            memory.clear()

        ours.call_soon(write)
        turn(ours, 2)
        assert protocol.events == [("made",), ("pause",), ("written",)]
        assert drain(ours, peer, len(MUCH)) == MUCH
        turn_until(ours, lambda: ("resume",) in protocol.events)


def test_the_bytes_are_free_in_pause_writing(ours: Loop) -> None:
    class Reusing(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            for memory in memories:
                memory.clear()
            self.note("free")

    for write in ("write", "writelines"):
        memories = [bytearray(MUCH)]
        protocol = Reusing()
        with adopted(ours, protocol) as (transport, peer):
            getattr(transport, write)(memories[0] if write == "write" else memories)
            assert protocol.events == [("made",), ("pause",), ("free",)]
            assert drain(ours, peer, len(MUCH)) == MUCH


def test_a_buffer_that_lies_about_its_length(ours: Loop) -> None:
    class Liar(bytearray):
        def __len__(self) -> int:
            return 5

    class Lying(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:  # noqa: ANN401
            return Liar()

    reports: list[dict[str, Any]] = []
    ours.set_exception_handler(lambda _, report: reports.append(report))
    protocol = Lying()
    with adopted(ours, protocol) as (_, peer):
        peer.send(b"x")
        turn_until(ours, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", "RuntimeError")]
    assert [str(report["exception"]) for report in reports] == [
        "get_buffer() returned an empty buffer"
    ]


def test_a_buffer_is_free_after_each_read(ours: Loop) -> None:
    """A read that fills the buffer is followed by one that finds nothing, and keeps nothing."""

    class Exact(BufferedRecorder):
        memory = bytearray(4)

        def get_buffer(self, sizehint: int) -> Any:  # noqa: ANN401
            return self.memory

    protocol = Exact()
    with adopted(ours, protocol) as (_, peer):
        peer.send(b"four")
        turn_until(ours, lambda: protocol.received == b"four")
        turn(ours)
        protocol.memory.extend(b"may grow")


def test_callbacks_share_one_context(ours: Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the maker")

    class Reading(Recorder):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            self.note(variable.get())
            variable.set("of the connection")

        def data_received(self, data: bytes) -> None:
            self.note(variable.get())

        def connection_lost(self, exc: BaseException | None) -> None:
            self.note(variable.get())

    protocol = Reading()
    with adopted(ours, protocol) as (transport, peer):
        peer.send(b"x")
        turn_until(ours, lambda: len(protocol.events) == 3)
        transport.close()
        turn(ours, 2)
    assert [event[0] for event in protocol.events] == [
        "made",
        "of the maker",
        "of the connection",
        "of the connection",
    ]
    assert variable.get() == "of the maker"


@pytest.mark.parametrize("error", [None, ValueError("no"), ConnectionResetError()])
def test_force_close(ours: Loop, error: BaseException | None) -> None:
    protocol = Recorder()
    with adopted(ours, protocol) as (transport, _):
        transport._force_close(error)
        assert transport.is_closing()
        assert not protocol.is_lost
        transport._force_close(OSError("too late"))
        turn(ours, 2)
    assert protocol.events[-1] == ("lost", error and type(error).__name__)


def test_what_asyncio_reads(ours: Loop) -> None:
    with adopted(ours, Recorder()) as (transport, _):
        assert transport._loop is ours
        assert transport._protocol is transport.get_protocol()
        assert transport._server is None
        assert transport._start_tls_compatible is True
        assert transport._protocol_paused is False
        assert "read=polling" in repr(transport)
        transport.abort()
        assert "closing" in repr(transport)
        turn(ours, 2)
        assert "closed" in repr(transport)
        assert transport._loop is transport._protocol is None


def test_sendfile_falls_back_to_reading(ours: Loop) -> None:
    """A file without a descriptor is read and written; asyncio asks for its own mix-in then."""
    with adopted(ours, Recorder()) as (transport, peer):
        data = MUCH[:50_000]
        sent = run(ours, ours.sendfile(transport, io.BytesIO(data)))
        assert (sent, receive(peer, len(data))) == (len(data), data)
        assert transport.is_reading()


def test_an_end_during_sendfile_ends_it(ours: Loop, tmp_path: Path) -> None:
    path = tmp_path / "much"
    path.write_bytes(MUCH)
    with adopted(ours, Recorder()) as (transport, _), path.open("rb") as file:
        sending = ours.create_task(ours.sendfile(transport, file))
        turn(ours, 5)
        assert not sending.done()
        transport.abort()
        turn_until(ours, sending.done)
        assert isinstance(sending.exception(), OSError)


def test_wrong_limits_are_named(ours: Loop) -> None:
    with adopted(ours, Recorder()) as (transport, _):
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            transport.set_write_buffer_limits(high=1, low=2)
        transport.set_write_buffer_limits(high=sys.maxsize * 4)
        assert transport.get_write_buffer_limits()[1] == sys.maxsize
