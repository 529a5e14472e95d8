"""Stands in for the package uvloop while its own tests run on another loop.

The tests import it, and so do the programs they start. CONFORMANCE_LOOP names the loop that is
tested; CONFORMANCE_UVLOOP is the package's folder in uvloop's sources, for the tests' base module.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine

__path__.append(os.environ["CONFORMANCE_UVLOOP"])

if os.environ["CONFORMANCE_LOOP"] != "asyncio":
    import epoll

    epoll.EventLoop._native_tls = os.environ["CONFORMANCE_LOOP"] != "epoll-sslproto"
    Loop: type[asyncio.AbstractEventLoop] = epoll.EventLoop
else:
    Loop = asyncio.SelectorEventLoop


class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):  # type: ignore[name-defined, misc]
    """Makes the tested loop."""

    _loop_factory = Loop


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make the tested loop."""
    return Loop()


def run(
    main: Coroutine[object, object, object],
    *,
    loop_factory: type[asyncio.AbstractEventLoop] = Loop,
    debug: bool | None = None,
) -> object:
    """Run a coroutine on the tested loop."""
    with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
        return runner.run(main)
