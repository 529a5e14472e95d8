"""run_in_executor(), and the default executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from tests.epoll.twins import PATIENCE, Loop, Reports, run, turn, turn_until


class Unstarted(Executor):
    """Gives out futures that nobody works on."""

    def __init__(self, future: Any = None) -> None:  # noqa: ANN401
        self.future = Future() if future is None else future

    def submit(self, *_: Any, **__: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        return self.future


class AtOnce(Executor):
    """Calls the function in the thread that asks."""

    def submit(self, fn: Callable[..., Any], *args: Any, **__: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
        future: Future[Any] = Future()
        future.set_result(fn(*args))
        return future


def test_executors_answer(loop: Loop) -> None:
    def fail() -> None:
        raise ValueError("from the thread")

    async def main() -> None:
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
        with pytest.raises(ValueError, match="from the thread"):
            await loop.run_in_executor(None, fail)
        with ThreadPoolExecutor(1) as executor:
            assert await loop.run_in_executor(executor, int, "5") == 5
        many = [loop.run_in_executor(None, int, str(number)) for number in range(50)]
        assert await asyncio.gather(*many) == list(range(50))

    run(loop, main())


def test_a_default_executor_is_a_thread_pool(loop: Loop) -> None:
    with pytest.raises(TypeError):
        loop.set_default_executor(object())  # type: ignore[arg-type]
    executor = ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(executor)

    async def main() -> str:
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    assert run(loop, main()).startswith("mine")


def test_a_default_executor_is_shut_down_once(loop: Loop) -> None:
    async def main() -> None:
        await loop.run_in_executor(None, int)
        await loop.shutdown_default_executor()
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)

    run(loop, main())


def test_what_is_cancelled_before_it_begins_never_runs(loop: Loop) -> None:
    executor = Unstarted()
    waiting = loop.run_in_executor(executor, print)
    waiting.cancel()
    turn(loop)
    assert executor.future.cancelled()


def test_what_has_begun_is_only_cancelled_for_its_task(loop: Loop) -> None:
    released, begun = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        released.wait(PATIENCE)

    async def main() -> None:
        waiting = asyncio.ensure_future(loop.run_in_executor(None, work))
        await asyncio.sleep(0)
        assert begun.wait(PATIENCE)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        released.set()
        await loop.shutdown_default_executor()  # it ends, and nothing is reported

    run(loop, main())


def test_an_executor_that_drops_its_work_cancels(loop: Loop) -> None:
    executor = Unstarted()
    waiting = loop.run_in_executor(executor, print)
    threading.Thread(target=executor.future.cancel).start()
    turn_until(loop, waiting.done)
    assert waiting.cancelled()


def test_an_exception_is_that_of_the_thread(loop: Loop) -> None:
    error = ValueError("mine")

    def fail() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(ValueError, match="mine") as caught:
            await loop.run_in_executor(None, fail)
        assert caught.value is error
        assert caught.traceback[-1].name == "fail"

    run(loop, main())


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (concurrent.futures.CancelledError("why"), asyncio.CancelledError),
        (concurrent.futures.InvalidStateError("why"), asyncio.InvalidStateError),
        (concurrent.futures.TimeoutError("why"), TimeoutError),
        (KeyError("why"), KeyError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_exceptions_of_futures_become_those_of_asyncio(
    loop: Loop, raised: Exception, expected: type[BaseException]
) -> None:
    executor = Unstarted()
    waiting = loop.run_in_executor(executor, print)
    executor.future.set_exception(raised)
    turn_until(loop, waiting.done)
    exception = waiting.exception()
    assert type(exception) is expected
    assert exception.args == ("why",)


def test_an_executor_may_answer_at_once(loop: Loop) -> None:
    async def main() -> None:
        assert await loop.run_in_executor(AtOnce(), int, "7") == 7

    run(loop, main())


def test_an_executor_may_have_futures_of_asyncio(loop: Loop) -> None:
    future = loop.create_future()
    assert loop.run_in_executor(Unstarted(future), print) is future


def test_an_executor_may_have_futures_of_its_own(loop: Loop) -> None:
    class Own(Future):  # type: ignore[type-arg]
        pass

    future = Own()
    waiting = loop.run_in_executor(Unstarted(future), print)
    future.set_result(3)
    turn_until(loop, waiting.done)
    assert waiting.result() == 3


def test_an_executor_must_have_futures(loop: Loop) -> None:
    with pytest.raises(AssertionError):
        loop.run_in_executor(Unstarted("no future"), print)


def test_a_future_that_was_answered_by_hand_is_left_alone(loop: Loop, reports: Reports) -> None:
    executor = Unstarted()
    waiting = loop.run_in_executor(executor, print)
    waiting.set_result("by hand")
    executor.future.set_result("by the executor")
    turn(loop, 2)
    assert waiting.result() == "by hand"
    reports.take_one()


def test_an_answer_for_a_closed_loop_is_dropped(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    executor = Unstarted()
    loop.run_in_executor(executor, print)
    loop.close()
    with caplog.at_level(logging.ERROR):
        executor.future.set_result(None)
    assert not caplog.records


def test_debug_mode_refuses_coroutines(loop: Loop) -> None:
    async def main() -> None:
        pass

    loop.set_debug(True)
    with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
        loop.run_in_executor(None, main)
    with pytest.raises(TypeError, match="a callable object was expected"):
        loop.run_in_executor(None, 5)  # type: ignore[arg-type]
