"""Each test of the loop runs on asyncio, which is the oracle and taken for ours, and on ours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.epoll.pipes import ends, pipe  # noqa: F401
from tests.epoll.tls import TLS_LOOPS
from tests.epoll.twins import LOOPS, PAIRS, Pair, Report, Reports, finish

LoopMaker = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture
def reports() -> Reports:
    """What has been given to the loop's exception handler; what a test leaves in it fails it."""
    return Reports()


@contextlib.contextmanager
def making(new_loop: LoopMaker, reports: Reports) -> Iterator[LoopMaker]:
    with contextlib.ExitStack() as loops:

        def make() -> asyncio.AbstractEventLoop:
            loop = new_loop()
            loops.callback(finish, loop)
            loop.set_exception_handler(lambda _, context: reports.append(Report(context)))
            return loop

        yield make
    gc.collect()
    assert reports == [], "the loop has reported what the test does not expect"


@pytest.fixture(params=list(LOOPS))
def make_loop(request: pytest.FixtureRequest, reports: Reports) -> Iterator[LoopMaker]:
    """Make loops, all of one kind, that are closed after the test."""
    with making(LOOPS[request.param], reports) as make:
        yield make


@pytest.fixture(params=list(TLS_LOOPS))
def tls_loop(
    request: pytest.FixtureRequest, reports: Reports
) -> Iterator[asyncio.AbstractEventLoop]:
    """As `loop`, and ours in both ways that it has for TLS."""
    with making(TLS_LOOPS[request.param], reports) as make:
        yield make()


@pytest.fixture
def loop(make_loop: LoopMaker) -> asyncio.AbstractEventLoop:
    return make_loop()


@pytest.fixture(params=list(PAIRS))
def pair(request: pytest.FixtureRequest) -> Pair:
    """Make the two ends of a connection, of each kind."""
    return PAIRS[request.param]


@pytest.fixture
def ready() -> Iterator[int]:
    """A descriptor that stays readable and writable."""
    one, other = socket.socketpair()
    with one, other:
        other.send(b"x")
        yield one.fileno()
