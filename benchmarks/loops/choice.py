"""Event loops by their names."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.loop_operations import LOOPS


def factory_of(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Import what a loop of the registry needs and return what makes such a loop."""
    module, _, attribute = LOOPS[name].factory.partition(":")
    factory: Callable[[], asyncio.AbstractEventLoop] = getattr(
        importlib.import_module(module), attribute
    )
    return factory


def run(name: str, main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a new loop of this name and close the loop."""
    with asyncio.Runner(loop_factory=factory_of(name)) as runner:
        runner.run(main)


def make_aiofastnet_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop whose networking is aiofastnet's: the faster one of its combinations."""
    import aiofastnet
    import uvloop

    loop: asyncio.AbstractEventLoop = aiofastnet.loop_factory(uvloop.new_event_loop)()
    return loop
