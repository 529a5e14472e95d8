"""Every low-level operation as a loop ``run(count)``, written out so that only it is timed.

``LOOPS[name](descriptors, iterate=...)`` is a context manager that registers the descriptors and
yields the loop. All of them are ready to read and stay so, and no call waits. Loops that iterate
unpack every event, as a program does.
"""

from __future__ import annotations

import os
import select
import selectors
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import repeat
from typing import Any, Protocol

Loop = Callable[[int], None]


class LoopFactory(Protocol):
    """Makes a loop over the given descriptors."""

    def __call__(
        self, descriptors: Sequence[int], *, iterate: bool
    ) -> AbstractContextManager[Loop]: ...


@contextmanager
def ready_descriptors(count: int) -> Iterator[list[int]]:
    """Open that many descriptors which are ready to read and stay so."""
    descriptors = [os.eventfd(1) for _ in range(count)]
    try:
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _polling(poll: Callable[[int], Any], *, iterate: bool) -> Loop:
    """Make a loop around ``poll(0)``, whose result is a sequence of (fd, events)."""

    def call(count: int) -> None:
        for _ in repeat(None, count):
            poll(0)

    def call_and_iterate(count: int) -> None:
        for _ in repeat(None, count):
            for _fd, _events in poll(0):
                pass

    return call_and_iterate if iterate else call


@contextmanager
def stdlib_epoll_poll(descriptors: Sequence[int], *, iterate: bool) -> Iterator[Loop]:
    with select.epoll() as poller:
        for descriptor in descriptors:
            poller.register(descriptor, select.EPOLLIN)
        yield _polling(poller.poll, iterate=iterate)


@contextmanager
def epoll_poll(descriptors: Sequence[int], *, iterate: bool) -> Iterator[Loop]:
    import epoll

    with epoll.Epoll() as poller:
        for descriptor in descriptors:
            poller.register(descriptor, epoll.EPOLLIN)
        yield _polling(poller.poll, iterate=iterate)


@contextmanager
def epoll_wait(descriptors: Sequence[int], *, iterate: bool) -> Iterator[Loop]:
    import epoll

    wait = epoll.wait
    epfd = epoll.create()

    def call(count: int) -> None:
        for _ in repeat(None, count):
            wait(epfd, -1, 0)

    def call_and_iterate(count: int) -> None:
        for _ in repeat(None, count):
            for _fd, _events in wait(epfd, -1, 0):
                pass

    try:
        for descriptor in descriptors:
            epoll.ctl(epfd, descriptor, epoll.EPOLL_CTL_ADD, epoll.EPOLLIN)
        yield call_and_iterate if iterate else call
    finally:
        epoll.close(epfd)


@contextmanager
def epoll_wait_into(descriptors: Sequence[int], *, iterate: bool) -> Iterator[Loop]:
    import epoll

    batch = epoll.EventBatch(1023)  # as many as select.epoll.poll returns at most by default
    with epoll.Epoll() as poller:
        for descriptor in descriptors:
            poller.register(descriptor, epoll.EPOLLIN)
        wait_into = poller.wait_into

        def call(count: int) -> None:
            for _ in repeat(None, count):
                wait_into(batch, 0)

        def call_and_iterate(count: int) -> None:
            for _ in repeat(None, count):
                wait_into(batch, 0)
                for _fd, _events in batch:
                    pass

        yield call_and_iterate if iterate else call


def _selecting(
    selector: selectors.BaseSelector, descriptors: Sequence[int], *, iterate: bool
) -> Loop:
    for descriptor in descriptors:
        selector.register(descriptor, selectors.EVENT_READ, data=descriptor)
    return _polling(selector.select, iterate=iterate)  # pairs as well: (key, events)


@contextmanager
def stdlib_selector_select(descriptors: Sequence[int], *, iterate: bool) -> Iterator[Loop]:
    with selectors.EpollSelector() as selector:
        yield _selecting(selector, descriptors, iterate=iterate)


@contextmanager
def epoll_selector_select(descriptors: Sequence[int], *, iterate: bool) -> Iterator[Loop]:
    import epoll

    with epoll.EpollSelector() as selector:
        yield _selecting(selector, descriptors, iterate=iterate)


LOOPS: dict[str, LoopFactory] = {
    "select.epoll.poll": stdlib_epoll_poll,
    "Epoll.poll": epoll_poll,
    "epoll.wait": epoll_wait,
    "Epoll.wait_into": epoll_wait_into,
    "selectors.EpollSelector.select": stdlib_selector_select,
    "epoll.EpollSelector.select": epoll_selector_select,
}
