"""Closing, debug mode, context variables, asynchronous generators, executors, arguments."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import socket
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.epoll.conftest import LoopMaker
from tests.epoll.twins import LOOPS, PATIENCE, Loop, Reports, adopted, run, run_forever, turn
from tests.epoll.twins import Recorder as RecordingProtocol


async def nothing() -> None:
    pass


def test_a_running_loop_is_not_closed(loop: Loop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()

    run(loop, main())
    assert not loop.is_closed()


def test_closing_twice_is_once(loop: Loop) -> None:
    loop.close()
    loop.close()
    assert loop.is_closed()
    assert "closed=True" in repr(loop)


USES: dict[str, Callable[[Any], object]] = {
    "call_soon": lambda loop: loop.call_soon(print),
    "call_soon_threadsafe": lambda loop: loop.call_soon_threadsafe(print),
    "call_later": lambda loop: loop.call_later(0, print),
    "call_at": lambda loop: loop.call_at(0, print),
    "run_forever": lambda loop: loop.run_forever(),
    "run_in_executor": lambda loop: loop.run_in_executor(None, print),
    "add_reader": lambda loop: loop.add_reader(0, print),
    "add_writer": lambda loop: loop.add_writer(0, print),
    "create_task": lambda loop: loop.create_task(None),
    "run_until_complete": lambda loop: loop.run_until_complete(loop.create_future()),
}


@pytest.mark.parametrize("use", USES)
def test_a_closed_loop_is_not_used(loop: Loop, use: str) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        USES[use](loop)


def test_a_closed_loop_still_answers(loop: Loop) -> None:
    handle = loop.call_later(1, print)
    loop.close()
    handle.cancel()
    loop.stop()
    assert not loop.remove_reader(0)
    assert not loop.remove_writer(0)
    assert loop.time() > 0
    assert not loop.is_running()
    loop.set_debug(True)
    assert loop.get_debug()


@pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)
def test_a_closed_loop_dies_without_the_garbage_collector(make: Callable[[], Loop]) -> None:
    gc.disable()
    try:
        loop = make()
        reference = weakref.ref(loop)
        run(loop, asyncio.sleep(0))
        loop.close()
        del loop
        assert reference() is None
    finally:
        gc.enable()


def test_closing_drops_what_is_scheduled(loop: Loop) -> None:
    class Callback:
        def __call__(self) -> None:
            pytest.fail("the loop is closed")

    kept = [Callback() for _ in range(4)]
    dead = [weakref.ref(callback) for callback in kept]
    one, other = socket.socketpair()
    with one, other:
        loop.call_soon(kept[0])
        loop.call_later(5, kept[1])
        loop.call_soon_threadsafe(kept[2])
        loop.add_reader(one, kept[3])
        kept.clear()
        loop.close()
        del loop
        gc.collect()
    # A watched descriptor is kept by the selector of asyncio until the loop itself goes.
    assert [reference() for reference in dead[:3]] == [None] * 3


def test_closing_drops_what_another_thread_has_scheduled(loop: Loop) -> None:
    class Callback:
        def __call__(self) -> None:
            pytest.fail("the loop is closed")

    kept = [Callback() for _ in range(3)]
    dead = [weakref.ref(callback) for callback in kept]

    def schedule() -> None:
        while kept:
            loop.call_soon_threadsafe(kept.pop())

    thread = threading.Thread(target=schedule)
    thread.start()
    thread.join(PATIENCE)
    loop.close()
    gc.collect()
    assert [reference() for reference in dead] == [None] * 3


def test_an_open_loop_that_is_dropped_is_warned_of(make_loop: LoopMaker) -> None:
    kind = type(make_loop())

    def drop() -> None:
        kind().stop()
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        drop()


def test_a_loop_is_no_cycle_for_good(make_loop: LoopMaker) -> None:
    kind = type(make_loop())
    kept = [kind()]
    kept[0].call_soon(kept.append, kept[0])
    kept[0].call_later(5, kept.append, kept[0])
    kept[0].close()
    gone = weakref.ref(kept.pop())
    gc.collect()
    assert gone() is None


def test_context_variables_are_those_of_the_scheduling(loop: Loop) -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    seen: list[tuple[str, str]] = []
    one, other = socket.socketpair()

    def note(name: str) -> None:
        seen.append((name, variable.get()))
        variable.set("changed by a callback")

    def schedule() -> None:
        variable.set("inside")
        loop.call_soon(note, "soon")
        loop.call_soon_threadsafe(note, "threadsafe")
        loop.add_writer(one, lambda: (note("writer"), loop.remove_writer(one)))
        loop.call_later(0, note, "timer")
        variable.set("afterwards")

    with one, other:
        contextvars.copy_context().run(schedule)
        turn(loop, 2)
    names = ["soon", "threadsafe", "writer", "timer"]
    assert seen == [(name, "inside") for name in names]
    assert variable.get() == "outside"


def test_a_given_context_is_used_as_it_is(loop: Loop) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    context = contextvars.copy_context()

    def count() -> None:
        variable.set(variable.get() + 1)

    loop.call_soon(count, context=context)
    loop.call_soon_threadsafe(count, context=context)
    loop.call_later(0, count, context=context)
    loop.call_at(0, count, context=context)
    turn(loop, 2)
    assert context[variable] == 4


def test_protocols_are_called_in_the_context_of_their_making(loop: Loop) -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []

    class Protocol(RecordingProtocol):
        def note(self, *event: Any) -> None:  # noqa: ANN401
            seen.append(variable.get())
            super().note(*event)

    protocol = Protocol()

    def use() -> None:
        variable.set("inside")
        with adopted(loop, protocol) as (_, peer):
            variable.set("afterwards")
            peer.send(b"x")
            peer.shutdown(socket.SHUT_WR)
            turn(loop, 5)

    contextvars.copy_context().run(use)
    assert protocol.events == [("made",), ("data", b"x"), ("eof",), ("lost", None)]
    assert seen == ["inside"] * 4


def test_debug_mode_refuses_other_threads(loop: Loop) -> None:
    loop.set_debug(True)
    failures: list[str] = []

    def use() -> None:
        for call in (
            lambda: loop.call_soon(print),
            lambda: loop.call_later(1, print),
            lambda: loop.call_at(1, print),
        ):
            try:
                call()
            except RuntimeError as failure:
                failures.append(str(failure))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=use)
    loop.call_soon(thread.start)
    run_forever(loop)
    thread.join(PATIENCE)
    assert (
        failures
        == ["Non-thread-safe operation invoked on an event loop other than the current one"] * 3
    )


def test_debug_mode_refuses_coroutines_as_callbacks(loop: Loop) -> None:
    loop.set_debug(True)
    coroutine = nothing()
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError, match="coroutines cannot be used with call_soon"):
            call(coroutine)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="a callable object was expected by call_soon"):
            call(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"coroutines cannot be used with call_at\(\)"):
        loop.call_later(1, coroutine)  # type: ignore[arg-type]
    coroutine.close()


@pytest.mark.parametrize("what", ["callback", "task"])
def test_debug_mode_logs_slow_callbacks(
    loop: Loop, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01

    def be_slow() -> None:
        end = time.monotonic() + 0.015
        while time.monotonic() < end:
            pass

    async def slow_task() -> None:
        be_slow()

    with caplog.at_level(logging.WARNING, "asyncio"):
        if what == "callback":
            loop.call_soon(be_slow)
            turn(loop)
        else:
            loop.run_until_complete(slow_task())
    messages = [record.getMessage() for record in caplog.records]
    slow = [message for message in messages if "be_slow" in message or "slow_task" in message]
    assert len(slow) == 1
    assert slow[0].startswith("Executing <")
    assert " seconds" in slow[0]


def test_debug_mode_can_change_while_the_loop_runs(loop: Loop) -> None:
    async def main() -> None:
        loop.set_debug(True)
        await asyncio.sleep(0)
        assert sys.get_coroutine_origin_tracking_depth() > 0
        loop.set_debug(False)
        await asyncio.sleep(0)
        assert sys.get_coroutine_origin_tracking_depth() == 0

    run(loop, main())


def test_handles_say_what_they_are(loop: Loop) -> None:
    soon = loop.call_soon(print)
    timer = loop.call_at(12345678.5, print)
    assert isinstance(soon, asyncio.Handle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert repr(soon) == "<Handle print()>"
    assert repr(timer) == "<TimerHandle when=12345678.5 print()>"
    assert timer.when() == 12345678.5
    soon.cancel()
    timer.cancel()
    assert repr(soon) == "<Handle cancelled>"
    assert repr(timer) == "<TimerHandle cancelled when=12345678.5>"


def test_handles_say_where_they_were_made_in_debug_mode(loop: Loop) -> None:
    loop.set_debug(True)
    line = sys._getframe().f_lineno + 1
    handle = loop.call_soon(print)
    place = f"{__file__}:{line}>"
    assert repr(handle) == f"<Handle print() created at {place}"
    handle.cancel()
    assert repr(handle) == f"<Handle cancelled print() created at {place}"


def test_timers_compare_by_their_time(loop: Loop) -> None:
    early, late = loop.call_at(1e9, print), loop.call_at(2e9, print)
    same = loop.call_at(1e9, print)
    assert early < late <= late
    assert late > early >= early
    assert early == same
    assert early != late
    assert hash(early) == hash(same)


@pytest.mark.parametrize("call", ["call_later", "call_at"])
def test_a_timer_needs_a_time(loop: Loop, call: str) -> None:
    with pytest.raises(TypeError):
        getattr(loop, call)(None, print)


def test_far_timers_are_kept(loop: Loop) -> None:
    for when in (1e10, 1e300):
        handle = loop.call_later(when, pytest.fail, "never")
        assert handle.when() > 1e9
    turn(loop, 2)


async def endless(seen: list[str]) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0)
        seen.append("closed")


def test_asynchronous_generators_are_shut_down(loop: Loop) -> None:
    seen: list[str] = []
    running = endless(seen)

    async def main() -> None:
        await anext(running)

    run(loop, main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert seen == ["closed"]


def test_a_dropped_asynchronous_generator_is_closed(loop: Loop) -> None:
    seen: list[str] = []

    async def main() -> None:
        async for _ in endless(seen):
            break
        gc.collect()
        while not seen:
            await asyncio.sleep(0)

    run(loop, main())
    assert seen == ["closed"]


def test_a_generator_that_fails_at_its_end_is_reported(loop: Loop, reports: Reports) -> None:
    async def failing() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ZeroDivisionError

    generator = failing()

    async def main() -> None:
        await anext(generator)

    run(loop, main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    report = reports.take_one()
    assert report["message"].startswith("an error occurred during closing of asynchronous gen")
    assert report["asyncgen"] is generator


def test_the_hooks_of_generators_are_restored(loop: Loop) -> None:
    before = sys.get_asyncgen_hooks()
    turn(loop)
    assert sys.get_asyncgen_hooks() == before


def test_a_task_factory_makes_the_tasks(loop: Loop) -> None:
    made: list[Any] = []

    def factory(loop: Any, coroutine: Any, **arguments: Any) -> asyncio.Task[Any]:  # noqa: ANN401
        made.append(arguments)
        return asyncio.Task(coroutine, loop=loop, **arguments)

    with pytest.raises(TypeError, match="task factory must be a callable or None"):
        loop.set_task_factory(5)  # type: ignore[arg-type]
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    context = contextvars.copy_context()

    async def main() -> None:
        task = loop.create_task(nothing(), name="it", context=context)
        assert task.get_name() == "it"
        await task

    run(loop, main())
    assert made[-1]["context"] is context
