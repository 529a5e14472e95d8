"""The four ways to wait for one of many descriptors, as functions of no argument."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

FD_SETSIZE = 1024  # select(2) cannot name a descriptor from here on

Wait = Callable[[], object]


@contextmanager
def one_active(idle: int) -> Iterator[list[int]]:
    """Open ``idle`` descriptors that are never ready, and as the last one a ready one."""
    descriptors: list[int] = []
    try:
        descriptors += (os.eventfd(0) for _ in range(idle))
        descriptors.append(os.eventfd(1))
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def with_select(descriptors: Sequence[int]) -> Iterator[Wait]:
    yield lambda: select.select(descriptors, (), (), 0)


@contextmanager
def with_poll(descriptors: Sequence[int]) -> Iterator[Wait]:
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    yield lambda: poller.poll(0)


@contextmanager
def with_stdlib_epoll(descriptors: Sequence[int]) -> Iterator[Wait]:
    with select.epoll() as poller:
        for descriptor in descriptors:
            poller.register(descriptor, select.EPOLLIN)
        yield lambda: poller.poll(0)


@contextmanager
def with_epoll(descriptors: Sequence[int]) -> Iterator[Wait]:
    import epoll

    with epoll.Epoll() as poller:
        for descriptor in descriptors:
            poller.register(descriptor, epoll.EPOLLIN)
        yield lambda: poller.poll(0)


WAITERS: dict[str, Callable[[Sequence[int]], AbstractContextManager[Wait]]] = {
    "select.select": with_select,
    "select.poll": with_poll,
    "select.epoll": with_stdlib_epoll,
    "epoll.Epoll": with_epoll,
}
