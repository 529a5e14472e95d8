"""Using everything leaves the counts of references, objects and bytes as they were."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tracemalloc
from collections.abc import Callable

import epoll

reader, writer = os.pipe()
os.write(writer, b"x")
data = object()


def epoll_object() -> None:
    with epoll.Epoll() as ep:
        ep.register(reader, epoll.EPOLLIN, data)
        ep.poll(0)
        ep.poll(0.0001, 5)
        ep.wait(0)
        ep.modify(reader, epoll.EPOLLIN, data)
        ep.wait(0)
        ep.modify(reader, epoll.EPOLLIN)
        ep.wait(timeout_ns=0, maxevents=70_000)
        ep.registrations()
        repr(ep)
        assert reader in ep
        with contextlib.suppress(OSError):
            ep.busy_poll()
        ep.unregister(reader)


def batch() -> None:
    events = epoll.EventBatch(4)
    with epoll.Epoll() as ep:
        ep.register(reader, epoll.EPOLLIN, data)
        for _ in range(3):
            ep.wait_into(events, 0)
            assert events[0] == list(events)[0]  # noqa: RUF015
            for _item, _mask in events.objects():
                pass
    repr(events)


def functions() -> None:
    fd = epoll.create()
    epoll.ctl(fd, reader, epoll.EPOLL_CTL_ADD, epoll.EPOLLIN)
    epoll.wait(fd, 5, 0)
    epoll.wait(fd, 70_000, timeout_ms=0)
    epoll.close(fd)


def select() -> None:
    with epoll.EpollSelector() as selector:
        selector.register(reader, 1, data)
        selector.select(0)
        selector.modify(reader, 1, data)
        selector.select(0)
        selector.modify(reader, 3, data, exclusive=True)
        selector.modify(reader, 1, data)
        selector.select(0)
        selector.get_key(reader)
        selector.unregister(reader)


def failures() -> None:
    ep = epoll.Epoll()
    for call in (
        lambda: ep.register("x", 1, data),
        lambda: ep.register(999_999, 1, data),
        lambda: ep.register(reader, -1, data),
        lambda: ep.modify(reader, 1, data),
        lambda: ep.unregister(reader),
        lambda: ep.poll("x"),
        lambda: ep.poll(0, 0),
        lambda: ep.wait(2**70),
        lambda: ep.wait_into(data),
        lambda: ep.set_busy_poll(usecs=-1),
        lambda: epoll.EventBatch(0),
        lambda: epoll.EventBatch(sys.maxsize // 16),
        lambda: epoll.Epoll(0),
        lambda: epoll.ctl(ep, reader, 9, 1),
        lambda: epoll.wait(reader, 1, 0),
        lambda: ep.close() or ep.poll(0),
    ):
        try:
            call()
        except (TypeError, ValueError, OverflowError, OSError, MemoryError):
            continue
        raise AssertionError("the call should have failed")


def repeat(act: Callable[[], object], times: int) -> None:
    for _ in range(times):
        act()
    gc.collect()


def is_counted_exactly() -> bool:
    """Tell whether an object's count is exact; immortal and deferred counts are not."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


for act in (epoll_object, batch, functions, select, failures):
    repeat(act, 30)
    references = sys.getrefcount(data), *map(sys.getrefcount, (epoll.Epoll, epoll.EventBatch))
    objects = len(gc.get_objects())
    tracemalloc.start()
    repeat(act, 5)
    memory = tracemalloc.get_traced_memory()[0]
    repeat(act, 300)
    growth = tracemalloc.get_traced_memory()[0] - memory
    tracemalloc.stop()
    after = sys.getrefcount(data), *map(sys.getrefcount, (epoll.Epoll, epoll.EventBatch))
    if is_counted_exactly():
        assert after == references, (act.__name__, references, after)
    assert len(gc.get_objects()) <= objects + 20, act.__name__
    assert growth < 20_000, (act.__name__, growth)
