"""What call_soon_threadsafe() answers: asyncio's class of it, whose lock is held while it runs."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from asyncio import events
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import epoll
from epoll import _loop

SECONDS = 20

has_lock = pytest.mark.skipif(
    not hasattr(events, "_ThreadSafeHandle"), reason="this asyncio has no such handles"
)


@pytest.fixture
def loop() -> Iterator[epoll.EventLoop]:
    made = epoll.new_event_loop()
    yield made
    made.close()


def turn(loop: epoll.EventLoop) -> None:
    loop.stop()
    loop.run_forever()


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def join(thread: threading.Thread) -> None:
    thread.join(SECONDS)
    assert not thread.is_alive()


def class_of_asyncio() -> type[asyncio.Handle]:
    kept: type[asyncio.Handle] = getattr(events, "_ThreadSafeHandle", asyncio.Handle)
    return kept


def test_it_is_of_asyncios_class(loop: epoll.EventLoop) -> None:
    handle = loop.call_soon_threadsafe(print, 1, 2)
    assert isinstance(handle, class_of_asyncio())
    assert (handle._callback, handle._args) == (print, (1, 2))
    assert not handle.cancelled()


def test_a_cancelled_one_does_not_run(loop: epoll.EventLoop) -> None:
    ran: list[int] = []
    handle = loop.call_soon_threadsafe(ran.append, 1)
    loop.call_soon_threadsafe(ran.append, 2)
    handle.cancel()
    assert handle.cancelled()
    turn(loop)
    assert ran == [2]


@pytest.mark.parametrize("debug", [False, True])
def test_a_callback_may_cancel_its_own_handle(loop: epoll.EventLoop, debug: bool) -> None:
    loop.set_debug(debug)
    handles: list[asyncio.Handle] = []
    seen: list[bool] = []

    def callback() -> None:
        handles[0].cancel()
        seen.append(handles[0].cancelled())

    handles.append(loop.call_soon_threadsafe(callback))
    turn(loop)
    assert seen == [True]


@has_lock
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("method", ["cancel", "cancelled"])
def test_another_thread_waits_until_the_callback_is_done(
    loop: epoll.EventLoop, method: str, debug: bool
) -> None:
    loop.set_debug(debug)
    loop.slow_callback_duration = SECONDS
    handles: list[asyncio.Handle] = []
    order: list[str] = []
    began = threading.Event()

    def other() -> None:
        began.set()
        getattr(handles[0], method)()
        order.append(method)

    def callback() -> None:
        thread = in_thread(other)
        assert began.wait(SECONDS)
        thread.join(0.05)  # nothing to wait for: it cannot be done
        order.append("callback")
        threads.append(thread)

    threads: list[threading.Thread] = []
    handles.append(loop.call_soon_threadsafe(callback))
    turn(loop)
    join(threads[0])
    assert order == ["callback", method]


@has_lock
def test_the_callback_waits_for_who_has_the_lock(loop: epoll.EventLoop) -> None:
    order: list[str] = []
    handle: Any = loop.call_soon_threadsafe(order.append, "callback")
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with handle._lock:
            taken.set()
            assert free.wait(SECONDS)
            handle.cancel()
            order.append("cancelled")

    thread = in_thread(hold)
    assert taken.wait(SECONDS)
    timer = threading.Timer(0.02, free.set)
    timer.start()
    turn(loop)
    join(thread)
    assert order == ["cancelled"]


@has_lock
def test_there_is_one_lock(loop: epoll.EventLoop) -> None:
    handle: Any = loop.call_soon_threadsafe(print)
    assert handle._lock is handle._lock
    other: Any = loop.call_soon_threadsafe(print)
    assert handle._lock is not other._lock


def test_an_exception_is_reported_and_the_lock_is_free(loop: epoll.EventLoop) -> None:
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))

    def fail() -> None:
        raise ValueError("as it should")

    handle = loop.call_soon_threadsafe(fail)
    turn(loop)
    assert [type(context["exception"]) for context in reports] == [ValueError]
    assert reports[0]["handle"] is handle
    join(in_thread(handle.cancel))


def test_one_is_used_again_with_a_lock_of_its_own(loop: epoll.EventLoop) -> None:
    for expected in range(3):
        ran: list[int] = []
        handle = loop.call_soon_threadsafe(ran.append, expected)
        turn(loop)
        handle.cancel()
        assert ran == [expected]
        del handle


def test_a_cycle_through_one_is_collected(loop: epoll.EventLoop) -> None:
    class Callback:
        handle: asyncio.Handle

        def __call__(self) -> None:
            pass

    callback = Callback()
    callback.handle = loop.call_soon_threadsafe(callback)
    gone = weakref.ref(callback)
    turn(loop)
    del callback
    gc.collect()
    assert gone() is None


def test_asyncios_own_code_can_schedule_one_again(loop: epoll.EventLoop) -> None:
    ran: list[int] = []
    handle = loop.call_soon_threadsafe(ran.append, 1)
    turn(loop)
    loop._add_callback(handle)
    turn(loop)
    assert ran == [1, 1]


def test_none_can_be_made_by_hand() -> None:
    kind = getattr(_loop, "ThreadSafeHandle", _loop.Handle)
    with pytest.raises(TypeError):
        kind(print, (), None)
