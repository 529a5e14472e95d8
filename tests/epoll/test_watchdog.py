"""loop.watch_blocking(): each callback blocks until its report has come, so no clock decides."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest

import epoll
from tests.epoll.twins import PATIENCE, finish, run, turn

THRESHOLD = 0.01


@pytest.fixture
def loop() -> Iterator[epoll.EventLoop]:
    loop = epoll.EventLoop()
    yield loop
    finish(loop)


class Desk:
    """Takes reports, and lets those who block wait for them."""

    def __init__(self) -> None:
        self.reports: list[epoll.BlockedCallback] = []
        self._arrived = threading.Event()

    def take(self, blocked: epoll.BlockedCallback) -> None:
        self.reports.append(blocked)
        self._arrived.set()

    def block(self) -> None:
        """Block until a report has come."""
        assert self._arrived.wait(PATIENCE), "nobody has noticed"
        self._arrived.clear()


def block_in_a_callback(desk: Desk) -> None:
    desk.block()


async def block_in_a_task(desk: Desk) -> None:
    await asyncio.sleep(0)
    desk.block()


def names(blocked: epoll.BlockedCallback) -> list[str]:
    return [frame.name for frame in blocked.stack]


def watchdogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("epoll watchdog")]


def test_callback_is_reported_while_it_blocks(loop: epoll.EventLoop) -> None:
    desk = Desk()
    with loop.watch_blocking(THRESHOLD, report=desk.take):
        loop.call_soon(block_in_a_callback, desk)
        turn(loop)
    (blocked,) = desk.reports
    assert blocked.duration >= THRESHOLD
    assert blocked.thread_id == threading.get_ident()
    assert names(blocked)[:2] == ["block_in_a_callback", "block"]
    assert blocked.stack[0].filename == __file__
    assert blocked.stack[0].line == "desk.block()"
    assert blocked.handle is not None
    assert "block_in_a_callback" in blocked.handle


def test_task_is_reported_by_its_name(loop: epoll.EventLoop) -> None:
    desk = Desk()
    with loop.watch_blocking(THRESHOLD, report=desk.take):
        loop.run_until_complete(loop.create_task(block_in_a_task(desk), name="the slow one"))
    (blocked,) = desk.reports
    assert names(blocked)[0] == "block_in_a_task"
    assert blocked.handle is not None
    assert "the slow one" in blocked.handle


@pytest.mark.parametrize("where", ["timer", "reader"])
def test_whoever_is_called_by_a_handle_is_reported(loop: epoll.EventLoop, where: str) -> None:
    desk = Desk()
    ours, theirs = socket.socketpair()
    with ours, theirs, loop.watch_blocking(THRESHOLD, report=desk.take):
        if where == "timer":
            loop.call_later(0, block_in_a_callback, desk)
        else:
            loop.add_reader(ours, block_in_a_callback, desk)
            theirs.send(b"x")
        turn(loop)
        loop.remove_reader(ours)
    (blocked,) = desk.reports
    assert blocked.handle is not None
    assert "block_in_a_callback" in blocked.handle


def test_protocol_is_reported_by_its_stack(loop: epoll.EventLoop) -> None:
    desk = Desk()

    class Blocking(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            desk.block()
            loop.stop()

    ours, theirs = socket.socketpair()
    with theirs, loop.watch_blocking(THRESHOLD, report=desk.take):
        transport, _ = run(loop, loop.connect_accepted_socket(Blocking, ours))
        theirs.send(b"x")
        loop.run_forever()
        transport.abort()
    (blocked,) = desk.reports
    assert blocked.handle is None
    assert names(blocked)[0] == "data_received"
    assert str(blocked).startswith("a callback of the loop has blocked the event loop for 0.")


def test_each_callback_is_reported_once() -> None:
    desk = Desk()
    looks = threading.Semaphore(0)

    class Counting(epoll.EventLoop):
        def _progress(self) -> int | None:
            looks.release()
            return super()._progress()

    counting = Counting()

    def block_long() -> None:
        desk.block()
        for _ in range(20):  # and the watchdog goes on looking
            assert looks.acquire(timeout=PATIENCE)

    with counting.watch_blocking(THRESHOLD, report=desk.take):
        counting.call_soon(block_long)
        counting.call_soon(block_in_a_callback, desk)
        turn(counting)
    counting.close()
    assert [names(blocked)[0] for blocked in desk.reports] == ["block_long", "block_in_a_callback"]


@pytest.mark.slow
def test_loop_that_waits_or_gets_on_is_not_reported(loop: epoll.EventLoop) -> None:
    reports: list[epoll.BlockedCallback] = []
    threshold = 0.4  # as long as a machine may take this process off its processors

    async def get_on() -> None:
        end = loop.time() + 1.5 * threshold
        while loop.time() < end:
            await asyncio.sleep(0)

    with loop.watch_blocking(threshold, report=reports.append):
        run(loop, asyncio.sleep(1.5 * threshold))
        run(loop, get_on())
    assert reports == []


def test_without_a_report_it_is_a_warning(
    loop: epoll.EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            desk.take(None)  # type: ignore[arg-type]

    handler = Handler()
    logging.getLogger("asyncio").addHandler(handler)
    try:
        with loop.watch_blocking(THRESHOLD):
            loop.call_soon(block_in_a_callback, desk)
            turn(loop)
    finally:
        logging.getLogger("asyncio").removeHandler(handler)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "block_in_a_callback" in record.getMessage()
    assert "desk.block()" in record.getMessage()


def test_report_that_raises_is_logged_and_the_watch_goes_on(
    loop: epoll.EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()

    def report(blocked: epoll.BlockedCallback) -> None:
        desk.take(blocked)
        raise ZeroDivisionError

    with loop.watch_blocking(THRESHOLD, report=report):
        loop.call_soon(block_in_a_callback, desk)
        loop.call_soon(block_in_a_callback, desk)
        turn(loop)
    assert len(desk.reports) == 2
    assert "has raised" in caplog.text


def test_repr_that_raises_does_not_hide_the_report(loop: epoll.EventLoop) -> None:
    desk = Desk()

    class Odd:
        def __call__(self) -> None:
            desk.block()

        def __repr__(self) -> str:
            raise ZeroDivisionError

    with loop.watch_blocking(THRESHOLD, report=desk.take):
        loop.call_soon(Odd())
        turn(loop)
    (blocked,) = desk.reports
    assert blocked.handle is not None
    assert "ZeroDivisionError" in blocked.handle


def test_stop_ends_the_thread_and_can_be_repeated(loop: epoll.EventLoop) -> None:
    watch = loop.watch_blocking(THRESHOLD)
    assert watch.threshold == THRESHOLD
    assert len(watchdogs()) == 1
    watch.stop()
    watch.stop()
    assert watchdogs() == []
    loop.call_soon(lambda: seen.append(loop._running_handle()))
    seen: list[object] = []
    turn(loop)
    assert seen == [None], "the loop still shows its handles"


def test_report_may_stop_its_watch(loop: epoll.EventLoop) -> None:
    desk = Desk()

    def report(blocked: epoll.BlockedCallback) -> None:
        watch.stop()
        desk.take(blocked)

    watch = loop.watch_blocking(THRESHOLD, report=report)
    loop.call_soon(block_in_a_callback, desk)
    turn(loop)
    watch.stop()
    assert len(desk.reports) == 1
    assert watchdogs() == []


def test_two_watches_at_a_time(loop: epoll.EventLoop) -> None:
    desk, other = Desk(), Desk()

    def block() -> None:
        desk.block()
        other.block()

    with (
        loop.watch_blocking(THRESHOLD, report=desk.take),
        loop.watch_blocking(2 * THRESHOLD, report=other.take),
    ):
        loop.call_soon(block)
        turn(loop)
    assert (len(desk.reports), len(other.reports)) == (1, 1)


def test_closing_the_loop_ends_its_watches() -> None:
    loop = epoll.EventLoop()
    watch = loop.watch_blocking(THRESHOLD)
    loop.close()
    assert watchdogs() == []
    watch.stop()


def test_watch_does_not_keep_its_loop() -> None:
    loop = epoll.EventLoop()
    watch = loop.watch_blocking(THRESHOLD)
    (thread,) = watchdogs()
    gone = weakref.ref(loop)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):  # noqa: PT031
        del loop
        gc.collect()
    assert gone() is None
    thread.join(PATIENCE)
    assert not thread.is_alive()
    watch.stop()


def test_wrong_thresholds_and_closed_loops_are_refused(loop: epoll.EventLoop) -> None:
    for threshold in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="more than 0"):
            loop.watch_blocking(threshold)
    closed = epoll.EventLoop()
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed.watch_blocking(THRESHOLD)
    assert watchdogs() == []


def test_deep_stack_is_cut_at_its_outer_end(loop: epoll.EventLoop) -> None:
    desk = Desk()

    def descend(depth: int) -> None:
        if depth:
            descend(depth - 1)
        else:
            block_in_a_callback(desk)

    with loop.watch_blocking(THRESHOLD, report=desk.take):
        loop.call_soon(descend, sys.getrecursionlimit() // 2)
        turn(loop)
    (blocked,) = desk.reports
    assert len(blocked.stack) == 200
    assert "block_in_a_callback" in names(blocked)
