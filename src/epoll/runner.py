"""How a program runs on our event loop: run(), and the policies of older versions of Python."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, TypeVar

from .loop import EventLoop, new_event_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["run"]

T = TypeVar("T")


def _run(
    main: Coroutine[Any, Any, T],
    debug: bool | None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
) -> T:
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("epoll.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=loop_factory or new_event_loop) as runner:
        return runner.run(main)


if sys.version_info >= (3, 12):

    def run(
        main: Coroutine[Any, Any, T],
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> T:
        """Run a coroutine on a new event loop of ours, as asyncio.run() does on one of its own.

        Args:
            main: The coroutine to run; its result is returned.
            debug: True or False sets the loop's debug mode; None leaves it as the environment
                wants it.
            loop_factory: What makes the loop, in the place of new_event_loop().

        Raises:
            RuntimeError: An event loop runs in this thread.
        """
        return _run(main, debug, loop_factory)

else:

    def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
        """Run a coroutine on a new event loop of ours, as asyncio.run() does on one of its own.

        Args:
            main: The coroutine to run; its result is returned.
            debug: True or False sets the loop's debug mode; None leaves it as the environment
                wants it.

        Raises:
            RuntimeError: An event loop runs in this thread.
        """
        return _run(main, debug, None)


if sys.version_info < (3, 16):
    from asyncio import unix_events

    class EventLoopPolicy(unix_events._UnixDefaultEventLoopPolicy):
        """The default policy of asyncio, whose loops are ours.

        Python 3.14 deprecates policies, and 3.16 has none: prefer run(), or
        asyncio.Runner(loop_factory=epoll.new_event_loop).
        """

        _loop_factory = EventLoop

    def install() -> None:
        """Make asyncio.run() and asyncio.new_event_loop() use our event loop, in all threads.

        It sets an EventLoopPolicy, with what Python has to say about that: see there.
        """
        asyncio.set_event_loop_policy(EventLoopPolicy())

    __all__ += ["EventLoopPolicy", "install"]
