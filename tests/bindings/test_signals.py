"""Signals during a wait (PEP 475)."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any

import pytest

import epoll

IN = epoll.EPOLLIN

SetAlarm = Callable[..., None]

TIMED_WAITS: list[Any] = [
    pytest.param(lambda: select.epoll().poll(0.15), id="select.epoll.poll"),
    pytest.param(lambda: epoll.Epoll().poll(0.15), id="poll"),
    pytest.param(lambda: epoll.Epoll().wait(150_000_000), id="wait"),
    pytest.param(
        lambda: list(range(epoll.Epoll().wait_into(epoll.EventBatch(1), 150_000_000))),
        id="wait_into",
    ),
    pytest.param(lambda: epoll.wait(epoll.Epoll(), timeout_ms=150), id="epoll.wait"),
    pytest.param(lambda: epoll.EpollSelector().select(0.15), id="select"),
]


@pytest.mark.parametrize("wait", TIMED_WAITS)
def test_wait_goes_on_with_the_time_that_is_left(
    wait: Callable[[], list[Any]], alarm: SetAlarm
) -> None:
    handled: list[int] = []
    start = time.monotonic()
    alarm(lambda *_: handled.append(1), 0.13)
    assert wait() == []
    elapsed = time.monotonic() - start
    assert handled == [1]
    assert 0.15 <= elapsed < 0.27  # 0.28 if it began anew


@pytest.mark.parametrize("wait", TIMED_WAITS)
def test_exception_of_a_handler_ends_the_wait(
    wait: Callable[[], list[Any]], alarm: SetAlarm
) -> None:
    def raise_it(*_: object) -> None:
        raise LookupError("from the handler")

    start = time.monotonic()
    alarm(raise_it, 0.02)
    with pytest.raises(LookupError, match="from the handler"):
        wait()
    assert time.monotonic() - start < 0.15


def test_endless_wait_goes_on(
    twin: type[epoll.Epoll], pipe: tuple[int, int], alarm: SetAlarm
) -> None:
    with twin() as ep:
        ep.register(pipe[0], IN)
        calls: list[int] = []

        def write_the_second_time(*_: object) -> None:
            calls.append(1)
            if len(calls) == 2:
                os.write(pipe[1], b"x")
            else:
                alarm(write_the_second_time, 0.01)

        alarm(write_the_second_time, 0.01)
        assert ep.poll() == [(pipe[0], IN)]
        assert len(calls) == 2


def test_handler_that_closes_the_epoll_ends_the_wait(alarm: SetAlarm) -> None:
    ep = epoll.Epoll()
    fd = ep.fileno()
    alarm(lambda *_: ep.close(), 0.02)
    with pytest.raises(ValueError, match="I/O operation on closed epoll object"):
        ep.poll(10)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_handler_may_register_and_wait(pipe: tuple[int, int], alarm: SetAlarm) -> None:
    ep = epoll.Epoll()
    seen: list[Any] = []

    def use(*_: object) -> None:
        os.write(pipe[1], b"x")
        ep.register(pipe[0], IN, "data")
        seen.append(ep.wait(0))

    alarm(use, 0.02)
    assert ep.wait(10_000_000_000) == [("data", IN)]
    assert seen == [[("data", IN)]]
    ep.close()
