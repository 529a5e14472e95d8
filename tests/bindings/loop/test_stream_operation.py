"""The coroutines of the streams behave as those that `async def` makes."""

from __future__ import annotations

import asyncio
import collections.abc
import contextvars
import gc
import inspect
import sys
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from epoll import _loop

Kind = Callable[..., asyncio.StreamReader]


@pytest.fixture(params=[asyncio.StreamReader, _loop.StreamReader], ids=["asyncio", "native"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def run(main: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    return asyncio.run(asyncio.wait_for(main, 10))


def make(kind: Kind, data: bytes = b"") -> asyncio.StreamReader:
    reader = kind(loop=asyncio.get_running_loop())
    reader.feed_data(data)
    return reader


def test_it_counts_as_a_coroutine_everywhere(kind: Kind) -> None:
    async def main() -> None:
        read = make(kind, b"data").read(2)
        assert asyncio.iscoroutine(read)
        assert asyncio.coroutines.iscoroutine(read)
        assert isinstance(read, collections.abc.Coroutine)
        assert isinstance(read, collections.abc.Awaitable)
        assert inspect.isawaitable(read)
        assert await read == b"da"

    run(main())


def test_it_can_be_awaited_in_every_way(kind: Kind) -> None:
    class Wrapper:
        def __init__(self, read: Coroutine[Any, Any, bytes]) -> None:
            self.read = read

        def __await__(self) -> Any:  # noqa: ANN401
            return (yield from self.read.__await__())

    async def main() -> None:
        reader = make(kind, b"0123456789")
        assert await reader.read(1) == b"0"
        assert await asyncio.create_task(reader.read(1)) == b"1"
        assert await asyncio.wait_for(reader.read(1), 5) == b"2"
        assert await asyncio.gather(reader.read(1), reader.read(1)) == [b"3", b"4"]
        assert await asyncio.shield(reader.read(1)) == b"5"
        assert await Wrapper(reader.read(1)) == b"6"
        async with asyncio.timeout(5):
            assert await reader.read(1) == b"7"
        assert await asyncio.ensure_future(reader.read(1)) == b"8"
        threadsafe = asyncio.run_coroutine_threadsafe(reader.read(1), reader._loop)
        assert await asyncio.wrap_future(threadsafe) == b"9"

    run(main())


def test_a_task_may_run_it_through_a_wait(kind: Kind) -> None:
    async def main() -> None:
        reader = make(kind)
        for _ in range(3):
            task = asyncio.create_task(reader.readline())
            await asyncio.sleep(0)
            reader.feed_data(b"half")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not task.done()
            reader.feed_data(b" and half\n")
            assert await task == b"half and half\n"

    run(main())


def test_what_is_there_is_answered_without_suspending(kind: Kind) -> None:
    async def main() -> None:
        reader = make(kind, b"line\nrest of it")
        reads = {
            reader.readline(): b"line\n",
            reader.readuntil(b" "): b"rest ",
            reader.readexactly(2): b"of",
            reader.read(100): b" it",
        }
        for read, expected in reads.items():
            with pytest.raises(StopIteration) as stop:
                read.send(None)
            assert stop.value.value == expected

    run(main())


def test_send(kind: Kind) -> None:
    async def main() -> None:
        reader = make(kind)
        read = reader.readline()
        with pytest.raises(TypeError, match="can't send non-None value to a just-started"):
            read.send(1)
        future = read.send(None)
        assert asyncio.isfuture(future)
        assert future._asyncio_future_blocking
        reader.feed_data(b"line\n")
        assert future.done()
        with pytest.raises(StopIteration) as stop:
            read.send(None)
        assert stop.value.value == b"line\n"
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            read.send(None)

    run(main())


def test_a_future_that_is_not_done_cannot_be_passed(kind: Kind) -> None:
    async def main() -> None:
        read = make(kind).readline()
        read.send(None)
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            read.send(None)

    run(main())


@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize(
    "thrown", [(KeyError("x"),), (KeyError,), (KeyError, "x"), (KeyError, KeyError("x"))]
)
@pytest.mark.filterwarnings("ignore:the \\(type, exc, tb\\) signature:DeprecationWarning")
def test_throw(kind: Kind, thrown: tuple[Any, ...], is_begun: bool) -> None:
    async def main() -> None:
        reader = make(kind)
        read = reader.readline()
        if is_begun:
            read.send(None)
            assert reader._waiter is not None
        with pytest.raises(KeyError) as raised:
            read.throw(*thrown)
        if isinstance(thrown[-1], KeyError):
            assert raised.value is thrown[-1]
        assert reader._waiter is None
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            read.throw(KeyError)

    run(main())


def test_only_exceptions_can_be_thrown(kind: Kind) -> None:
    async def main() -> None:
        read = make(kind).readline()
        with pytest.raises(TypeError):
            read.throw(5)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            read.throw()  # type: ignore[call-overload]
        read.close()

    run(main())


def test_close(kind: Kind) -> None:
    async def main() -> None:
        reader = make(kind)
        not_begun = reader.readline()
        not_begun.close()
        not_begun.close()
        waiting = reader.readline()
        waiting.send(None)
        waiting.close()
        assert reader._waiter is None
        for read in (not_begun, waiting):
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await read

    run(main())


def test_a_read_that_is_dropped_lets_others_read(kind: Kind) -> None:
    async def main() -> None:
        reader = make(kind)
        waiting = reader.readline()
        waiting.send(None)
        del waiting
        gc.collect()
        assert reader._waiter is None

    run(main())


def test_it_warns_when_it_is_never_awaited(kind: Kind) -> None:
    async def main() -> None:
        reader = make(kind)
        with pytest.warns(RuntimeWarning, match=r"coroutine 'StreamReader.read' was never awaited"):
            reader.read()

    run(main())


def test_two_cannot_await_it(kind: Kind) -> None:
    async def await_it(read: Coroutine[Any, Any, bytes]) -> bytes:
        return await read

    async def main() -> None:
        reader = make(kind)
        read = reader.readline()
        first = asyncio.create_task(await_it(read))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
            await await_it(read)
        reader.feed_data(b"line\n")
        assert await first == b"line\n"

    run(main())


@pytest.mark.parametrize("name", ["read", "readline", "readuntil", "__anext__"])
def test_its_names_are_those_of_the_method(kind: Kind, name: str) -> None:
    async def main() -> None:
        reader = make(kind)
        read = getattr(reader, name)()
        assert (read.__name__, read.__qualname__) == (name, f"StreamReader.{name}")
        assert repr(read).startswith(f"<coroutine object StreamReader.{name} at 0x")
        assert not read.cr_running
        assert not read.cr_suspended
        assert getattr(read, "cr_state", inspect.CORO_CREATED) == inspect.CORO_CREATED  # 3.15
        assert read.cr_await is None
        task = asyncio.create_task(read)
        assert f"coro=<StreamReader.{name}()" in repr(task)
        await asyncio.sleep(0)
        assert read.cr_suspended
        assert getattr(read, "cr_state", inspect.CORO_SUSPENDED) == inspect.CORO_SUSPENDED
        assert read.cr_await is not None
        assert hasattr(read, "cr_frame")  # the call graph of a task asks for it
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_a_cancelled_task_says_so(kind: Kind) -> None:
    async def main() -> None:
        task = asyncio.create_task(make(kind).readline())
        await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task

    run(main())


def test_the_context_of_the_reading_task_is_kept(kind: Kind) -> None:
    variable = contextvars.ContextVar("variable", default="outside")

    async def main() -> None:
        reader = make(kind)

        async def read() -> str:
            variable.set("inside")
            await reader.readline()
            return variable.get()

        task = asyncio.create_task(read())
        await asyncio.sleep(0)
        reader.feed_data(b"line\n")
        assert await task == "inside"
        assert variable.get() == "outside"

    run(main())


def test_it_is_collected_with_what_it_is_part_of(kind: Kind) -> None:
    async def main() -> None:
        reader: Any = make(kind)
        read = reader.readline()
        read.send(None)
        reader.read = read
        gone = weakref.ref(reader)
        del reader, read
        gc.collect()
        assert gone() is None

    run(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_an_eager_task_may_finish_at_once(kind: Kind) -> None:
    async def main() -> None:
        reader = make(kind, b"line\n")
        loop = asyncio.get_running_loop()
        task: asyncio.Task[bytes] = asyncio.Task(reader.readline(), loop=loop, eager_start=True)  # type: ignore[call-arg]
        assert task.done()
        assert task.result() == b"line\n"

    run(main())
