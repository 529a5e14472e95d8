"""connect_read_pipe() and connect_write_pipe(): what asyncio promises of them."""

from __future__ import annotations

import asyncio
import gc
import os
import tty
from pathlib import Path
from typing import Any

import pytest

from tests.epoll.conftest import LoopMaker
from tests.epoll.pipes import Ends, anonymous, connect_reader, connect_writer, terminal
from tests.epoll.twins import Loop, Recorder, Reports, run, turn, turn_until


def test_bytes_go_through(loop: Loop, ends: Ends) -> None:
    reader, received = connect_reader(loop, ends[0])
    writer, sent = connect_writer(loop, ends[1])
    writer.write(b"one")
    writer.writelines([b"two", bytearray(b"three")])
    writer.write(memoryview(b"four"))
    turn_until(loop, lambda: len(received.received) == 15)
    assert received.received == b"onetwothreefour"
    writer.close()
    turn_until(loop, lambda: sent.is_lost)
    assert sent.events == [("made",), ("lost", None)]
    reader.close()
    turn_until(loop, lambda: received.is_lost)
    assert received.events[0] == ("made",)


def test_the_classes_are_those_of_asyncio(loop: Loop, pipe: Ends) -> None:
    reader, received = connect_reader(loop, pipe[0])
    writer, sent = connect_writer(loop, pipe[1])
    assert isinstance(reader, asyncio.ReadTransport)
    assert not isinstance(reader, asyncio.WriteTransport)
    assert isinstance(writer, asyncio.WriteTransport)
    assert reader.get_extra_info("pipe") is pipe[0]
    assert writer.get_extra_info("pipe") is pipe[1]
    assert reader.get_extra_info("socket", 5) == 5
    assert reader.get_protocol() is received
    assert writer.get_protocol() is sent
    assert writer.can_write_eof()
    with pytest.raises(NotImplementedError):
        writer.pause_reading()
    with pytest.raises(AttributeError):
        reader.write(b"x")
    reader.close()
    writer.close()
    turn(loop, 3)


def test_a_regular_file_is_refused(loop: Loop, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        with pytest.raises(ValueError, match="Pipe transport is for pipes/sockets only"):
            connect_reader(loop, file)
        with pytest.raises(ValueError, match="only for pipes, sockets and character devices"):
            connect_writer(loop, file)
        file.write(b"still open")


def test_the_end_of_what_is_read(loop: Loop, pipe: Ends) -> None:
    reader, protocol = connect_reader(loop, pipe[0])
    pipe[1].write(b"last words")
    pipe[1].close()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("data", b"last words"), ("eof",), ("lost", None)]
    assert reader.is_closing()
    assert pipe[0].closed
    reader.close()
    turn(loop, 2)
    assert protocol.events[-2:] == [("eof",), ("lost", None)]


def test_an_end_that_is_kept_open_ends_all_the_same(loop: Loop, pipe: Ends) -> None:
    _, protocol = connect_reader(loop, pipe[0])
    protocol.keeps_open = True
    pipe[1].close()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("eof",), ("lost", None)]


def test_a_terminal_that_hangs_up(loop: Loop) -> None:
    reading, writing = terminal()
    _, protocol = connect_reader(loop, reading)
    writing.close()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", "OSError")]


def test_reading_can_be_paused(loop: Loop, pipe: Ends) -> None:
    reader, protocol = connect_reader(loop, pipe[0])
    assert reader.is_reading()
    reader.pause_reading()
    reader.pause_reading()
    assert not reader.is_reading()
    pipe[1].write(b"early")
    turn(loop, 3)
    assert protocol.received == b""
    reader.resume_reading()
    reader.resume_reading()
    assert reader.is_reading()
    turn_until(loop, lambda: protocol.received)
    reader.close()
    reader.resume_reading()
    turn(loop, 2)
    assert protocol.events == [("made",), ("data", b"early"), ("lost", None)]


def test_reading_can_be_paused_before_it_begins(loop: Loop, pipe: Ends) -> None:
    class Pausing(Recorder):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            transport.pause_reading()

    pipe[1].write(b"early")
    reader, protocol = run(loop, loop.connect_read_pipe(Pausing, pipe[0]))
    turn(loop, 3)
    assert protocol.events == [("made",)]
    reader.resume_reading()
    turn_until(loop, lambda: protocol.received)
    reader.close()
    turn(loop, 2)


def test_reading_can_be_paused_by_data(loop: Loop, pipe: Ends) -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    reader, protocol = run(loop, loop.connect_read_pipe(Pausing, pipe[0]))
    pipe[1].write(b"1")
    turn_until(loop, lambda: protocol.received)
    pipe[1].write(b"2")
    turn(loop, 3)
    assert protocol.received == b"1"
    reader.resume_reading()
    turn_until(loop, lambda: len(protocol.received) == 2)
    reader.close()
    turn(loop, 2)


