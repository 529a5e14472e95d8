"""What the tests of datagrams share: a protocol that writes down, endpoints, peers of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.epoll.twins import PATIENCE, Loop, run, turn

#: Since Python 3.13 sendto(b"") sends a datagram, and each that is queued counts for 8 bytes more.
SENDS_EMPTY = sys.version_info >= (3, 13)


class DatagramRecorder(asyncio.DatagramProtocol):
    """A protocol that writes down what is called."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.transport: Any = None

    def note(self, *event: Any) -> None:  # noqa: ANN401
        self.events.append(event)

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport
        self.note("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
        self.note("data", data)
        self.addr = addr

    def error_received(self, exc: Exception) -> None:
        self.note("error", type(exc).__name__)

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("lost", type(exc).__name__ if exc is not None else None)

    @property
    def received(self) -> list[bytes]:
        return [event[1] for event in self.events if event[0] == "data"]

    @property
    def is_lost(self) -> bool:
        return any(event[0] == "lost" for event in self.events)


def bound(family: int, address: object) -> socket.socket:
    """A blocking socket with an address and a limit of time."""
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind(address)
    made.settimeout(PATIENCE)
    return made


@contextlib.contextmanager
def endpoint(
    loop: Loop,
    protocol: asyncio.DatagramProtocol,
    **options: Any,  # noqa: ANN401
) -> Iterator[Any]:
    """A transport of datagrams, which is gone at the end."""
    transport, made = run(loop, loop.create_datagram_endpoint(lambda: protocol, **options))
    assert made is protocol
    try:
        yield transport
    finally:
        # asyncio fails when a transport is aborted that has sent its rest and closed.
        with contextlib.suppress(AttributeError):
            transport.abort()
        turn(loop, 2)


@contextlib.contextmanager
def inet_peers() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        bound(socket.AF_INET, ("127.0.0.1", 0)) as ours,
        bound(socket.AF_INET, ("127.0.0.1", 0)) as peer,
    ):
        yield ours, peer


@contextlib.contextmanager
def inet6_peers() -> Iterator[tuple[socket.socket, socket.socket]]:
    with bound(socket.AF_INET6, ("::1", 0)) as ours, bound(socket.AF_INET6, ("::1", 0)) as peer:
        yield ours, peer


@contextlib.contextmanager
def unix_peers() -> Iterator[tuple[socket.socket, socket.socket]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            bound(socket.AF_UNIX, str(folder / "ours")) as ours,
            bound(socket.AF_UNIX, str(folder / "peer")) as peer,
        ):
            yield ours, peer


@contextlib.contextmanager
def abstract_peers() -> Iterator[tuple[socket.socket, socket.socket]]:
    with bound(socket.AF_UNIX, "") as ours, bound(socket.AF_UNIX, "") as peer:
        yield ours, peer


Peers = Callable[[], "contextlib.AbstractContextManager[tuple[socket.socket, socket.socket]]"]

#: Two bound sockets of a family: the one that is given to the loop, and its peer.
PEERS: dict[str, Peers] = {
    "inet": inet_peers,
    "inet6": inet6_peers,
    "unix": unix_peers,
    "abstract": abstract_peers,
}


@contextlib.contextmanager
def full(
    loop: Loop, protocol: asyncio.DatagramProtocol
) -> Iterator[tuple[Any, socket.socket, int]]:
    """A transport connected to a peer that does not read and has no room, and how much it has."""
    with unix_peers() as (ours, peer):
        ours.connect(peer.getsockname())
        with endpoint(loop, protocol, sock=ours) as transport:
            sent = 0
            while transport.get_write_buffer_size() == 0:
                transport.sendto(b"%d" % sent)
                sent += 1
            yield transport, peer, sent


def take_all(loop: Loop, peer: socket.socket, count: int) -> list[bytes]:
    """Receive `count` datagrams that the loop sends meanwhile."""
    taken: list[bytes] = []
    peer.setblocking(False)
    for _ in range(10_000):
        with contextlib.suppress(BlockingIOError):
            while len(taken) < count:
                taken.append(peer.recv(1 << 18))
        if len(taken) == count:
            return taken
        turn(loop)
        run(loop, asyncio.sleep(0.0005))
    raise AssertionError(f"{len(taken)} of {count} datagrams have arrived")
