"""Native handles: asyncio's own by their type and slots; they cost the collector nothing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import epoll
from epoll import _loop

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def loop() -> Iterator[epoll.EventLoop]:
    loop = epoll.new_event_loop()
    yield loop
    loop.close()


def turn(loop: epoll.EventLoop) -> None:
    loop.stop()
    loop.run_forever()


class Holder:
    """Something that can be referred to weakly and may refer to anything."""

    kept: Any = None

    def method(self) -> None:
        pass


def test_handles_are_those_of_asyncio(loop: epoll.EventLoop) -> None:
    handle = loop.call_soon(print, 1, 2)
    timer = loop.call_later(1, print)
    assert isinstance(handle, asyncio.Handle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert (handle._callback, handle._args, handle._cancelled) == (print, (1, 2), False)
    assert handle._loop is loop
    assert timer._scheduled is True
    assert timer._when == timer.when()


@pytest.mark.parametrize("kind", [_loop.Handle, _loop.TimerHandle])
def test_handles_are_made_by_loops_alone(kind: type) -> None:
    with pytest.raises(TypeError, match="cannot create"):
        kind(print, (), None)
    with pytest.raises(TypeError, match=r"not safe|cannot create"):
        object.__new__(kind)


def test_handle_has_no_dictionary_and_is_not_copied(loop: epoll.EventLoop) -> None:
    handle = loop.call_soon(print)
    with pytest.raises(AttributeError):
        handle.other = 1  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        copy.copy(handle)


def test_time_of_a_timer_is_kept_as_it_was_given(loop: epoll.EventLoop) -> None:
    when = 10**9
    assert loop.call_at(when, print)._when is when


def test_cancel_forgets_callback_and_arguments(loop: epoll.EventLoop) -> None:
    holder = Holder()
    alive = weakref.ref(holder)
    handle = loop.call_soon(holder.method)
    timer = loop.call_later(100, print, holder)
    del holder
    handle.cancel()
    timer.cancel()
    assert alive() is None
    assert (handle._callback, handle._args, timer._callback, timer._args) == (None,) * 4
    assert handle.cancelled()
    assert timer.cancelled()


def test_cancelled_timer_leaves_the_loop_at_once(loop: epoll.EventLoop) -> None:
    timer = loop.call_later(100, print)
    alive = weakref.ref(timer)
    timer.cancel()
    assert timer._scheduled is False
    del timer
    assert alive() is None


def test_timer_that_ran_is_not_scheduled(loop: epoll.EventLoop) -> None:
    timer = loop.call_later(0, loop.stop)
    loop.run_forever()
    assert timer._scheduled is False
    assert not timer.cancelled()


def test_cancel_from_another_thread_is_seen(loop: epoll.EventLoop) -> None:
    called: list[int] = []
    timer = loop.call_later(0.001, called.append, 1)
    thread = threading.Thread(target=timer.cancel)
    loop.call_soon(thread.start)
    loop.call_soon(thread.join)
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert timer.cancelled()
    assert called == []
    assert timer._scheduled is False


def test_callback_may_cancel_its_own_handle(loop: epoll.EventLoop) -> None:
    handles: list[asyncio.Handle] = []
    arguments: list[str] = []

    def callback(argument: str) -> None:
        handles[0].cancel()
        arguments.append(argument)

    handles.append(loop.call_soon(callback, "kept"))
    turn(loop)
    assert arguments == ["kept"]


@contextlib.contextmanager
def unset_again() -> Iterator[None]:
    token = variable.set("unset")
    yield
    variable.reset(token)


def test_each_callback_has_a_context_of_its_own(loop: epoll.EventLoop) -> None:
    seen: list[str] = []

    def change() -> None:
        seen.append(variable.get())
        variable.set("changed")

    with unset_again():
        loop.call_soon(change)
        loop.call_soon(change)
        loop.call_later(0, change)
        variable.set("later")
        loop.call_soon(change)
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert seen == ["unset", "unset", "later", "unset"]
        assert variable.get() == "later"


def test_context_of_a_handle_is_the_one_that_it_ran_in(loop: epoll.EventLoop) -> None:
    with unset_again():
        first = loop.call_soon(variable.set, "first")
        second = loop.call_soon(variable.set, "second")
        third = loop.call_soon(int)
    before = first._context
    turn(loop)
    assert first._context is before
    values = [handle._context[variable] for handle in (first, second, third)]
    assert values == ["first", "second", "unset"]


def test_what_a_callback_sets_goes_with_it(loop: epoll.EventLoop) -> None:
    values: list[Any] = []
    finalized: list[bool] = []

    def set_it(value: Holder) -> None:
        weakref.finalize(value, finalized.append, True)
        holder.set(value)

    holder: contextvars.ContextVar[Any] = contextvars.ContextVar("holder", default=None)
    loop.call_soon(values.append, "before")
    loop.call_soon(set_it, Holder())
    loop.call_soon(lambda: values.append(holder.get()))
    turn(loop)
    assert values == ["before", None]
    assert finalized == [True]


def test_token_of_one_callback_is_not_for_another(loop: epoll.EventLoop) -> None:
    tokens = []
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    variable.set("as it was")
    loop.call_soon(lambda: None)
    loop.call_soon(lambda: tokens.append(variable.set(variable.get())))
    loop.call_soon(lambda: variable.reset(tokens[0]))
    turn(loop)
    assert [type(context["exception"]) for context in failures] == [ValueError]


def test_context_can_be_replaced(loop: epoll.EventLoop) -> None:
    context = contextvars.copy_context()
    handle = loop.call_soon(variable.set, "there")
    handle._context = context
    turn(loop)
    assert context[variable] == "there"


def test_anything_that_runs_may_stand_for_a_context(loop: epoll.EventLoop) -> None:
    class Recorder:
        def run(self, callback: Any, *arguments: Any) -> None:  # noqa: ANN401
            calls.append((callback, arguments))

    calls: list[Any] = []
    loop.call_soon(print, 1, context=Recorder())  # type: ignore[arg-type]
    turn(loop)
    assert calls == [(print, (1,))]


def test_context_that_is_in_use_is_reported(
    loop: epoll.EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []
    context = contextvars.copy_context()
    loop.call_soon(calls.append, 1, context=context)
    loop.call_soon(calls.append, 2)
    context.run(turn, loop)
    assert "already entered" in caplog.text
    assert calls == [2]


def test_collector_is_told_only_of_handles_that_are_kept(loop: epoll.EventLoop) -> None:
    kept = loop.call_soon(print)
    loop.call_soon(print)
    assert gc.is_tracked(kept)
    ran: list[bool] = []
    handle = loop.call_soon(lambda: ran.append(gc.is_tracked(handle)))
    turn(loop)
    assert ran == [True]


@pytest.mark.parametrize("close", [True, False])
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_cycle_through_a_loop_is_collected(*, close: bool) -> None:
    loop = epoll.new_event_loop()
    holder = Holder()
    holder.kept = (loop, loop.call_later(100, holder.method), loop.call_soon(holder.method))
    loop.call_soon(holder.method)
    loops = weakref.ref(loop)
    if close:
        loop.close()
    del loop, holder
    gc.collect()
    assert loops() is None


def test_cycle_through_a_handle_that_ran_is_collected(loop: epoll.EventLoop) -> None:
    holder = Holder()
    holder.kept = loop.call_soon(holder.method)
    alive = weakref.ref(holder)
    turn(loop)
    del holder
    gc.collect()
    assert alive() is None


def test_references_are_balanced(loop: epoll.EventLoop) -> None:
    argument = object()
    context = contextvars.copy_context()

    def callback(_: object) -> None:
        pass

    def counts() -> list[int]:
        return [sys.getrefcount(x) for x in (loop, argument, callback, context, _loop.Handle)]

    def use() -> None:
        for _ in range(2000):  # more than are kept for reuse
            loop.call_soon(callback, argument)
            loop.call_soon(callback, argument, context=context)
            loop.call_soon(callback, argument).cancel()
            loop.call_later(0, callback, argument)
            loop.call_later(100, callback, argument).cancel()
        loop.call_later(0, loop.stop)
        loop.run_forever()

    use()
    before = counts()
    use()
    assert counts() == before


def test_weak_references_to_reused_handles_are_dead(loop: epoll.EventLoop) -> None:
    handle = weakref.ref(loop.call_soon(int))
    turn(loop)
    again = loop.call_soon(int)
    assert handle() is None
    assert weakref.ref(again)() is again


def test_debug_mode_keeps_the_text_of_a_cancelled_handle(loop: epoll.EventLoop) -> None:
    loop.set_debug(True)
    handle = loop.call_soon(sorted, [3, 1])
    handle.cancel()
    assert "sorted([3, 1])" in repr(handle)
    assert "test_handles.py" in repr(handle)
