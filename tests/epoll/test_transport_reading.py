"""How a stream transport hands over what it receives, and how its protocol may steer that."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.epoll.twins import (
    KINDS,
    BufferedRecorder,
    Loop,
    Pair,
    Recorder,
    Reports,
    adopted,
    receive,
    reset,
    run,
    turn,
    turn_until,
)


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> type[Recorder]:
    return KINDS[request.param]


def test_data_arrive_in_order(loop: Loop, pair: Pair, kind: type[Recorder]) -> None:
    protocol = kind()
    sent = bytes(range(256)) * 4000
    with adopted(loop, protocol, pair) as (_, peer):
        peer.setblocking(False)
        rest = memoryview(sent)
        while rest:
            try:
                rest = rest[peer.send(rest) :]
            except BlockingIOError:
                turn(loop)
        turn_until(loop, lambda: len(protocol.received) == len(sent))
    assert protocol.events == [("made",), ("data", sent), ("lost", None)]


def test_data_received_gets_bytes(loop: Loop) -> None:
    types: list[type] = []

    class Protocol(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            types.append(type(data))

    with adopted(loop, Protocol()) as (_, peer):
        peer.send(b"x")
        turn_until(loop, lambda: types)
    assert types == [bytes]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_buffer_may_be_small(loop: Loop, pair: Pair, size: int) -> None:
    protocol = BufferedRecorder()
    protocol.size = size
    with adopted(loop, protocol, pair) as (_, peer):
        peer.send(b"0123456789" * 10)
        turn_until(loop, lambda: len(protocol.received) == 100)
        assert protocol.received == b"0123456789" * 10


def test_a_buffer_may_be_of_any_writable_kind(loop: Loop) -> None:
    class Protocol(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:  # noqa: ANN401
            self.memory = bytearray(10)
            return self.memory if len(self.received) % 2 else memoryview(self.memory)[2:6]

        def buffer_updated(self, nbytes: int) -> None:
            at = 0 if len(self.received) % 2 else 2
            self.note_data(bytes(self.memory[at : at + nbytes]))

    protocol = Protocol()
    with adopted(loop, protocol) as (_, peer):
        for letter in (b"a", b"b", b"c"):
            peer.send(letter)
            turn_until(loop, lambda letter=letter: protocol.received.endswith(letter))
    assert protocol.received == b"abc"


BAD_BUFFERS: dict[str, Callable[[], Any]] = {
    "empty": lambda: bytearray(),
    "read-only": lambda: b"x" * 10,
    "none": lambda: None,
    "text": lambda: "x" * 10,
    "raising": lambda: 1 / 0,
}


@pytest.mark.parametrize("bad", BAD_BUFFERS)
def test_a_bad_buffer_is_reported_and_ends_the_connection(
    loop: Loop, reports: Reports, bad: str
) -> None:
    class Protocol(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:  # noqa: ANN401
            return BAD_BUFFERS[bad]()

    protocol = Protocol()
    with adopted(loop, protocol) as (transport, peer):
        peer.send(b"x")
        turn_until(loop, lambda: protocol.is_lost)
    error = {"empty": "RuntimeError", "raising": "ZeroDivisionError"}.get(bad, "TypeError")
    assert protocol.events == [("made",), ("lost", error)]
    report = reports.take_one()
    assert set(report) == {"message", "exception", "transport", "protocol"}
    assert report["transport"] is transport
    assert report["protocol"] is protocol
    calls = {"empty": True, "none": True, "raising": True}
    assert report["message"] == (
        "Fatal error: protocol.get_buffer() call failed."
        if bad in calls
        else "Fatal read error on socket transport"
    )


CALLS = {
    "data_received": Recorder,
    "buffer_updated": BufferedRecorder,
    "eof_received": Recorder,
}


@pytest.mark.parametrize("call", CALLS)
def test_a_failing_protocol_is_reported_and_ends_the_connection(
    loop: Loop, reports: Reports, call: str
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    protocol = type("Protocol", (CALLS[call],), {call: fail})()
    with adopted(loop, protocol) as (_, peer):
        if call == "eof_received":
            peer.shutdown(socket.SHUT_WR)
        else:
            peer.send(b"x")
        turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", "ZeroDivisionError")]
    assert reports.take_one()["message"] == f"Fatal error: protocol.{call}() call failed."


@pytest.mark.parametrize("kind_of_error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_in_a_protocol_leaves_the_loop_and_the_connection(
    loop: Loop, kind_of_error: type[BaseException]
) -> None:
    class Protocol(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data == b"bad":
                raise kind_of_error

    protocol = Protocol()
    with adopted(loop, protocol) as (transport, peer):
        peer.send(b"bad")
        with pytest.raises(kind_of_error):
            turn(loop, 5)
        turn(loop, 2)
        assert not transport.is_closing()
        peer.send(b"good")
        turn_until(loop, lambda: protocol.received == b"badgood")


def test_the_end_of_the_peer_closes(loop: Loop, pair: Pair, kind: type[Recorder]) -> None:
    protocol = kind()
    with adopted(loop, protocol, pair) as (transport, peer):
        peer.send(b"last")
        peer.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda: protocol.is_lost)
        assert peer.recv(1) == b""
        assert transport.is_closing()
    assert protocol.events == [("made",), ("data", b"last"), ("eof",), ("lost", None)]


def test_a_true_answer_to_the_end_keeps_writing(
    loop: Loop, pair: Pair, kind: type[Recorder]
) -> None:
    protocol = kind()
    protocol.keeps_open = "yes"
    with adopted(loop, protocol, pair) as (transport, peer):
        peer.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda: ("eof",) in protocol.events)
        turn(loop, 3)
        transport.write(b"answer")
        turn(loop)
        assert receive(peer, 6) == b"answer"
        assert not transport.is_closing()
        transport.close()
        turn(loop, 2)
        assert peer.recv(1) == b""
    assert protocol.events == [("made",), ("eof",), ("lost", None)]


def test_a_half_closed_connection_costs_no_turns(loop: Loop) -> None:
    protocol = Recorder()
    protocol.keeps_open = True
    with adopted(loop, protocol) as (_, peer):
        peer.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda: ("eof",) in protocol.events)
        # Were the end reported again and again, the loop would not sleep.
        before = loop.time()
        busy = time.process_time()
        loop.call_later(0.1, loop.stop)
        loop.run_forever()
        busy = time.process_time() - busy
        assert loop.time() - before >= 0.1
    assert busy < 0.05
    assert protocol.events.count(("eof",)) == 1


@pytest.mark.parametrize("reading", [True, False])
def test_a_reset_is_reported_as_what_it_is(loop: Loop, kind: type[Recorder], reading: bool) -> None:
    protocol = kind()
    with adopted(loop, protocol) as (transport, peer):
        if not reading:
            transport.pause_reading()
        reset(peer)
        turn(loop, 3)
        if not reading:
            assert not protocol.is_lost
            transport.resume_reading()
        turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", "ConnectionResetError")]


def test_pause_and_resume(loop: Loop, pair: Pair, kind: type[Recorder]) -> None:
    protocol = kind()
    with adopted(loop, protocol, pair) as (transport, peer):
        assert transport.is_reading()
        transport.pause_reading()
        transport.pause_reading()
        assert not transport.is_reading()
        peer.send(b"one")
        turn(loop, 3)
        assert protocol.received == b""
        transport.resume_reading()
        transport.resume_reading()
        assert transport.is_reading()
        turn_until(loop, lambda: protocol.received == b"one")
        transport.close()
        assert not transport.is_reading()
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()


def test_pause_in_connection_made(loop: Loop, pair: Pair, kind: type[Recorder]) -> None:
    class Protocol(kind):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            transport.pause_reading()

    protocol = Protocol()
    with adopted(loop, protocol, pair) as (transport, peer):
        assert not transport.is_reading()
        peer.send(b"x")
        turn(loop, 3)
        assert protocol.received == b""
        transport.resume_reading()
        turn_until(loop, lambda: protocol.received == b"x")


def test_pause_and_resume_in_connection_made(loop: Loop, kind: type[Recorder]) -> None:
    class Protocol(kind):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            transport.pause_reading()
            transport.resume_reading()

    protocol = Protocol()
    with adopted(loop, protocol) as (_, peer):
        peer.send(b"x")
        turn_until(loop, lambda: protocol.received == b"x")


def test_pause_in_a_callback_holds_at_once(loop: Loop, pair: Pair, kind: type[Recorder]) -> None:
    class Protocol(kind):  # type: ignore[misc, valid-type]
        size = 10

        def note_data(self, data: bytes) -> None:
            super().note_data(data)
            self.transport.pause_reading()

    protocol = Protocol()
    sent = bytes(range(100)) * 10_000  # more than one read takes
    with adopted(loop, protocol, pair) as (transport, peer):
        peer.setblocking(False)
        rest = memoryview(sent)
        while len(protocol.received) < 500:
            with contextlib.suppress(BlockingIOError):
                rest = rest[peer.send(rest) :]
            before = len(protocol.received)
            turn(loop, 3)
            once = len(protocol.received)
            assert once - before <= 1 << 18
            turn(loop, 3)
            assert len(protocol.received) == once, "data have come while reading was paused"
            transport.resume_reading()
        assert sent.startswith(protocol.received)


def test_the_end_is_not_told_while_paused(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.pause_reading()
        peer.send(b"x")
        peer.shutdown(socket.SHUT_WR)
        turn(loop, 3)
        assert protocol.events == [("made",)]
        transport.resume_reading()
        turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("data", b"x"), ("eof",), ("lost", None)]


@pytest.mark.parametrize("second", list(KINDS))
@pytest.mark.parametrize("where", ["outside", "in a callback"])
def test_set_protocol(loop: Loop, kind: type[Recorder], second: str, where: str) -> None:
    events: list[Any] = []
    after = KINDS[second]("after", events)

    class Before(kind):  # type: ignore[misc, valid-type]
        def note_data(self, data: bytes) -> None:
            super().note_data(data)
            if where == "in a callback":
                self.transport.set_protocol(after)

    before = Before("before", events)
    with adopted(loop, before) as (transport, peer):
        assert transport.get_protocol() is before
        peer.send(b"one")
        turn_until(loop, lambda: before.received == b"one")
        transport.set_protocol(after)
        assert transport.get_protocol() is after
        peer.send(b"two")
        turn_until(loop, lambda: ("after", "data", b"two") in events)
        peer.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda: after.is_lost)
    assert events == [
        ("before", "made"),
        ("before", "data", b"one"),
        ("after", "data", b"two"),
        ("after", "eof"),
        ("after", "lost", None),
    ]


def test_a_protocol_need_not_be_a_protocol(loop: Loop) -> None:
    """Any object with the methods will do; it may even get them later."""
    seen: list[Any] = []

    class Anything:
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            seen.append("made")

        def connection_lost(self, exc: BaseException | None) -> None:
            seen.append("lost")

    anything = Anything()
    with adopted(loop, anything) as (_, peer):
        anything.data_received = seen.append  # type: ignore[attr-defined]
        peer.send(b"x")
        turn_until(loop, lambda: b"x" in seen)
        anything.data_received = lambda data: seen.append(data * 2)  # type: ignore[attr-defined]
        peer.send(b"y")
        turn_until(loop, lambda: b"yy" in seen)
    assert seen == ["made", b"x", b"yy", "lost"]


def test_methods_that_are_replaced_are_called(loop: Loop, kind: type[Recorder]) -> None:
    """Programs exchange the methods of a protocol that is connected already."""
    protocol = kind()
    replaced: Any = protocol
    seen: list[Any] = []
    with adopted(loop, protocol) as (_, peer):
        name = "buffer_updated" if kind is BufferedRecorder else "data_received"
        setattr(replaced, name, seen.append)
        peer.send(b"x")
        turn_until(loop, lambda: seen)
        assert seen == [1 if kind is BufferedRecorder else b"x"]
        replaced.eof_received = lambda: seen.append("eof")
        replaced.connection_lost = lambda exc: seen.append("lost")
        peer.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda: "lost" in seen)
    assert seen[1:] == ["eof", "lost"]
    assert protocol.events == [("made",)]


def test_many_connections_are_served_side_by_side(loop: Loop) -> None:
    """A busy connection does not keep the others waiting."""
    busy, quiet = Recorder(), Recorder()
    with adopted(loop, busy) as (_, flood), adopted(loop, quiet) as (_, peer):
        flood.setblocking(False)
        block = bytes(1 << 16)

        def pour() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    flood.send(block)

        for number in range(1, 20):
            pour()
            peer.send(b"x")
            turn(loop, 2)
            assert len(quiet.received) >= number - 1


def test_the_loop_goes_on_when_a_transport_ends_in_data_received(
    loop: Loop, kind: type[Recorder]
) -> None:
    class Protocol(kind):  # type: ignore[misc, valid-type]
        size = 1

        def note_data(self, data: bytes) -> None:
            super().note_data(data)
            self.transport.abort()

    protocol = Protocol()
    with adopted(loop, protocol) as (_, peer):
        peer.send(b"xyz")
        turn_until(loop, lambda: protocol.is_lost)
        turn(loop, 3)
    assert [event[0] for event in protocol.events] == ["made", "data", "lost"]


def test_run_helper_reports_lateness() -> None:
    """The helper that bounds each wait works."""
    loop = asyncio.new_event_loop()
    try:
        assert run(loop, asyncio.sleep(0, "done")) == "done"
    finally:
        loop.close()
