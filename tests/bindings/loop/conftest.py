from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import epoll
from epoll import _loop
from tests.bindings.loop.socket_twins import Loop, Pair
from tests.epoll.twins import LOOPS


@pytest.fixture(params=list(LOOPS))
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    made = LOOPS[request.param]()
    yield made
    made.close()


@pytest.fixture
def ours() -> Iterator[Loop]:
    """Our loop, for what asyncio has not or gets wrong."""
    made = epoll.EventLoop()
    yield made
    made.close()


@pytest.fixture(params=[asyncio, _loop], ids=["asyncio", "native"])
def kind(request: pytest.FixtureRequest) -> ModuleType:
    """Where a class of streams is from."""
    found: ModuleType = request.param
    return found


@pytest.fixture
def sockets() -> Iterator[Callable[..., socket.socket]]:
    """Make non-blocking sockets, or take them, and close them after the test."""
    with contextlib.ExitStack() as made:

        def make(*arguments: object) -> socket.socket:
            first = arguments[0] if arguments else None
            sock = first if isinstance(first, socket.socket) else socket.socket(*arguments)
            sock.setblocking(False)
            return made.enter_context(sock)

        yield make


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest, sockets: Callable[..., socket.socket]) -> Pair:
    if request.param == "unix":
        near, far = socket.socketpair()
        return sockets(near), sockets(far)
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, _ = server.accept()
    return sockets(near), sockets(far)


@pytest.fixture
def listening(sockets: Callable[..., socket.socket]) -> socket.socket:
    return sockets(socket.create_server(("127.0.0.1", 0)))


@pytest.fixture(params=["inet", "inet6", "path", "abstract", "unnamed"])
def datagrams(
    request: pytest.FixtureRequest, sockets: Callable[..., socket.socket], tmp_path: Path
) -> Pair:
    """A bound socket, and one that has an address of the kind, or none."""
    families = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
    family = families.get(request.param, socket.AF_UNIX)
    near, far = sockets(family, socket.SOCK_DGRAM), sockets(family, socket.SOCK_DGRAM)
    with tempfile.TemporaryDirectory(prefix="é") as folder:
        names: dict[str, Any] = {
            "inet": ("127.0.0.1", 0),
            "inet6": ("::1", 0),
            "path": f"{folder}/s",
            "abstract": b"\0pyepoll \xff" + os.urandom(8).hex().encode(),
        }
        near.bind(names.get(request.param, f"{folder}/near"))
        if request.param != "unnamed":
            name = names[request.param]
            far.bind(
                name + (b"2" if isinstance(name, bytes) else "2")
                if family == socket.AF_UNIX
                else name
            )
        yield near, far
