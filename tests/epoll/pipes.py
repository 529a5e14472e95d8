"""What the tests of pipes share: pairs of ends, and how they are connected."""

from __future__ import annotations

import contextlib
import os
import socket
import tty
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.epoll.twins import Loop, Recorder, run

Ends = tuple[Any, Any]


def anonymous() -> Ends:
    reading, writing = os.pipe()
    return os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)


def unix_sockets() -> Ends:
    return socket.socketpair()


def terminal() -> Ends:
    """The terminal's own side reads; what is written on the other one comes as it is."""
    leader, follower = os.openpty()
    tty.setraw(follower)
    return os.fdopen(leader, "rb", 0), os.fdopen(follower, "wb", 0)


PAIRS: dict[str, Callable[[], Ends]] = {
    "pipe": anonymous,
    "sockets": unix_sockets,
    "terminal": terminal,
}


def connect_reader(loop: Loop, file: Any) -> tuple[Any, Recorder]:  # noqa: ANN401
    transport, protocol = run(loop, loop.connect_read_pipe(Recorder, file))
    return transport, protocol


def connect_writer(loop: Loop, file: Any) -> tuple[Any, Recorder]:  # noqa: ANN401
    transport, protocol = run(loop, loop.connect_write_pipe(Recorder, file))
    return transport, protocol


def fill(transport: Any) -> int:  # noqa: ANN401
    """Write more than any pipe holds; return how much."""
    size = 1 << 20
    transport.write(bytes(size))
    assert 0 < transport.get_write_buffer_size() < size
    return size


@pytest.fixture(params=PAIRS)
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    reading, writing = PAIRS[request.param]()
    yield reading, writing
    with contextlib.suppress(OSError):
        reading.close()
    with contextlib.suppress(OSError):
        writing.close()


@pytest.fixture
def pipe() -> Iterator[Ends]:
    reading, writing = anonymous()
    with reading, writing:
        yield reading, writing
