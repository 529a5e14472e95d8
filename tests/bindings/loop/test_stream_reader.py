"""The native StreamReader does what asyncio's does: asyncio.StreamReader is the model."""

from __future__ import annotations

import asyncio
import gc
import math
import socket
import sys
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import epoll
from epoll import _loop
from tests.bindings.loop.noting_transport import NotingTransport

READERS = [asyncio.StreamReader, _loop.StreamReader]


def run(main: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    return asyncio.run(asyncio.wait_for(main, 10))


def test_it_is_an_asyncio_stream_reader() -> None:
    assert issubclass(_loop.StreamReader, asyncio.StreamReader)
    assert _loop.StreamReader.__name__ == "StreamReader"


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("limit", [0, -1, 0.0])
def test_a_limit_must_be_positive(kind: Callable[..., Any], limit: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            kind(limit=limit, loop=asyncio.get_running_loop())

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_an_infinite_limit_is_never_reached(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(math.inf, asyncio.get_running_loop())
        reader.feed_data(b"a" * 10**6 + b"\n")
        assert len(await reader.readline()) == 10**6 + 1

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_the_limit_can_be_changed(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(4, asyncio.get_running_loop())
        reader._limit = 100
        reader.feed_data(b"0123456789\n")
        assert await reader.readline() == b"0123456789\n"
        assert reader._limit == 100

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_the_state_can_be_read_and_the_repr_is_asyncios(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reader = kind(7, loop)
        assert reader._loop is loop
        assert (reader._buffer, reader._eof, reader._waiter) == (b"", False, None)
        assert (reader._exception, reader._transport, reader._paused) == (None, None, False)
        assert repr(reader) == "<StreamReader limit=7>"
        transport = NotingTransport()
        reader.set_transport(transport)
        assert reader._transport is transport
        with pytest.raises(AssertionError, match="Transport already set"):
            reader.set_transport(transport)
        reader.feed_data(b"a" * 15)
        assert transport.calls == ["pause"]
        reader.feed_eof()
        error = OSError(1, "no")
        reader.set_exception(error)
        assert reader.exception() is error
        assert repr(reader) == (
            f"<StreamReader 15 bytes eof limit=7 exception={error!r} "
            f"transport={transport!r} paused>"
        )
        with pytest.raises(AssertionError, match="feed_data after feed_eof"):
            reader.feed_data(b"more")

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_a_transport_that_cannot_pause_is_forgotten(kind: Callable[..., Any]) -> None:
    class Unpausable(NotingTransport):
        def pause_reading(self) -> None:
            raise NotImplementedError

    async def main() -> None:
        reader = kind(1, asyncio.get_running_loop())
        reader.set_transport(Unpausable())
        reader.feed_data(b"abc")
        assert reader._transport is None
        assert not reader._paused

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_what_pausing_raises_comes_out_of_feed_data(kind: Callable[..., Any]) -> None:
    class Broken(NotingTransport):
        def pause_reading(self) -> None:
            raise LookupError("broken")

    async def main() -> None:
        reader = kind(1, asyncio.get_running_loop())
        reader.set_transport(Broken())
        with pytest.raises(LookupError, match="broken"):
            reader.feed_data(b"abc")
        assert not reader._paused

    run(main())


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("data", [bytearray(b"ab\n"), memoryview(b"ab\n")])
def test_any_buffer_can_be_fed(kind: Callable[..., Any], data: bytes) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        reader.feed_data(data)
        line = await reader.readline()
        assert (type(line), line) == (bytes, b"ab\n")

    run(main())


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("separator", [bytearray(b"b"), memoryview(b"b")])
def test_any_buffer_is_a_separator(kind: Callable[..., Any], separator: bytes) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        read = asyncio.ensure_future(reader.readuntil(separator))
        await asyncio.sleep(0)
        reader.feed_data(b"abc")
        assert await read == b"ab"

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_arguments_are_judged_when_the_coroutine_begins(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        reader.feed_data(b"abc")
        wrong = [
            reader.read("1"),
            reader.read(None),
            reader.readexactly("1"),
            reader.readuntil(5),
            reader.readuntil("a"),
        ]
        for read in wrong:
            with pytest.raises(TypeError):
                await read
        with pytest.raises(ValueError, match="can not be less than zero"):
            await reader.readexactly(-1)
        with pytest.raises(ValueError, match="at least one-byte string"):
            await reader.readuntil(b"")
        with pytest.raises(TypeError):
            reader.readexactly()
        with pytest.raises(TypeError):
            reader.readline(1)
        assert await reader.readuntil(separator=b"b") == b"ab"
        assert await reader.read(n=5) == b"c"

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="a tuple of separators came with 3.13")
@pytest.mark.parametrize("kind", READERS)
def test_of_several_separators_the_first_to_end_counts(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        reader.feed_data(b"one\r\ntwo\nthree\r")
        assert await reader.readuntil((b"\r\n", b"\n", b"\r")) == b"one\r"
        assert await reader.readuntil((b"\r\n", b"\n")) == b"\n"
        assert await reader.readuntil((b"\r\n", b"\n")) == b"two\n"
        with pytest.raises(ValueError, match="at least one element"):
            await reader.readuntil(())
        with pytest.raises(ValueError, match="at least one-byte string"):
            await reader.readuntil((b"a", b""))

    run(main())


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="from 3.13 on it is several separators")
@pytest.mark.parametrize("kind", READERS)
def test_a_tuple_is_no_separator_yet(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        reader.feed_data(b"one\ntwo")
        with pytest.raises(TypeError):
            await reader.readuntil((b"\n",))

    run(main())


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("name", "args", "shown"),
    [
        ("read", (1,), "read"),
        ("read", (), "read"),
        ("readexactly", (3,), "readexactly"),
        ("readline", (), "readuntil"),
        ("readuntil", (), "readuntil"),
    ],
)
def test_only_one_may_wait(
    kind: Callable[..., Any], name: str, args: tuple[int, ...], shown: str
) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        first = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        assert not first.done()
        text = f"{shown}\\(\\) called while another coroutine is already waiting for incoming data"
        with pytest.raises(RuntimeError, match=text):
            await getattr(reader, name)(*args)
        reader.feed_data(b"line\n")
        assert await first == b"line\n"

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_a_cancelled_read_loses_nothing(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        reader.feed_data(b"some ")
        for read in (reader.readline, lambda: reader.readexactly(9), reader.readuntil):
            task = asyncio.ensure_future(read())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert reader._waiter is None
        woken = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        reader.feed_data(b"more\n")
        woken.cancel()  # between the wake and the answer
        with pytest.raises(asyncio.CancelledError):
            await woken
        assert await reader.readline() == b"some more\n"

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_an_exception_reaches_who_waits_and_who_comes_later(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        task = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        error = ConnectionResetError("gone")
        reader.set_exception(error)
        with pytest.raises(ConnectionResetError) as raised:
            await task
        assert raised.value is error
        for read in (reader.read(), reader.readline(), reader.readexactly(0), reader.readuntil()):
            with pytest.raises(ConnectionResetError):
                await read

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_async_for_gives_the_lines(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        reader.feed_data(b"one\n\ntwo\nend")
        reader.feed_eof()
        assert [line async for line in reader] == [b"one\n", b"\n", b"two\n", b"end"]

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_debug_mode_notes_where_a_reader_was_made(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert kind(loop=loop)._source_traceback is None
        loop.set_debug(True)
        trace = kind(loop=loop)._source_traceback
        loop.set_debug(False)
        assert trace[-1].name == "main"

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_it_is_freed_with_all_that_refers_to_it(kind: Callable[..., Any]) -> None:
    async def main() -> None:
        reader = kind(loop=asyncio.get_running_loop())
        reader.itself = reader
        reader.set_transport(reader)
        gone = weakref.ref(reader)
        del reader
        gc.collect()
        assert gone() is None

    run(main())


def test_a_subclass_may_replace_methods() -> None:
    class Shouting(_loop.StreamReader):
        async def readline(self) -> bytes:
            return (await super().readline()).upper()

    async def main() -> None:
        reader = Shouting(loop=asyncio.get_running_loop())
        reader.feed_data(b"line\n")
        assert await reader.readline() == b"LINE\n"

    run(main())


def test_a_reader_without_init_raises() -> None:
    async def main() -> None:
        reader = _loop.StreamReader.__new__(_loop.StreamReader)
        with pytest.raises(AttributeError):
            await reader.readline()

    run(main())


@pytest.mark.parametrize("kind", READERS)
def test_a_limit_that_leads_to_the_reader_is_collected(kind: Callable[..., Any]) -> None:
    class Limit(int):
        reader: object

    async def main() -> None:
        limit = Limit(5)
        reader = limit.reader = kind(limit, asyncio.get_running_loop())
        gone = weakref.ref(reader)
        del limit, reader
        gc.collect()
        assert gone() is None

    run(main())


def test_memory_is_kept_for_short_lines_only() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        assert isinstance(reader, _loop.StreamReader)
        bare = sys.getsizeof(reader)

        async def keeps_after(line: bytes) -> int:
            await loop.sock_sendall(peer, line)
            assert await reader.readexactly(len(line)) == line
            return sys.getsizeof(reader) - bare

        peer.setblocking(False)
        with peer:
            for _ in range(4):  # until it knows that lines are short
                await keeps_after(b"line\n")
            kept = {await keeps_after(b"line\n") for _ in range(4)}
            assert kept == {1024}
            assert await keeps_after(b"x" * 3000) == 0
            writer.close()

    epoll.run(main())
