"""The native methods of the loop: how they take their arguments, futures and tasks, forks."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest

import epoll

EAGER = sys.version_info >= (3, 14)


@pytest.fixture
def loop() -> Iterator[epoll.EventLoop]:
    loop = epoll.new_event_loop()
    yield loop
    loop.close()


def turn(loop: epoll.EventLoop) -> None:
    loop.stop()
    loop.run_forever()


async def nothing() -> None:
    pass


def call_for(loop: asyncio.AbstractEventLoop, expression: str) -> str:
    """Return what a call raises, without the name of the class that asyncio puts before it."""
    with pytest.raises(TypeError) as raised:
        eval(expression, {"loop": loop})
    return str(raised.value).replace("BaseEventLoop.", "").replace("arguments: 'delay' and ", "")


@pytest.mark.parametrize(
    "expression",
    [
        "loop.call_soon()",
        "loop.call_soon(print, other=1)",
        "loop.call_soon(print, callback=1)",
        "loop.call_soon_threadsafe()",
        "loop.call_later(1)",
        "loop.call_later(None, print)",
        "loop.call_later(1, print, delay=2)",
        "loop.call_later('1', print)",
        "loop.call_at(None, print)",
        "loop.call_at(1)",
    ],
)
def test_wrong_calls_raise_what_asyncio_raises(loop: epoll.EventLoop, expression: str) -> None:
    oracle = asyncio.SelectorEventLoop()
    try:
        assert call_for(loop, expression) == call_for(oracle, expression)
    finally:
        oracle.close()


def test_parameters_may_be_given_by_name(loop: epoll.EventLoop) -> None:
    calls: list[str] = []
    context = contextvars.copy_context()
    loop.call_soon(callback=lambda: calls.append("soon"), context=context)
    loop.call_later(callback=lambda: calls.append("later"), delay=0)
    loop.call_at(0, callback=lambda: calls.append("at"))
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert calls == ["soon", "at", "later"]


@pytest.mark.parametrize("delay", [0, 0.0, -1, True, Fraction(0), -math.inf])
def test_delays_of_any_kind_are_due(loop: epoll.EventLoop, delay: Any) -> None:  # noqa: ANN401
    loop.call_later(delay, loop.stop)
    loop.run_forever()


@pytest.mark.parametrize("delay", [1e300, math.inf, sys.float_info.max, 1e10])
def test_endless_delays_wait(loop: epoll.EventLoop, delay: float) -> None:
    timer = loop.call_later(delay, pytest.fail)
    loop.call_later(0, loop.stop)
    loop.run_forever()
    timer.cancel()


def test_timer_is_due_when_the_clock_says_so(loop: epoll.EventLoop) -> None:
    early: list[float] = []

    def check(when: float) -> None:
        if loop.time() < when:
            early.append(when)

    start = loop.time()
    for number in range(1000):
        when = start + number * 1.0000001e-5
        loop.call_at(when, check, when)
    loop.call_at(start + 0.011, loop.stop)
    loop.run_forever()
    assert early == []


def test_closed_loop_takes_nothing(loop: epoll.EventLoop) -> None:
    loop.close()
    coroutine = nothing()
    calls: list[Callable[[], object]] = [
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.create_task(coroutine),
        loop.run_forever,
        loop._run,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()
    coroutine.close()
    loop._write_to_self()  # as other threads may, at any time


def test_futures_belong_to_the_loop(loop: epoll.EventLoop) -> None:
    future = loop.create_future()
    assert type(future) is asyncio.Future
    assert future.get_loop() is loop


def test_tasks_take_the_keywords_of_asyncio(loop: epoll.EventLoop) -> None:
    context = contextvars.copy_context()
    task = loop.create_task(nothing(), name="named", context=context)
    unnamed = loop.create_task(nothing(), name=None, context=None)
    loop.run_until_complete(asyncio.gather(task, unnamed))
    assert task.get_name() == "named"
    assert unnamed.get_name().startswith("Task-")
    if sys.version_info >= (3, 12):
        assert task.get_context() is context


@pytest.mark.skipif(not EAGER, reason="create_task() knows eager_start since Python 3.14")
def test_eager_task_starts_at_once(loop: epoll.EventLoop) -> None:
    started: list[bool] = []

    async def child() -> None:
        started.append(True)

    async def main() -> None:
        loop.create_task(child(), eager_start=True)  # type: ignore[call-arg]
        assert started == [True]

    loop.run_until_complete(main())


def test_task_factory_gets_what_create_task_got(loop: epoll.EventLoop) -> None:
    context = contextvars.copy_context()
    given: list[dict[str, Any]] = []

    def factory(
        loop: asyncio.AbstractEventLoop,
        coroutine: Any,  # noqa: ANN401
        **keywords: Any,  # noqa: ANN401
    ) -> asyncio.Task[None]:
        given.append(keywords)
        return asyncio.Task(coroutine, loop=loop, **keywords)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    loop.run_until_complete(loop.create_task(nothing(), context=context))
    assert given[0]["context"] is context
    loop.set_task_factory(None)
    loop.run_until_complete(loop.create_task(nothing()))
    assert len(given) == 1


def test_what_is_no_coroutine_is_no_task(loop: epoll.EventLoop) -> None:
    with pytest.raises(TypeError, match="a coroutine was expected, got 1"):
        loop.create_task(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loop.create_task()  # type: ignore[call-arg]


def test_stop_comes_from_any_thread(loop: epoll.EventLoop) -> None:
    timer = threading.Timer(0.01, loop.stop)
    timer.start()
    started = time.monotonic()
    loop.run_forever()
    timer.join()
    assert time.monotonic() - started < 10


def test_loop_that_is_driven_is_not_driven_again(loop: epoll.EventLoop) -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            loop._run()
        except RuntimeError as error:
            raised.append(error)

    loop.call_soon(run)
    turn(loop)
    assert "already running" in str(raised[0])


def test_handles_of_python_are_run_too(loop: epoll.EventLoop) -> None:
    calls: list[int] = []
    handle = asyncio.Handle(calls.append, (1,), loop)
    cancelled = asyncio.Handle(calls.append, (2,), loop)
    loop._add_callback(handle)
    loop._add_callback(cancelled)
    loop._add_callback(loop.call_soon(calls.append, 3))
    cancelled.cancel()
    turn(loop)
    assert calls == [1, 3]


def test_attributes_of_asyncio_are_there(loop: epoll.EventLoop) -> None:
    seen: list[tuple[Any, ...]] = []
    loop.call_soon(lambda: seen.append((loop._thread_id, loop._stopping, loop._closed)))
    turn(loop)
    assert seen == [(threading.get_ident(), True, False)]
    assert loop._thread_id is None
    assert loop._stopping is False
    with pytest.raises(AttributeError, match="cannot be deleted"):
        del loop._closed


def in_child(work: Callable[[], object]) -> str:
    """Return the last line of what `work` raises in a forked child, "" for nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        text = ""
        try:
            work()
        except BaseException:
            text = traceback.format_exc().splitlines()[-1]
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_child_of_a_fork_cannot_use_the_loop(loop: epoll.EventLoop) -> None:
    for work in (lambda: loop.run_forever(), lambda: loop.call_soon(print)):
        assert "belongs to the parent process" in in_child(work)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_child_of_a_fork_can_close_the_loop_and_make_another(loop: epoll.EventLoop) -> None:
    calls: list[int] = []
    reader, writer = os.pipe()
    loop.add_reader(reader, lambda: (calls.append(1), loop.stop()))

    def work() -> None:
        loop.close()
        asyncio.run(nothing())
        epoll.run(nothing())

    assert in_child(work) == ""
    os.write(writer, b"x")
    loop.run_forever()
    assert calls == [1]
    loop.remove_reader(reader)
    os.close(reader)
    os.close(writer)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_callback_that_forks_ends_the_run_of_the_child(loop: epoll.EventLoop) -> None:
    calls: list[str] = []

    def fork() -> None:
        calls.append("child" if os.fork() == 0 else "parent")

    loop.call_soon(fork)
    loop.call_soon(loop.stop)
    parent = os.getpid()
    reader, writer = os.pipe()
    try:
        loop.run_forever()
    except RuntimeError as error:
        if os.getpid() == parent:
            raise
        os.write(writer, str(error).encode())
    finally:
        if os.getpid() != parent:
            os._exit(0)
    os.close(writer)
    os.wait()
    assert b"belongs to the parent process" in os.read(reader, 1000)
    os.close(reader)
    assert calls == ["parent"]


def test_no_descriptor_is_left(loop: epoll.EventLoop) -> None:
    def count() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    before = count()
    for _ in range(20):
        other = epoll.new_event_loop()
        other.run_until_complete(nothing())
        other.close()
    kept = other
    assert count() == before
    assert kept.is_closed()