def test_a_paused_reader_does_not_hear_of_the_end(loop: Loop, pipe: Ends) -> None:
    reader, protocol = connect_reader(loop, pipe[0])
    reader.pause_reading()
    pipe[1].close()
    turn(loop, 3)
    assert protocol.events == [("made",)]
    reader.resume_reading()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("eof",), ("lost", None)]


def test_a_failing_protocol_is_reported_and_goes_on(
    loop: Loop, pipe: Ends, reports: Reports
) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            raise ZeroDivisionError

    reader, protocol = run(loop, loop.connect_read_pipe(Failing, pipe[0]))
    pipe[1].write(b"1")
    turn_until(loop, lambda: protocol.received)
    pipe[1].write(b"2")
    turn_until(loop, lambda: protocol.received == b"12")
    first, second = reports.take()
    assert first.summary[0] == second.summary[0] == "ZeroDivisionError"
    assert not reader.is_closing()
    reader.close()
    turn(loop, 2)


@pytest.mark.parametrize("method", ["connection_made", "eof_received", "connection_lost"])
def test_other_failures_of_a_protocol(
    loop: Loop, pipe: Ends, reports: Reports, method: str
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    protocol = Recorder()
    setattr(protocol, method, fail)
    run(loop, loop.connect_read_pipe(lambda: protocol, pipe[0]))
    pipe[1].close()
    turn_until(loop, lambda: pipe[0].closed)
    assert [report.summary[0] for report in reports.take()] == ["ZeroDivisionError"]


def test_a_fifo(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reading = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)  # noqa: SIM115, PTH123
    writing = path.open("wb", 0)
    _, received = connect_reader(loop, reading)
    writer, _ = connect_writer(loop, writing)
    writer.write(b"through a name")
    turn_until(loop, lambda: received.received)
    writer.close()
    turn_until(loop, lambda: received.is_lost)
    assert received.events == [("made",), ("data", b"through a name"), ("eof",), ("lost", None)]


def test_a_terminal_in_both_directions(loop: Loop) -> None:
    leader, follower = os.openpty()
    tty.setraw(follower)
    with os.fdopen(leader, "r+b", 0) as ours, os.fdopen(follower, "r+b", 0) as theirs:
        reader, received = connect_reader(loop, ours)
        writer, sent = connect_writer(loop, ours)
        writer.write(b"question")
        assert theirs.read(8) == b"question"
        theirs.write(b"answer")
        turn_until(loop, lambda: received.received == b"answer")
        reader.close()
        turn_until(loop, lambda: received.is_lost)
        writer.close()
        turn_until(loop, lambda: sent.is_lost)


def test_a_writer_to_what_cannot_be_watched(loop: Loop) -> None:
    device = Path(os.devnull).open("wb", 0)  # noqa: SIM115
    writer, protocol = connect_writer(loop, device)
    writer.write(bytes(1 << 20))
    assert writer.get_write_buffer_size() == 0
    writer.close()
    turn_until(loop, lambda: protocol.is_lost)
    assert protocol.events == [("made",), ("lost", None)]


def test_streams_over_pipes(loop: Loop, pipe: Ends) -> None:
    async def main() -> list[bytes]:
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe[0])
        transport, protocol = await loop.connect_write_pipe(
            lambda: asyncio.streams.FlowControlMixin(loop=loop),  # type: ignore[attr-defined]
            pipe[1],
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        lines = [b"%d\n" % number * 100 for number in range(1000)]

        async def write() -> None:
            for line in lines:
                writer.write(line)
                await writer.drain()
            writer.close()

        writing = loop.create_task(write())
        received = await reader.read()
        await writing
        assert received == b"".join(lines)
        return lines

    run(loop, main())


def test_cancelling_while_it_is_connected_closes_the_pipe(loop: Loop, pipe: Ends) -> None:
    async def main() -> None:
        for connect, file in (
            (loop.connect_read_pipe, pipe[0]),
            (loop.connect_write_pipe, pipe[1]),
        ):
            task = loop.create_task(connect(Recorder, file))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    run(loop, main())
    turn(loop, 3)
    assert pipe[0].closed
    assert pipe[1].closed


def test_another_protocol_takes_over(loop: Loop, pipe: Ends) -> None:
    reader, first = connect_reader(loop, pipe[0])
    second = Recorder()
    reader.set_protocol(second)
    assert reader.get_protocol() is second
    pipe[1].write(b"for the second")
    turn_until(loop, lambda: second.received)
    reader.close()
    turn(loop, 2)
    assert first.events == [("made",)]
    assert second.events == [("data", b"for the second"), ("lost", None)]


def test_unclosed_transports_are_warned_of(make_loop: LoopMaker) -> None:
    loop = make_loop()
    reading, writing = anonymous()
    transports = [connect_reader(loop, reading)[0], connect_writer(loop, writing)[0]]
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport") as warned:  # noqa: PT031
        transports.clear()
        gc.collect()
    assert len(warned) == 2
    assert reading.closed
    assert writing.closed
