"""The callbacks of start_server, and who keeps a stream alive."""

from __future__ import annotations

import asyncio
import asyncio.streams
import gc
import logging
import socket
import sys
import warnings
import weakref
from typing import Any

import pytest

from epoll import _loop
from tests.epoll.streaming import (
    connected_pair,
    is_native,
    received,
    served,
)
from tests.epoll.twins import Loop, Recorder, Reports, run, turn_until


@pytest.mark.parametrize("is_coroutine", [True, False])
def test_a_failing_client_callback_is_reported(
    loop: Loop, reports: Reports, is_coroutine: bool
) -> None:
    def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        raise LookupError("mine")

    async def fail_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fail(reader, writer)

    writers: list[asyncio.StreamWriter] = []

    async def main() -> None:
        async with served(fail_later if is_coroutine else fail) as connect:
            await connect()
            while not reports:
                await asyncio.sleep(0)
            writers.pop().transport.abort()

    run(loop, main())
    report = reports.take_one()
    assert repr(report["exception"]) == "LookupError('mine')"
    if is_coroutine:
        assert report["message"] == "Unhandled exception in client_connected_cb"
        assert isinstance(report["transport"], asyncio.Transport)


def test_the_task_of_a_client_is_kept_alive(loop: Loop) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gc.collect()
        writer.write(await reader.readline())
        writer.close()

    async def main() -> None:
        async with served(client) as connect:
            reader, writer = await connect()
            gc.collect()
            writer.write(b"line\n")
            assert await reader.read() == b"line\n"

    run(loop, main())


def test_a_cancelled_client_does_as_this_version_does(loop: Loop, reports: Reports) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running.set_result((asyncio.current_task(), writer.transport))
        await reader.readline()

    async def main() -> bool:
        nonlocal running
        running = loop.create_future()
        async with served(client) as connect:
            await connect()
            task, transport = await running
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0)  # the callbacks of the task have run
            is_closing: bool = transport.is_closing()
            transport.abort()
            return is_closing

    running: asyncio.Future[Any]
    constants = asyncio.StreamReaderProtocol.connection_made.__code__.co_consts
    closes = any("cancelled" in getattr(code, "co_names", ()) for code in constants)
    assert run(loop, main()) == closes
    if not closes:
        assert reports.take_one().summary[0] == "CancelledError"


@pytest.mark.skipif(
    not hasattr(asyncio.StreamWriter, "__del__"), reason="this version has no such finalizer"
)
def test_a_dropped_writer_closes_with_a_warning(loop: Loop) -> None:
    async def main() -> None:
        reader, writer, peer = await connected_pair()
        transport = writer.transport
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            del writer
        assert transport.is_closing()
        assert await received(peer, 1) == b""
        peer.close()
        while reader.exception() is None and not reader.at_eof():
            await asyncio.sleep(0)

    run(loop, main())


def test_streams_are_freed_when_the_connection_is_over(loop: Loop) -> None:
    async def main() -> list[weakref.ref[Any]]:
        reader, writer, peer = await connected_pair()
        gone = [weakref.ref(item) for item in (reader, writer, writer.transport.get_protocol())]
        writer.close()
        await writer.wait_closed()
        peer.close()
        return gone

    gone = run(loop, main())
    turn_until(loop, lambda: gc.collect() >= 0 and not any(ref() for ref in gone))


def test_what_arrives_when_the_reader_is_gone_is_dropped(loop: Loop) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        reader = streams_of(loop).StreamReader(loop=loop)
        protocol = streams_of(loop).StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        del reader
        gc.collect()
        assert protocol._stream_reader is None
        peer.sendall(b"x" * 100_000)
        peer.shutdown(socket.SHUT_WR)
        for _ in range(10):
            await asyncio.sleep(0)
        transport.write(b"still open")
        assert await received(peer, 10) == b"still open"
        transport.close()
        peer.close()

    run(loop, main())


def streams_of(loop: Loop) -> Any:  # noqa: ANN401
    return _loop if is_native(loop) else asyncio


def test_readers_that_a_program_makes_are_plain_and_work(loop: Loop) -> None:
    class Reader(asyncio.StreamReader):
        pass

    async def main() -> None:
        ours, peer = socket.socketpair()
        reader = Reader(loop=loop)
        assert type(asyncio.StreamReader(loop=loop)) is asyncio.StreamReader
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=ours)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        peer.sendall(b"line\n")
        assert await reader.readline() == b"line\n"
        writer.write(b"answer")
        await writer.drain()
        assert await received(peer, 6) == b"answer"
        writer.close()
        await writer.wait_closed()
        peer.close()

    run(loop, main())


def test_a_subprocess_speaks_through_its_streams(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(b"through a pipe")
        assert out == b"through a pipe"

    if sys.version_info < (3, 12):
        asyncio.get_child_watcher().attach_loop(loop)
    run(loop, main())


def test_debug_mode_logs_pauses(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        _, writer, peer = await connected_pair()
        protocol = writer.transport.get_protocol()
        loop.set_debug(True)
        with caplog.at_level(logging.DEBUG, "asyncio"):
            protocol.pause_writing()  # type: ignore[attr-defined]
            protocol.resume_writing()  # type: ignore[attr-defined]
        loop.set_debug(False)
        writer.close()
        await writer.wait_closed()
        peer.close()

    run(loop, main())
    shown = [record.getMessage() for record in caplog.records]
    assert [text.rpartition("> ")[2] for text in shown if "writing" in text] == [
        "pauses writing",
        "resumes writing",
    ]


def test_timeouts_and_tasks_take_the_coroutines(loop: Loop) -> None:
    async def main() -> None:
        reader, writer, peer = await connected_pair()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.001)
        async with asyncio.TaskGroup() as group:
            line = group.create_task(reader.readline())
            group.create_task(writer.drain())
            peer.sendall(b"line\n")
        assert line.result() == b"line\n"
        peer.sendall(b"more\n")
        assert await asyncio.shield(reader.readuntil(b"\n")) == b"more\n"
        peer.sendall(b"1")
        done, _ = await asyncio.wait([asyncio.ensure_future(reader.read(9))])
        assert [task.result() for task in done] == [b"1"]
        writer.close()
        await writer.wait_closed()
        peer.close()

    run(loop, main())


def test_the_callback_may_hand_the_connection_to_another_protocol(loop: Loop) -> None:
    """And let go of all that belongs to the stream, while its protocol is being called."""
    others: list[Recorder] = []

    def hand_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        others.append(Recorder())
        others[0].connection_made(writer.transport)
        writer.transport.set_protocol(others[0])
        writer.close()
        del reader, writer
        gc.collect()

    async def main() -> None:
        async with served(hand_over) as connect:
            reader, _ = await connect()
            assert await reader.read() == b""

    run(loop, main())
    assert others[0].events == [("made",), ("lost", None)]


def test_a_reader_is_not_kept_by_what_was_received_last(loop: Loop) -> None:
    """Not after a read that filled its buffer, nor after the end of the peer."""

    async def main() -> None:
        reader, writer, peer = await connected_pair()
        with peer:
            for count in (4096, 100):
                peer.sendall(b"x" * count)
                assert len(await reader.readexactly(count)) == count
            await asyncio.sleep(0)
            peer.shutdown(socket.SHUT_WR)
            assert await reader.read() == b""
            gone = weakref.ref(reader)
            writer_of = writer.transport
            del reader, writer
            gc.collect()
            assert gone() is None
            writer_of.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # for the writer, where it warns
        run(loop, main())
