"""What a stream transport takes for writing, when it pauses its protocol, how writing ends."""

from __future__ import annotations

import array
import errno
import logging
import os
import select
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.epoll.twins import (
    PATIENCE,
    Loop,
    Pair,
    Recorder,
    adopted,
    drain,
    receive,
    reset,
    turn,
    turn_until,
)

#: More than the kernel takes at once from either kind of socket.
BIG = bytes(range(256)) * 40_000


KINDS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "memoryview of bytearray": lambda data: memoryview(bytearray(data)),
    "part of a memoryview": lambda data: memoryview(b"<" + data + b">")[1:-1],
    "subclass of bytes": type("Bytes", (bytes,), {}),
    "memoryview of an array": lambda data: memoryview(array.array("B", data)),
}


@pytest.mark.parametrize("of", KINDS)
@pytest.mark.parametrize("data", [b"small", BIG[:100_000]], ids=["small", "large"])
def test_everything_like_bytes_is_written(loop: Loop, pair: Pair, of: str, data: bytes) -> None:
    with adopted(loop, Recorder(), pair) as (transport, peer):
        assert transport.write(KINDS[of](data)) is None
        assert drain(loop, peer, len(data)) == data


@pytest.mark.parametrize("bad", ["text", None, 5, array.array("B", b"x"), [b"x"]], ids=repr)
@pytest.mark.parametrize("closed", [False, True])
def test_nothing_else_is_written(loop: Loop, bad: object, closed: bool) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        if closed:
            transport.close()
        with pytest.raises(TypeError, match="data argument must be a bytes") as failure:
            transport.write(bad)
        assert f"not {type(bad).__name__!r}" in str(failure.value)


def test_nothing_is_sent_for_empty_data(loop: Loop) -> None:
    with adopted(loop, Recorder()) as (transport, peer):
        transport.write(b"")
        transport.writelines([])
        transport.write(b"x")
        turn(loop)
        assert peer.recv(10) == b"x"


def test_writes_keep_their_order(loop: Loop, pair: Pair) -> None:
    with adopted(loop, Recorder(), pair) as (transport, peer):
        pieces = [BIG, b"small", BIG[:77_777], b"last"]
        for piece in pieces:
            transport.write(piece)
        assert drain(loop, peer, sum(map(len, pieces))) == b"".join(pieces)


def test_writes_in_one_turn_arrive_without_another(loop: Loop, pair: Pair) -> None:
    """What is written before the loop stops has been sent when it has stopped."""
    with adopted(loop, Recorder(), pair) as (transport, peer):
        loop.call_soon(transport.write, b"head")
        loop.call_soon(transport.write, b"body")
        turn(loop)
        assert receive(peer, 8) == b"headbody"


def test_a_write_while_the_loop_does_not_run_is_sent(loop: Loop, pair: Pair) -> None:
    with adopted(loop, Recorder(), pair) as (transport, peer):
        transport.write(b"now")
        assert receive(peer, 3) == b"now"


def test_a_buffer_may_change_after_it_was_written(
    loop: Loop, pair: Pair, request: pytest.FixtureRequest
) -> None:
    if "asyncio" in request.node.name and sys.version_info >= (3, 12):
        pytest.skip("asyncio of 3.12 and later keeps a view of what the kernel did not take")
    with adopted(loop, Recorder(), pair) as (transport, peer):
        data = bytearray(BIG)
        transport.write(data)
        data[:] = bytes(len(data))
        data.clear()
        view = bytearray(b"second")
        transport.write(memoryview(view))
        view[:] = b"******"
        assert drain(loop, peer, len(BIG) + 6) == BIG + b"second"


@pytest.mark.parametrize("of", [list, tuple, iter])
def test_writelines(loop: Loop, pair: Pair, of: Callable[[Any], Any]) -> None:
    if of is iter and sys.version_info >= (3, 12):
        pytest.skip("asyncio of 3.12 and later asks an iterator whether it is empty: undefined")
    pieces = [b"one", b"", bytearray(b"two"), memoryview(b"three")]
    with adopted(loop, Recorder(), pair) as (transport, peer):
        transport.writelines(of(pieces))
        assert drain(loop, peer, 11) == b"onetwothree"


def test_writelines_of_much(loop: Loop, pair: Pair) -> None:
    pieces = [bytes([number % 251]) * (number % 97 * 30) for number in range(3000)]
    with adopted(loop, Recorder(), pair) as (transport, peer):
        transport.writelines(pieces)
        transport.write(b"end")
        expected = b"".join(pieces) + b"end"
        assert drain(loop, peer, len(expected)) == expected


