"""Any sequence of calls leaves the native StreamReader where it leaves asyncio's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from epoll import _loop
from tests.bindings.loop.noting_transport import NotingTransport

Outcome = tuple[Any, ...]
READERS = [asyncio.StreamReader, _loop.StreamReader]


class Driver:
    """One reader of either kind, and the reads that go on."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader
        self.transport = NotingTransport()
        reader.set_transport(self.transport)  # type: ignore[arg-type]
        self.tasks: list[asyncio.Task[Any]] = []
        self.outcomes: list[Outcome] = []

    def read(self, name: str, *args: object) -> None:
        async def call() -> None:
            self.outcomes.append(await outcome_of(getattr(self.reader, name)(*args)))

        self.tasks.append(asyncio.get_running_loop().create_task(call()))

    def feed(self, data: bytes) -> None:
        if not self.reader._eof:
            self.reader.feed_data(data)

    def eof(self) -> None:
        self.reader.feed_eof()

    def fail(self) -> None:
        self.reader.set_exception(OSError("broken"))

    def cancel(self) -> None:
        if self.tasks:
            self.tasks.pop(0).cancel()

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    def state(self) -> Outcome:
        reader = self.reader
        return (
            bytes(reader._buffer),
            reader._eof,
            reader._paused,
            reader._waiter is None,
            reader.at_eof(),
            self.transport.calls,
            self.outcomes,
            len([task for task in self.tasks if not task.done()]),
        )

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def outcome_of(read: Coroutine[Any, Any, bytes]) -> Outcome:
    try:
        data = await read
    except asyncio.IncompleteReadError as error:
        return (type(error), str(error), error.partial, error.expected)
    except asyncio.LimitOverrunError as error:
        return (type(error), str(error), error.consumed)
    except asyncio.CancelledError:
        return (asyncio.CancelledError,)
    except Exception as error:
        return (type(error), str(error), type(error.__context__))
    return (type(data), data)


chunks = st.binary(max_size=24) | st.text("ab\r\n", max_size=24).map(str.encode)
separators = st.text("ab\r\n", max_size=3).map(str.encode)
if sys.version_info >= (3, 13):
    separators |= st.lists(separators, max_size=3).map(tuple)
actions = st.one_of(
    st.tuples(st.just("feed"), chunks),
    st.tuples(st.just("feed"), chunks),
    st.tuples(st.just("read"), st.just("readline")),
    st.tuples(st.just("read"), st.just("__anext__")),
    st.tuples(st.just("read"), st.just("read"), st.integers(-1, 20)),
    st.tuples(st.just("read"), st.just("readexactly"), st.integers(-1, 60)),
    st.tuples(st.just("read"), st.just("readuntil"), separators),
    st.tuples(st.just("settle")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("eof")),
    st.tuples(st.just("fail")),
)


async def run_twins(limit: int, script: list[tuple[Any, ...]]) -> None:
    loop = asyncio.get_running_loop()
    twins = [Driver(reader(limit, loop)) for reader in READERS]
    try:
        for name, *args in [*script, ("settle",)]:
            for driver in twins:
                answer = getattr(driver, name)(*args)
                if answer is not None:
                    await answer
            assert twins[1].state() == twins[0].state(), (name, args)
    finally:
        for driver in twins:
            await driver.close()


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 40), st.lists(actions, max_size=30))
@example(4, [("feed", b"12345\n1"), ("read", "readline"), ("settle",), ("read", "readline")])
@example(2, [("feed", b"1234567"), ("read", "readexactly", 20), ("settle",), ("feed", b"8" * 20)])
def test_any_sequence_of_calls_ends_as_in_asyncio(
    limit: int, script: list[tuple[Any, ...]]
) -> None:
    asyncio.run(run_twins(limit, script))


few = st.sampled_from([b"a", b"b", b"ab", b"ba", b"aab", b"abab"])
SEVERAL = sys.version_info >= (3, 13)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 8),
    st.lists(st.text("aab", max_size=6).map(str.encode), max_size=5),
    (few | st.lists(few, min_size=1, max_size=3).map(tuple)) if SEVERAL else few,
)
@example(3, [b"123\n"], b"\n")
@example(2, [b"123\n"], b"\n")
@example(4, [b"xxA", b"B"], b"AB")
@example(3, [b"xxxA", b"A", b"BC"], b"ABC")
@example(2, [b"xxxab"], (b"ab", b"b") if SEVERAL else b"ab")
@example(3, [b"xxxab"], (b"ab", b"b") if SEVERAL else b"b")
def test_separators_are_found_however_the_stream_is_cut(
    limit: int, chunks: list[bytes], separator: object
) -> None:
    script: list[tuple[Any, ...]] = [("read", "readuntil", separator), ("settle",)]
    for chunk in chunks:
        script += [("feed", chunk), ("settle",)]
    script += [("read", "readuntil", separator), ("settle",), ("eof",), ("settle",)]
    asyncio.run(run_twins(limit, script))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=4000), st.lists(st.integers(1, 700), min_size=1), st.data())
def test_large_streams_come_out_as_they_went_in(
    stream: bytes, sizes: list[int], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(1, 900), min_size=1))

    async def main() -> bytes:
        reader = _loop.StreamReader(10**6, asyncio.get_running_loop())
        read, start, turn = b"", 0, 0
        while start < len(stream):
            size = sizes[turn % len(sizes)]
            reader.feed_data(stream[start : start + size])
            start += size
            read += await reader.read(counts[turn % len(counts)])
            turn += 1
        reader.feed_eof()
        return read + await reader.read()

    assert asyncio.run(main()) == stream
