from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

import epoll

Pipe = tuple[int, int]


@pytest.fixture
def make_pipe() -> Iterator[Callable[[], Pipe]]:
    """Make pipes, (reading end, writing end), that are closed after the test."""
    with contextlib.ExitStack() as ends:

        def make() -> Pipe:
            pipe = os.pipe()
            for end in pipe:
                ends.callback(close_quietly, end)
            return pipe

        yield make


def close_quietly(fd: int) -> None:
    with contextlib.suppress(OSError):
        os.close(fd)


@pytest.fixture
def pipe(make_pipe: Callable[[], Pipe]) -> Pipe:
    return make_pipe()


@pytest.fixture
def ready_fd(pipe: Pipe) -> int:
    """A descriptor that stays readable."""
    os.write(pipe[1], b"x")
    return pipe[0]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def ep() -> Iterator[epoll.Epoll]:
    with epoll.Epoll() as opened:
        yield opened


@pytest.fixture(params=[select.epoll, epoll.Epoll], ids=["select.epoll", "epoll.Epoll"])
def twin(request: pytest.FixtureRequest) -> type[epoll.Epoll]:
    """The class of the standard library, which is the oracle and taken for ours, and ours."""
    kind: type[epoll.Epoll] = request.param
    return kind


@pytest.fixture
def alarm() -> Iterator[Callable[..., None]]:
    """Raise SIGALRM after a time, for a handler that is restored after the test."""
    before = signal.getsignal(signal.SIGALRM)

    def set_alarm(handler: Callable[..., object], seconds: float) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield set_alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
