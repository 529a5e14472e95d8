"""What is written to a pipe: at once, later, or never."""

from __future__ import annotations

import os

import pytest

from tests.epoll.pipes import Ends, connect_writer, fill
from tests.epoll.twins import Loop, turn, turn_until


def test_what_the_kernel_does_not_take_is_written_later(loop: Loop, pipe: Ends) -> None:
    writer, protocol = connect_writer(loop, pipe[1])
    size = fill(writer)
    writer.write(b"the end")
    assert protocol.events == [("made",), ("pause",)]
    writer.close()
    assert writer.is_closing()
    received = bytearray()

    def is_complete() -> bool:
        received.extend(os.read(pipe[0].fileno(), 65536))
        return protocol.is_lost

    turn_until(loop, is_complete)
    while piece := pipe[0].read(65536):
        received += piece
    assert received == bytes(size) + b"the end"
    assert protocol.events == [("made",), ("pause",), ("resume",), ("lost", None)]
    assert pipe[1].closed


def test_a_changed_buffer_is_written_as_it_was(loop: Loop, pipe: Ends) -> None:
    writer, protocol = connect_writer(loop, pipe[1])
    size = fill(writer)
    data = bytearray(b"before")
    writer.write(data)
    data[:] = b"after!"
    writer.close()
    received = bytearray()

    def is_complete() -> bool:
        received.extend(os.read(pipe[0].fileno(), 65536))
        return protocol.is_lost

    turn_until(loop, is_complete)
    while piece := pipe[0].read(65536):
        received += piece
    assert received[size:] == b"before"


def test_the_limits_of_what_is_unwritten(loop: Loop, pipe: Ends) -> None:
    writer, protocol = connect_writer(loop, pipe[1])
    assert writer.get_write_buffer_limits() == (16384, 65536)
    writer.set_write_buffer_limits(high=2 << 20)
    assert writer.get_write_buffer_limits() == (1 << 19, 2 << 20)
    fill(writer)
    assert protocol.events == [("made",)]
    writer.set_write_buffer_limits(low=10)
    assert writer.get_write_buffer_limits() == (10, 40)
    writer.write(b"more")
    assert protocol.events == [("made",), ("pause",)]
    with pytest.raises(ValueError, match="must be >= low"):
        writer.set_write_buffer_limits(high=1, low=2)
    writer.abort()
    turn(loop, 2)


def test_the_reader_has_gone(loop: Loop, pipe: Ends) -> None:
    writer, protocol = connect_writer(loop, pipe[1])
    pipe[0].close()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", None)]
    assert writer.is_closing()
    writer.write(b"nothing happens")


def test_the_reader_has_gone_with_bytes_unwritten(loop: Loop, pipe: Ends) -> None:
    writer, protocol = connect_writer(loop, pipe[1])
    fill(writer)
    pipe[0].close()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events[-1] == ("lost", "BrokenPipeError")
    assert writer.get_write_buffer_size() == 0


def test_a_write_that_fails(loop: Loop, pipe: Ends) -> None:
    writer, protocol = connect_writer(loop, pipe[1])
    pipe[0].close()
    writer.write(b"to nobody")
    assert writer.is_closing()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", "BrokenPipeError")]


def test_writes_to_a_lost_pipe_are_warned_of(
    loop: Loop, pipe: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    writer, _ = connect_writer(loop, pipe[1])
    pipe[0].close()
    for _ in range(8):
        writer.write(b"to nobody")
    turn(loop, 3)
    assert "pipe closed by peer or os.write(pipe, data) raised exception." in caplog.messages


@pytest.mark.parametrize("has_unwritten", [False, True])
def test_abort_drops_what_is_unwritten(loop: Loop, pipe: Ends, has_unwritten: bool) -> None:
    writer, protocol = connect_writer(loop, pipe[1])
    if has_unwritten:
        fill(writer)
    writer.abort()
    assert writer.is_closing()
    assert writer.get_write_buffer_size() == 0
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events[-1] == ("lost", None)
    assert pipe[1].closed


def test_the_end_of_writing_closes(loop: Loop, pipe: Ends) -> None:
    writer, protocol = connect_writer(loop, pipe[1])
    writer.write_eof()
    writer.write_eof()
    writer.close()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", None)]
    assert pipe[0].read() == b""
