"""Pipes on our loop alone, where asyncio does something else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import epoll
from tests.epoll.pipes import anonymous, connect_reader, connect_writer, fill
from tests.epoll.twins import Recorder, run, turn, turn_until


@pytest.fixture
def own_loop() -> Iterator[epoll.EventLoop]:
    loop = epoll.EventLoop()
    yield loop
    loop.close()


def test_an_object_closed_by_the_program_costs_nobody_a_descriptor(
    own_loop: epoll.EventLoop,
) -> None:
    """The number that somebody else has got since is neither read, watched nor closed."""
    reading, writing = anonymous()
    number = reading.fileno()
    reader, protocol = connect_reader(own_loop, reading)
    reading.close()
    stranger, other = os.pipe()
    assert stranger == number
    os.write(other, b"for a stranger")
    writing.write(b"for us")
    turn_until(own_loop, lambda: protocol.received)
    assert protocol.received == b"for us"
    reader.close()
    turn_until(own_loop, lambda: protocol.is_lost)
    assert os.read(stranger, 100) == b"for a stranger"
    for descriptor in (stranger, other):
        os.close(descriptor)
    writing.close()


def test_a_fifo_that_is_open_for_both_is_not_taken_for_closed(
    own_loop: epoll.EventLoop, tmp_path: Path
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer, protocol = connect_writer(own_loop, path.open("r+b", 0))
    writer.write(b"nobody has read this yet")
    turn(own_loop, 3)
    assert not writer.is_closing()
    writer.close()
    turn_until(own_loop, lambda: protocol.is_lost)


def test_a_closed_file_is_refused(own_loop: epoll.EventLoop) -> None:
    reading, writing = anonymous()
    reading.close()
    writing.close()
    with pytest.raises(ValueError, match="closed file"):
        connect_reader(own_loop, reading)
    with pytest.raises(ValueError, match="closed file"):
        connect_writer(own_loop, writing)


def test_every_end_is_told_once(own_loop: epoll.EventLoop) -> None:
    reading, writing = anonymous()
    writer, protocol = connect_writer(own_loop, writing)
    writer.close()
    writer.abort()
    reading.close()
    turn(own_loop, 3)
    writer.abort()
    writer.close()
    turn(own_loop, 3)
    assert protocol.events == [("made",), ("lost", None)]


def test_what_cannot_be_watched_is_lost_at_once(own_loop: epoll.EventLoop) -> None:
    reports: list[dict[str, Any]] = []
    own_loop.set_exception_handler(lambda _, context: reports.append(context))
    own_loop.set_debug(False)  # else asyncio asks the closed file for its number, to log it
    device = Path(os.devnull).open("rb", 0)  # noqa: SIM115
    _, protocol = connect_reader(own_loop, device)
    turn_until(own_loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", "PermissionError")]
    assert [type(report["exception"]) for report in reports] == [PermissionError]


def test_a_pipe_can_be_watched_besides(own_loop: epoll.EventLoop) -> None:
    reading, writing = anonymous()
    writer, protocol = connect_writer(own_loop, writing)
    seen: list[int] = []
    own_loop.add_writer(writing, seen.append, 1)
    turn_until(own_loop, lambda: seen)
    assert own_loop.remove_writer(writing)
    writer.close()
    turn_until(own_loop, lambda: protocol.is_lost)
    reading.close()


def test_what_a_transport_says_of_itself(own_loop: epoll.EventLoop) -> None:
    reading, writing = anonymous()
    reader, _ = connect_reader(own_loop, reading)
    writer, _ = connect_writer(own_loop, writing)
    read_fd, write_fd = reading.fileno(), writing.fileno()
    assert repr(reader) == f"<ReadPipeTransport fd={read_fd} polling>"
    reader.pause_reading()
    assert repr(reader) == f"<ReadPipeTransport fd={read_fd} idle>"
    assert repr(writer) == f"<WritePipeTransport fd={write_fd} idle bufsize=0>"
    writer.write(bytes(100_000))
    assert repr(writer) == f"<WritePipeTransport fd={write_fd} polling bufsize=34464>"
    writer.close()
    reader.close()
    assert repr(reader) == f"<ReadPipeTransport closing fd={read_fd} idle>"
    writer.abort()
    turn(own_loop, 2)
    assert repr(reader) == f"<ReadPipeTransport closed fd={read_fd} closed>"
    assert repr(writer) == f"<WritePipeTransport closed fd={write_fd} closed>"
    with pytest.raises(TypeError, match="bytes-like object"):
        writer.write("text")


def test_an_interrupt_in_a_protocol_leaves_the_loop_and_loses_nothing(
    own_loop: epoll.EventLoop,
) -> None:
    class Interrupted(Recorder):
        def eof_received(self) -> object:
            super().eof_received()
            raise KeyboardInterrupt

    reading, writing = anonymous()
    _, protocol = run(own_loop, own_loop.connect_read_pipe(Interrupted, reading))
    writing.close()
    with pytest.raises(KeyboardInterrupt):
        turn_until(own_loop, lambda: protocol.is_lost)
    turn(own_loop, 2)
    assert protocol.events == [("made",), ("eof",), ("lost", None)]


def test_a_pipe_is_left_alone_by_who_takes_it_from_the_transport(
    own_loop: epoll.EventLoop,
) -> None:
    reading, writing = anonymous()
    reader, _ = connect_reader(own_loop, reading)
    reader._pipe = None
    with pytest.raises(AttributeError):
        reader._pipe = reading
    del reader
    writing.write(b"x")
    turn(own_loop, 2)
    assert reading.read(1) == b"x"
    reading.close()
    writing.close()


def test_no_descriptor_is_left(own_loop: epoll.EventLoop) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = count()
    for end in range(2):
        reading, writing = anonymous()
        _, received = connect_reader(own_loop, reading)
        writer, sent = connect_writer(own_loop, writing)
        if end:
            fill(writer)
            writer.abort()
        else:
            writer.close()
        turn_until(own_loop, lambda a=received, b=sent: a.is_lost and b.is_lost)  # type: ignore[misc]
    assert count() == before
