"""In which order the loop calls what was scheduled, and when it waits, stops and wakes."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
import threading
import time

import pytest

from tests.epoll.conftest import LoopMaker
from tests.epoll.twins import PATIENCE, Loop, Recorder, run, run_forever, turn

#: asyncio 3.13.0 cleans up behind a run_forever() that it has refused: what runs then takes itself
#: for not running, and its loop for nobody's.
IS_REFUSAL_AN_END = "try:\n            self._run_forever_setup()" in inspect.getsource(
    asyncio.BaseEventLoop.run_forever
)


def test_callbacks_run_in_the_order_of_scheduling(loop: Loop) -> None:
    seen: list[int] = []
    for number in range(100):
        loop.call_soon(seen.append, number)
    turn(loop)
    assert seen == list(range(100))


def test_what_a_callback_schedules_runs_in_the_next_turn(loop: Loop) -> None:
    seen: list[str] = []

    def outer() -> None:
        seen.append("outer")
        loop.call_soon(seen.append, "inner")

    loop.call_soon(outer)
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "last of the turn")
    loop.run_forever()
    assert seen == ["outer", "last of the turn"]
    turn(loop)
    assert seen == ["outer", "last of the turn", "inner"]


@pytest.mark.parametrize("kind", ["reader", "writer"])
def test_what_is_ready_when_it_is_added_is_called_in_the_next_turn(
    loop: Loop, ready: int, kind: str
) -> None:
    seen: list[str] = []

    def added() -> None:
        seen.append("added")
        getattr(loop, f"remove_{kind}")(ready)

    def go_on() -> None:
        seen.append("turn")
        if len(seen) == 5:
            getattr(loop, f"add_{kind}")(ready, added)
        if len(seen) == 20:
            loop.stop()
        else:
            loop.call_soon(go_on)

    loop.call_soon(go_on)
    run_forever(loop)
    assert seen.index("added") == 6


def test_data_that_waits_in_a_pipe_comes_before_what_is_scheduled_then(loop: Loop) -> None:
    seen: list[str] = []
    protocol = Recorder()
    one, other = socket.socketpair()
    with one:
        one.send(b"x")

        async def main() -> None:
            transport, _ = await loop.connect_read_pipe(lambda: protocol, other)
            loop.call_soon(lambda: seen.append(f"scheduled, {protocol.received!r}"))
            await asyncio.sleep(0)
            transport.close()
            await asyncio.sleep(0)

        run(loop, main())
    assert seen == ["scheduled, b'x'"]


def test_a_stop_before_the_start_makes_one_turn(loop: Loop, ready: int) -> None:
    seen: list[str] = []
    loop.call_soon(seen.append, "soon")
    loop.add_reader(ready, seen.append, "reader")
    loop.call_at(loop.time(), seen.append, "timer")
    loop.stop()
    loop.run_forever()
    assert seen == ["soon", "reader", "timer"]
    loop.remove_reader(ready)


def test_a_turn_is_soon_then_descriptors_then_timers(loop: Loop, ready: int) -> None:
    seen: list[str] = []

    def first() -> None:
        seen.append("soon")
        loop.call_soon(seen.append, "next turn")

    loop.call_at(loop.time(), seen.append, "timer")
    loop.add_writer(ready, seen.append, "writer")
    loop.add_reader(ready, seen.append, "reader")
    loop.call_soon(first)
    turn(loop)
    loop.remove_reader(ready)
    loop.remove_writer(ready)
    turn(loop)
    assert seen == ["soon", "reader", "writer", "timer", "next turn"]


def test_a_timer_made_in_a_turn_runs_after_what_was_scheduled_in_it(loop: Loop) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.call_later(0, seen.append, "timer")
        loop.call_soon(seen.append, "soon")

    loop.call_soon(first)
    turn(loop)
    assert seen == []
    turn(loop)
    assert seen == ["soon", "timer"]


def test_a_timer_that_falls_due_during_a_turn_waits_for_the_next(loop: Loop) -> None:
    seen: list[str] = []
    when = loop.time() + 0.02
    loop.call_at(when, seen.append, "timer")

    def first() -> None:
        while loop.time() <= when:
            pass
        loop.call_soon(seen.append, "soon")

    loop.call_soon(first)
    turn(loop)
    assert seen == []
    turn(loop)
    assert seen == ["soon", "timer"]


def test_timers_run_in_the_order_of_their_times(loop: Loop) -> None:
    seen: list[int] = []
    now = loop.time()
    for number in (3, 1, 4, 0, 2):
        loop.call_at(now - 1 + number / 10, seen.append, number)
    turn(loop)
    assert seen == [0, 1, 2, 3, 4]


def test_timers_are_never_early(loop: Loop) -> None:
    early: list[float] = []
    count = 40

    def check(when: float) -> None:
        # asyncio runs a timer within the resolution of its clock, which is a nanosecond.
        early.append(max(0.0, when - loop.time() - 2e-9))
        if len(early) == count:
            loop.stop()

    now = loop.time()
    for number in range(count):
        when = now + number * 0.00037
        loop.call_at(when, check, when)
    run_forever(loop)
    assert early == [0.0] * count


def test_the_clock_is_that_of_time_monotonic(loop: Loop) -> None:
    before = time.monotonic()
    between = loop.time()
    assert before <= between <= time.monotonic()


def test_a_due_timer_does_not_wait_for_another(loop: Loop) -> None:
    loop.call_later(100, pytest.fail, "too early")
    loop.call_later(-5, loop.stop)
    run_forever(loop)


@pytest.mark.parametrize("how", ["same thread", "other thread"])
def test_threadsafe_callbacks_stand_in_the_same_queue(loop: Loop, how: str) -> None:
    seen: list[int] = []

    def schedule(number: int) -> None:
        if how == "same thread":
            loop.call_soon_threadsafe(seen.append, number)
        else:
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(seen.append, number))
            thread.start()
            thread.join(PATIENCE)

    for number in range(0, 10, 2):
        loop.call_soon(seen.append, number)
        schedule(number + 1)
    turn(loop)
    assert seen == list(range(10))


def test_threadsafe_wakes_a_loop_that_waits(loop: Loop) -> None:
    timer = threading.Timer(0.02, loop.call_soon_threadsafe, (loop.stop,))
    timer.start()
    run_forever(loop)
    timer.join()


def test_threads_lose_nothing(loop: Loop) -> None:
    seen: list[tuple[int, int]] = []
    threads, calls = 4, 300

    def schedule(thread: int) -> None:
        for number in range(calls):
            loop.call_soon_threadsafe(add, (thread, number))

    def add(item: tuple[int, int]) -> None:
        seen.append(item)
        if len(seen) == threads * calls:
            loop.stop()

    running = [threading.Thread(target=schedule, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    run_forever(loop)
    for thread in running:
        thread.join(PATIENCE)
    for number in range(threads):
        assert [call for thread, call in seen if thread == number] == list(range(calls))


def test_a_thread_and_the_loop_itself_schedule_at_the_same_time(loop: Loop) -> None:
    seen: list[str] = []
    calls = 500

    def go_on(left: int) -> None:
        seen.append("own")
        if left:
            loop.call_soon(go_on, left - 1)

    def schedule() -> None:
        for _ in range(calls):
            loop.call_soon_threadsafe(seen.append, "foreign")
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=schedule)
    loop.call_soon(thread.start)
    loop.call_soon(go_on, calls)
    run_forever(loop)
    thread.join(PATIENCE)
    while seen.count("own") <= calls:
        turn(loop)
    assert (seen.count("own"), seen.count("foreign")) == (calls + 1, calls)


def test_cancel_from_another_thread_is_safe(loop: Loop) -> None:
    handle = loop.call_soon_threadsafe(pytest.fail, "it was cancelled")
    thread = threading.Thread(target=handle.cancel)
    thread.start()
    thread.join(PATIENCE)
    turn(loop)
    assert handle.cancelled()


def test_cancelled_callbacks_do_not_run(loop: Loop, ready: int) -> None:
    seen: list[str] = []
    now = loop.time()
    timers = [loop.call_at(now, seen.append, "timer")]
    soon: list[asyncio.Handle] = []

    def first() -> None:
        soon[0].cancel()
        timers[0].cancel()
        assert loop.remove_reader(ready)
        assert not loop.remove_reader(ready)

    loop.add_reader(ready, seen.append, "reader")
    loop.call_soon(first)
    soon.append(loop.call_soon(seen.append, "soon"))
    turn(loop, 2)
    assert seen == []


def test_a_due_timer_may_cancel_another_due_one(loop: Loop) -> None:
    seen: list[str] = []
    now = loop.time()
    second = loop.call_at(now, seen.append, "second")
    loop.call_at(now - 1, second.cancel)
    turn(loop, 2)
    assert seen == []
    assert second.cancelled()


def test_a_reader_may_replace_itself(loop: Loop, ready: int) -> None:
    seen: list[str] = []
    loop.add_reader(ready, lambda: (seen.append("old"), loop.add_reader(ready, new)))

    def new() -> None:
        seen.append("new")
        loop.remove_reader(ready)

    turn(loop, 3)
    assert seen == ["old", "new"]


def test_a_replaced_reader_does_not_run_in_the_turn_of_its_replacement(
    loop: Loop, ready: int
) -> None:
    seen: list[str] = []
    loop.add_reader(ready, seen.append, "old")
    loop.call_soon(lambda: loop.add_reader(ready, seen.append, "new"))
    turn(loop)
    assert seen == []
    turn(loop)
    assert seen == ["new"]
    loop.remove_reader(ready)


def test_a_reader_added_in_a_turn_runs_in_the_next(loop: Loop, ready: int) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.add_reader(ready, seen.append, "reader")
        loop.call_soon(seen.append, "soon")

    loop.call_soon(first)
    turn(loop)
    assert seen == []
    turn(loop)
    assert seen == ["soon", "reader"]
    loop.remove_reader(ready)


def test_a_future_calls_back_in_the_next_turn(loop: Loop) -> None:
    seen: list[str] = []
    future = loop.create_future()
    for name in ("one", "two"):
        future.add_done_callback(lambda _, name=name: seen.append(name))
    loop.call_soon(future.set_result, None)
    loop.call_soon(lambda: loop.call_soon(seen.append, "after"))
    turn(loop)
    assert seen == []
    turn(loop)
    assert seen == ["one", "two", "after"]


def test_tasks_take_turns(loop: Loop) -> None:
    seen: list[str] = []

    async def count(name: str) -> None:
        for number in range(3):
            seen.append(f"{name}{number}")
            await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(count("a"), count("b"), count("c"))

    run(loop, main())
    assert seen == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_stop_ends_the_turn_first(loop: Loop) -> None:
    seen: list[str] = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "same turn")
    loop.call_soon(loop.call_soon, seen.append, "next turn")
    loop.run_forever()
    assert seen == ["same turn"]
    turn(loop)
    assert seen == ["same turn", "next turn"]


def test_stop_is_forgotten_after_the_run(loop: Loop) -> None:
    turn(loop)
    loop.call_soon(loop.call_soon, loop.stop)
    run_forever(loop)


def test_a_loop_runs_once_at_a_time(loop: Loop, make_loop: LoopMaker) -> None:
    if type(loop) is asyncio.SelectorEventLoop and IS_REFUSAL_AN_END:
        pytest.skip("a refused run_forever() of asyncio 3.13.0 ends the one that runs")
    other = make_loop()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_forever()
        coroutine = asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        with pytest.raises(RuntimeError, match="while another loop is running"):
            other.run_forever()
        assert loop.is_running()
        assert not other.is_running()
        assert asyncio.get_running_loop() is loop

    run(loop, main())
    assert not loop.is_running()


def test_a_signal_handler_runs_while_the_loop_waits(loop: Loop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    thread = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
    seen: list[int] = []

    def handle(number: int, _frame: object) -> None:
        seen.append(number)
        loop.call_soon_threadsafe(loop.stop)

    signal.signal(signal.SIGUSR1, handle)
    try:
        thread.start()
        run_forever(loop)
    finally:
        thread.join(PATIENCE)
        signal.signal(signal.SIGUSR1, before)
    assert seen == [signal.SIGUSR1]


def test_add_signal_handler(loop: Loop) -> None:
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: (seen.append("signal"), loop.stop()))
    thread = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1))
    thread.start()
    run_forever(loop)
    thread.join(PATIENCE)
    assert seen == ["signal"]
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert not loop.remove_signal_handler(signal.SIGUSR1)


def test_running_restores_the_wakeup_descriptor(loop: Loop) -> None:
    turn(loop)
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    assert before == -1
