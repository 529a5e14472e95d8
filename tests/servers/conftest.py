from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.servers.rungs import Rung
from tests.servers.running import RunningServer


@pytest.fixture
def start() -> Iterator[Callable[..., RunningServer]]:
    """Start servers: ``start("epoll.servers.printing")``; they are killed after the test."""
    with contextlib.ExitStack() as running:

        def start_server(*command: str, **limits: int) -> RunningServer:
            return running.enter_context(RunningServer(*command, **limits))

        yield start_server


@pytest.fixture
def server(rung: Rung, start: Callable[..., RunningServer]) -> RunningServer:
    """The server of the rung that the test is about."""
    return start(*rung.command)
