"""Every test runs twice: on our loop, and on asyncio's, which shows that the test is right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import epoll

#: Seconds after which something that must happen counts as not happening.
PATIENCE = 20.0

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["epoll", "asyncio"])
def loop_factory(request: pytest.FixtureRequest) -> LoopFactory:
    """What makes the loop of this test."""
    factory: LoopFactory = (
        epoll.new_event_loop if request.param == "epoll" else asyncio.new_event_loop
    )
    return factory


@pytest.fixture
def run(loop_factory: LoopFactory) -> Run:
    """Run a coroutine within the time limit; nothing may reach the loop's exception handler."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        reports: list[dict[str, Any]] = []

        async def bounded() -> None:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: reports.append(context))
            async with asyncio.timeout(PATIENCE):
                await main

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(bounded())
        assert reports == []

    return run
