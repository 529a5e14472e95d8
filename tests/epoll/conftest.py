"""Each test of the loop runs on asyncio, which is the oracle and taken for ours, and on ours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Iterator

import pytest

from tests.epoll.twins import LOOPS, Report, Reports, finish

LoopMaker = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture
def reports() -> Reports:
    """What has been given to the loop's exception handler; what a test leaves in it fails it."""
    return Reports()


@pytest.fixture(params=list(LOOPS))
def make_loop(request: pytest.FixtureRequest, reports: Reports) -> Iterator[LoopMaker]:
    """Make loops, all of one kind, that are closed after the test."""
    with contextlib.ExitStack() as loops:

        def make() -> asyncio.AbstractEventLoop:
            loop = LOOPS[request.param]()
            loops.callback(finish, loop)
            loop.set_exception_handler(lambda _, context: reports.append(Report(context)))
            return loop

        yield make
    gc.collect()
    assert reports == [], "the loop has reported what the test does not expect"


@pytest.fixture
def loop(make_loop: LoopMaker) -> asyncio.AbstractEventLoop:
    return make_loop()
