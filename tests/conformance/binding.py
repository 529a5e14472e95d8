"""Put an event loop in the place of asyncio's own, and count which loops are really made.

CPython's tests ask for a loop in several ways: asyncio.new_event_loop(), the default policy,
asyncio.run(), asyncio.SelectorEventLoop(...) or asyncio.EventLoop. All of them lead to the bound
class afterwards. No file of the tests is changed.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import unittest
from asyncio import base_events, unix_events
from collections import Counter
from collections.abc import Callable

#: asyncio's own class, kept before anything is replaced.
ASYNCIO_LOOP = unix_events._UnixSelectorEventLoop  # type: ignore[attr-defined]

#: What the tests can run on: ours, ours where OpenSSL cannot be reached, the one to compare with.
LOOPS = ("epoll", "epoll-sslproto", "asyncio")

LoopClass = type[asyncio.AbstractEventLoop]
NewLoop = Callable[..., asyncio.AbstractEventLoop]


def loop_class(name: str) -> LoopClass:
    """Return the class that is to be tested: one of LOOPS."""
    if name == "asyncio":
        return ASYNCIO_LOOP
    import epoll

    epoll.EventLoop._native_tls = name != "epoll-sslproto"
    return epoll.EventLoop


class Census:
    """Which event loops have been made: the proof that a test has used the bound one."""

    def __init__(self, bound: LoopClass) -> None:
        self._bound = bound
        self._made: Counter[type] = Counter()

    def watch(self) -> None:
        """Count from now on, for the rest of the process."""
        for watched in {base_events.BaseEventLoop, self._bound}:
            self._count_calls_of_init(watched)

    def _count_calls_of_init(self, watched: type) -> None:
        original: Callable[..., None] = watched.__init__

        @functools.wraps(original)
        def init(loop: object, *args: object, **kwargs: object) -> None:
            self._made[type(loop)] += 1
            original(loop, *args, **kwargs)

        watched.__init__ = init  # type: ignore[assignment, misc]

    def forget(self) -> None:
        """Count anew: one process may run many tests."""
        self._made.clear()

    def usage(self) -> str:
        """Say which kind of loop was made.

        "bound": the bound class; "asyncio": one of asyncio's real loops, so the binding has a
        hole; "fake": only a loop that the tests have made up; "none": no loop at all.
        """
        if any(issubclass(made, self._bound) for made in self._made):
            return "bound"
        if any(issubclass(made, ASYNCIO_LOOP) for made in self._made):
            return "asyncio"
        return "fake" if self._made else "none"


def accept_selector(bound: LoopClass) -> None:
    """Let the class take the selector that some tests give; it is closed, as nobody needs it."""
    original: Callable[..., None] = bound.__init__

    @functools.wraps(original)
    def init(
        loop: asyncio.AbstractEventLoop, selector: selectors.BaseSelector | None = None
    ) -> None:
        if selector is not None:
            selector.close()
        original(loop)

    bound.__init__ = init  # type: ignore[assignment, misc]


def bind(bound: LoopClass) -> Census:
    """Make `bound` the class of every loop that asyncio makes from now on."""
    if bound is not ASYNCIO_LOOP:
        accept_selector(bound)
    for policy in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        if hasattr(unix_events, policy):
            getattr(unix_events, policy)._loop_factory = bound
    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, bound)
    census = Census(bound)
    census.watch()
    return census


def replace_fake_loops(
    test_case: type[unittest.TestCase], bound: LoopClass, keeps_fake: Callable[[str], bool]
) -> None:
    """Give the bound loop to tests that ask for CPython's TestLoop without a fake clock.

    `test_case` is the base class of CPython's asyncio tests; `keeps_fake` says of a test's name
    whether it looks into the fake.
    """
    original: NewLoop = test_case.new_test_loop  # type: ignore[attr-defined]

    def new_test_loop(
        test: unittest.TestCase, clock: Callable[[], object] | None = None
    ) -> asyncio.AbstractEventLoop:
        if clock is not None or keeps_fake(test.id()):
            return original(test, clock)
        loop = bound()
        test.set_event_loop(loop)  # type: ignore[attr-defined]
        return loop

    test_case.new_test_loop = new_test_loop  # type: ignore[attr-defined]
