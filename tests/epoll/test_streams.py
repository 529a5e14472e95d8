"""Readers and writers of open_connection and start_server: what is sent, and who waits."""

from __future__ import annotations

import asyncio
import asyncio.streams
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.epoll.streaming import (
    HOST,
    Pair,
    connected_pair,
    echo_lines,
    is_native,
    received,
    served,
)
from tests.epoll.twins import Loop, run


@pytest.fixture(params=["tcp", "unix"])
def family(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    return request.param, tmp_path / "socket"


def test_lines_come_back(loop: Loop, family: tuple[str, Path]) -> None:
    async def main() -> None:
        async with served(echo_lines, family) as connect:
            reader, writer = await connect()
            for length in [0, 1, 10, 1000, 30000, 3]:
                writer.write(b"x" * length + b"\n")
                await writer.drain()
                assert await reader.readline() == b"x" * length + b"\n"
            writer.writelines([b"a\n", b"b", b"\n"])
            assert await reader.readexactly(4) == b"a\nb\n"
            writer.write_eof()
            assert await reader.read() == b""
            assert reader.at_eof()

    run(loop, main())


def test_the_classes_are_asyncios_and_on_our_loop_native(loop: Loop) -> None:
    found: list[object] = []

    def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.extend([reader, writer, writer.transport.get_protocol()])
        writer.close()

    async def main() -> None:
        async with served(client) as connect:
            reader, writer = await connect()
            assert await reader.read() == b""
            found.extend([reader, writer, writer.transport.get_protocol()])

    run(loop, main())
    assert len(found) == 6
    for stream, kind in zip(
        found,
        [asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReaderProtocol] * 2,
        strict=True,
    ):
        assert isinstance(stream, kind)
        assert (type(stream).__module__ == "epoll._loop") == is_native(loop)
        assert type(stream).__name__ == kind.__name__


def test_many_connections_do_not_mix(loop: Loop, family: tuple[str, Path]) -> None:
    async def talk(connect: Callable[..., Awaitable[Pair]], number: int) -> None:
        reader, writer = await connect()
        for turn in range(20):
            line = b"%d:%d\n" % (number, turn)
            writer.write(line)
            assert await reader.readline() == line

    async def main() -> None:
        async with served(echo_lines, family) as connect:
            await asyncio.gather(*(talk(connect, number) for number in range(20)))

    run(loop, main())


def test_a_large_stream_goes_through_a_slow_reader(loop: Loop, family: tuple[str, Path]) -> None:
    size = 3_000_000
    pattern = bytes(range(256)) * (size // 256 + 1)
    most = 0

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, size, 50_000):
            writer.write(pattern[start : min(start + 50_000, size)])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        nonlocal most
        async with served(client, family) as connect:
            reader, _ = await connect(limit=1000)
            arrived = bytearray()
            while data := await reader.read(7777):
                arrived += data
                most = max(most, len(reader._buffer))
                await asyncio.sleep(0)
            assert arrived == pattern[:size]

    run(loop, main())
    assert most <= 2 * 1000 + 256 * 1024


def test_readexactly_of_more_than_the_buffer(loop: Loop) -> None:
    async def main() -> None:
        reader, writer, peer = await connected_pair(limit=100)
        sent = bytes(range(250)) * 4000
        sending = loop.run_in_executor(None, peer.sendall, sent)
        assert await reader.readexactly(len(sent)) == sent
        await sending
        peer.close()
        with pytest.raises(asyncio.IncompleteReadError) as ended:
            await reader.readexactly(5)
        assert (ended.value.partial, ended.value.expected) == (b"", 5)
        writer.close()
        await writer.wait_closed()

    run(loop, main())


def test_the_transport_pauses_above_twice_the_limit_and_resumes(loop: Loop) -> None:
    async def main() -> None:
        reader, writer, peer = await connected_pair(limit=10)
        peer.sendall(b"x" * 30)
        while not reader._paused:
            await asyncio.sleep(0)
        assert not writer.transport.is_reading()
        assert len(await reader.read(15)) == 15
        assert not writer.transport.is_reading()
        assert len(await reader.read(5)) == 5
        assert writer.transport.is_reading()
        peer.close()
        assert len(await reader.read()) == 10
        writer.close()
        await writer.wait_closed()

    run(loop, main())


def test_a_line_beyond_the_limit(loop: Loop) -> None:
    async def main() -> None:
        reader, writer, peer = await connected_pair(limit=5)
        peer.sendall(b"0123456789\nab\n")
        with pytest.raises(ValueError, match=r"longer than limit|exceed the limit"):
            await reader.readline()
        peer.close()
        await reader.read()
        writer.close()
        await writer.wait_closed()

    run(loop, main())


def test_writer_tells_what_its_transport_tells(loop: Loop) -> None:
    async def main() -> None:
        reader, writer, peer = await connected_pair()
        assert writer.can_write_eof()
        assert writer.get_extra_info("socket").fileno() >= 0
        assert writer.get_extra_info("nothing") is None
        assert writer.get_extra_info("nothing", default=3) == 3
        assert writer.transport is writer._transport  # type: ignore[attr-defined]
        assert writer._reader is reader  # type: ignore[attr-defined]
        assert writer._loop is loop  # type: ignore[attr-defined]
        assert writer._complete_fut.result() is None  # type: ignore[attr-defined]
        assert repr(writer).startswith("<StreamWriter transport=")
        assert "reader=<StreamReader" in repr(writer)
        with pytest.raises(TypeError):
            writer.write("text")  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            writer.write()  # type: ignore[call-arg]
        for data in (b"a", bytearray(b"b"), memoryview(b"c")):
            writer.write(data)
        assert await received(peer, 3) == b"abc"
        assert not writer.is_closing()
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()
        await writer.wait_closed()
        peer.close()

    run(loop, main())


def test_drain_waits_above_the_mark_only(loop: Loop) -> None:
    async def main() -> None:
        _, writer, peer = await connected_pair()
        writer.transport.set_write_buffer_limits(high=1000)
        await writer.drain()
        writer.write(b"x" * 10_000_000)
        waits = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(wait.done() for wait in waits)
        waits[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waits[0]
        reading = asyncio.ensure_future(received(peer, 10_000_000))
        await asyncio.gather(*waits[1:])
        writer.close()
        assert len(await reading) == 10_000_000
        await writer.wait_closed()
        peer.close()

    run(loop, main())


def test_drain_below_the_mark_does_not_suspend(loop: Loop) -> None:
    async def main() -> None:
        _, writer, peer = await connected_pair()
        writer.write(b"x")
        drain = writer.drain()
        with pytest.raises(StopIteration):
            drain.send(None)
        writer.close()
        await writer.wait_closed()
        peer.close()

    run(loop, main())


def test_drain_of_a_closing_writer_yields_once_then_tells(loop: Loop) -> None:
    async def main() -> None:
        _, writer, peer = await connected_pair()
        writer.close()
        drain = writer.drain()
        assert drain.send(None) is None
        with pytest.raises(StopIteration):
            drain.send(None)
        await writer.wait_closed()
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await writer.drain()
        peer.close()

    run(loop, main())


def test_drain_raises_what_the_reader_has(loop: Loop) -> None:
    async def main() -> None:
        reader, writer, peer = await connected_pair()
        reader.set_exception(LookupError("mine"))
        with pytest.raises(LookupError, match="mine"):
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        peer.close()

    run(loop, main())


@pytest.mark.parametrize("waits_before", [False, True])
def test_a_reset_reaches_reader_drain_and_wait_closed(loop: Loop, waits_before: bool) -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listener:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            peer, _ = listener.accept()
        closed = asyncio.ensure_future(writer.wait_closed()) if waits_before else None
        waiting = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with pytest.raises(ConnectionResetError):
            await waiting
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        with pytest.raises(ConnectionResetError):
            await writer.drain()
        with pytest.raises(ConnectionResetError):
            await (closed or writer.wait_closed())
        with pytest.raises(ConnectionResetError):
            await writer.wait_closed()

    run(loop, main())


def test_drain_that_waits_gets_the_reset(loop: Loop) -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listener:
            _, writer = await asyncio.open_connection(*listener.getsockname())
            peer, _ = listener.accept()
        while not writer._protocol._paused:  # type: ignore[attr-defined]
            writer.write(b"x" * 1_000_000)
        drain = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0)
        assert len(writer._protocol._drain_waiters) == 1  # type: ignore[attr-defined]
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await drain
        assert len(writer._protocol._drain_waiters) == 0  # type: ignore[attr-defined]
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await writer.wait_closed()

    run(loop, main())


def test_wait_closed_waits_for_the_end(loop: Loop) -> None:
    async def main() -> None:
        _, writer, peer = await connected_pair()
        closed = asyncio.ensure_future(writer.wait_closed())
        await asyncio.sleep(0)
        assert not closed.done()
        writer.close()
        await closed
        assert await received(peer, 1) == b""
        peer.close()

    run(loop, main())


def test_half_close(loop: Loop, family: tuple[str, Path]) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(data[::-1])
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with served(client, family) as connect:
            reader, writer = await connect()
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"olleh"

    run(loop, main())