@pytest.mark.parametrize("bad", [[b"x", "text"], [5], 5], ids=repr)
def test_writelines_of_what_is_no_bytes(loop: Loop, bad: Any) -> None:  # noqa: ANN401
    with adopted(loop, Recorder()) as (transport, _), pytest.raises(TypeError):
        transport.writelines(bad)


def test_the_buffer_size_is_what_the_kernel_has_not_taken(loop: Loop, pair: Pair) -> None:
    with adopted(loop, Recorder(), pair) as (transport, peer):
        assert transport.get_write_buffer_size() == 0
        transport.write(b"x")
        assert transport.get_write_buffer_size() == 0
        transport.write(BIG)
        unsent = transport.get_write_buffer_size()
        assert 0 < unsent < len(BIG)
        transport.write(b"more")
        assert transport.get_write_buffer_size() == unsent + 4
        drain(loop, peer, len(BIG) + 5)
        turn(loop, 2)
        assert transport.get_write_buffer_size() == 0


def test_the_default_marks(loop: Loop) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        assert transport.get_write_buffer_limits() == (16384, 65536)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (16384, 65536)),
        ({"high": 100}, (25, 100)),
        ({"high": 0}, (0, 0)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 10, "low": 10}, (10, 10)),
        ({"high": 5, "low": 0}, (0, 5)),
        ({"low": 0}, (0, 0)),
        ({"high": None, "low": None}, (16384, 65536)),
    ],
    ids=str,
)
def test_marks(loop: Loop, given: dict[str, Any], expected: tuple[int, int]) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        transport.set_write_buffer_limits(**given)
        assert transport.get_write_buffer_limits() == expected


@pytest.mark.parametrize(
    "given", [{"high": 5, "low": 6}, {"high": -1}, {"low": -1}, {"high": 0, "low": 1}], ids=str
)
def test_wrong_marks(loop: Loop, given: dict[str, Any]) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        with pytest.raises(ValueError, match=r"must be >= low .* must be >= 0"):
            transport.set_write_buffer_limits(**given)
        assert transport.get_write_buffer_limits() == (16384, 65536)


@pytest.mark.parametrize("high", [None, 0, 1, 100_000])
def test_pause_and_resume_once_each(loop: Loop, pair: Pair, high: int | None) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.set_write_buffer_limits(high=high)
        transport.write(BIG)
        assert protocol.events == [("made",), ("pause",)], "it is told inside write()"
        transport.write(BIG)
        transport.write(b"x")
        turn(loop, 2)
        assert protocol.events == [("made",), ("pause",)]
        drain(loop, peer, 2 * len(BIG) + 1)
        turn(loop, 2)
        assert protocol.events == [("made",), ("pause",), ("resume",)]


def test_a_full_buffer_below_the_mark_does_not_pause(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.set_write_buffer_limits(high=len(BIG) * 2)
        transport.write(BIG)
        assert transport.get_write_buffer_size() > 0
        drain(loop, peer, len(BIG))
        turn(loop, 2)
        assert protocol.events == [("made",)]


def test_what_the_kernel_takes_does_not_pause(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.set_write_buffer_limits(high=0)
        for _ in range(10):
            transport.write(b"x" * 100)
        turn(loop)
        assert receive(peer, 1000) == b"x" * 1000
    assert protocol.events == [("made",), ("lost", None)]


def test_marks_that_change_while_paused(loop: Loop) -> None:
    protocol = Recorder()
    with adopted(loop, protocol) as (transport, peer):
        transport.write(BIG)
        transport.set_write_buffer_limits(high=0)
        drain(loop, peer, len(BIG))
        turn(loop, 2)
        assert protocol.events == [("made",), ("pause",), ("resume",)]


def test_lower_marks_pause_at_the_next_write(loop: Loop) -> None:
    protocol = Recorder()
    with adopted(loop, protocol) as (transport, peer):
        transport.set_write_buffer_limits(high=len(BIG) * 2)
        transport.write(BIG)
        transport.set_write_buffer_limits(high=0)
        transport.write(b"x")
        assert protocol.events == [("made",), ("pause",)]
        drain(loop, peer, len(BIG) + 1)


@pytest.mark.parametrize("call", ["pause_writing", "resume_writing"])
def test_failures_of_flow_control_are_reported(loop: Loop, reports: Any, call: str) -> None:  # noqa: ANN401
    def fail(_: object) -> None:
        raise ZeroDivisionError

    protocol = type("Protocol", (Recorder,), {call: fail})()
    with adopted(loop, protocol) as (transport, peer):
        transport.write(BIG)
        drain(loop, peer, len(BIG))
        turn(loop, 2)
        assert not transport.is_closing()
        report = reports.take_one()
        assert report["message"] == f"protocol.{call}() failed"
        assert set(report) == {"message", "exception", "transport", "protocol"}
        transport.write(b"x")
        turn(loop)
        assert receive(peer, 1) == b"x"


def test_writing_in_resume_writing(loop: Loop) -> None:
    class Protocol(Recorder):
        left = 3

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.left:
                self.left -= 1
                self.transport.write(BIG)

    protocol = Protocol()
    with adopted(loop, protocol) as (transport, peer):
        transport.write(BIG)
        assert drain(loop, peer, 4 * len(BIG)) == BIG * 4
        turn(loop, 2)
    assert protocol.events == [("made",), *[("pause",), ("resume",)] * 4, ("lost", None)]


@pytest.mark.parametrize("data", [b"", b"small", BIG], ids=["nothing", "small", "large"])
def test_write_eof(loop: Loop, pair: Pair, data: bytes) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        assert transport.can_write_eof()
        transport.write(data)
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
            transport.write(b"x")
        assert drain(loop, peer, len(data)) == data
        turn(loop, 2)
        assert peer.recv(1) == b""
        peer.send(b"answer")
        turn_until(loop, lambda: protocol.received == b"answer")
        assert not transport.is_closing()


def test_write_eof_raises_what_the_kernel_says(loop: Loop) -> None:
    """The peer has gone, and the loop has not heard of it yet."""
    protocol = Recorder()
    with adopted(loop, protocol) as (transport, peer):
        transport.pause_reading()
        ending = select.poll()
        ending.register(transport.get_extra_info("socket").fileno(), 0)
        reset(peer)
        assert ending.poll(PATIENCE * 1000)
        with pytest.raises(OSError, match=os.strerror(errno.ENOTCONN)):
            transport.write_eof()
        assert not transport.is_closing()
        assert transport.write_eof() is None
        with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"):
            transport.write(b"x")
        transport.resume_reading()
        turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", "ConnectionResetError")]


def test_writelines_after_write_eof(loop: Loop) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        transport.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            transport.writelines([b"x"])


def test_both_ends_finish(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.write_eof()
        turn(loop)
        assert peer.recv(1) == b""
        peer.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("eof",), ("lost", None)]


def test_writing_to_a_peer_that_has_gone(loop: Loop, pair: Pair) -> None:
    protocol = Recorder()
    with adopted(loop, protocol, pair) as (transport, peer):
        transport.pause_reading()
        peer.close()
        turn(loop)
        for _ in range(5):
            transport.write(b"x")
            turn(loop)
        turn_until(loop, lambda: protocol.is_lost)
    assert [event[0] for event in protocol.events] == ["made", "lost"]
    assert protocol.events[1][1] in {"BrokenPipeError", "ConnectionResetError"}


def test_a_reset_while_much_is_unsent(loop: Loop) -> None:
    protocol = Recorder()
    with adopted(loop, protocol) as (transport, peer):
        transport.pause_reading()
        transport.write(BIG)
        reset(peer)
        turn_until(loop, lambda: protocol.is_lost)
        assert transport.get_write_buffer_size() == 0
    assert protocol.events == [("made",), ("pause",), ("lost", "ConnectionResetError")]


def test_writes_after_the_loss_are_warned_of(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        transport.abort()
        with caplog.at_level(logging.WARNING, "asyncio"):
            for _ in range(6):
                transport.write(b"x")
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["socket.send() raised exception."] * 2


def test_writes_after_close_are_dropped(loop: Loop, pair: Pair) -> None:
    with adopted(loop, Recorder(), pair) as (transport, peer):
        transport.write(b"before")
        transport.close()
        transport.write(b"after")
        turn(loop, 2)
        assert receive(peer, 6) == b"before"
        assert peer.recv(10) == b""


def test_writes_after_close_while_something_is_unsent(loop: Loop, pair: Pair) -> None:
    """asyncio queues them: the connection is not lost yet."""
    with adopted(loop, Recorder(), pair) as (transport, peer):
        transport.write(BIG)
        transport.close()
        transport.write(b"after")
        assert drain(loop, peer, len(BIG) + 5) == BIG + b"after"
        turn(loop, 2)
        assert peer.recv(10) == b""
