"""What the tests of the loop share: the two kinds of loop, single turns, recording protocols."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import epoll

Loop = asyncio.AbstractEventLoop

#: What an event loop may be here. asyncio stands first: a test that fails there is wrong.
LOOPS: dict[str, Callable[[], Loop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "epoll": lambda: epoll.EventLoop(),
}

#: How long anything may take that happens at once, in seconds: a limit for hangs, which an emulated
#: processor needs longer.
PATIENCE = 10.0 * int(os.environ.get("PYEPOLL_PATIENCE", "1"))


class Report(dict[str, Any]):
    """A context that was given to an exception handler."""

    @property
    def summary(self) -> tuple[str, str]:
        """The type of the exception, and the message up to its first parenthesis or address."""
        message = self["message"].partition("(")[0].partition(" <")[0].strip()
        return type(self.get("exception")).__name__, message


class Reports(list[Report]):
    """What a loop has reported."""

    def take(self) -> list[Report]:
        """Return what there is, and forget it."""
        taken = list(self)
        self.clear()
        return taken

    def take_one(self) -> Report:
        (report,) = self.take()
        return report


def run(loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    """Run a coroutine to its end, which must come in time."""

    async def in_time() -> Any:  # noqa: ANN401
        async with asyncio.timeout(PATIENCE):
            return await coroutine

    return loop.run_until_complete(in_time())


def turn(loop: Loop, count: int = 1) -> None:
    """Let the loop do `count` turns; a turn never waits."""
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


def turn_until(loop: Loop, condition: Callable[[], object]) -> None:
    """Let the loop do turns until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        turn(loop)


def run_forever(loop: Loop) -> None:
    """loop.run_forever(), which somebody must stop in time."""
    late = loop.call_later(PATIENCE, loop.stop)
    try:
        loop.run_forever()
    finally:
        late.cancel()
    assert loop.time() < late.when(), "nobody has stopped the loop"


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def finish(loop: Loop) -> None:
    """End what still runs on a loop, and close it."""
    if loop.is_closed():
        return
    for task in asyncio.all_tasks(loop):
        task.cancel()
    turn(loop, 3)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


class Recorder(asyncio.Protocol):
    """A protocol that writes down what is called; data that come in pieces are one entry.

    How many pieces the kernel makes of a stream is nobody's promise, so it is not compared.
    """

    def __init__(self, name: str = "", events: list[Any] | None = None) -> None:
        self.events: list[Any] = [] if events is None else events
        self.name = name
        self.transport: Any = None
        self.keeps_open: object = None

    def note(self, *event: Any) -> None:  # noqa: ANN401
        self.events.append((self.name, *event) if self.name else event)

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport
        self.note("made")

    def data_received(self, data: bytes) -> None:
        self.note_data(data)

    def note_data(self, data: bytes) -> None:
        mine = (self.name, "data") if self.name else ("data",)
        if self.events and self.events[-1][:-1] == mine:
            data = self.events.pop()[-1] + data
        self.note("data", data)

    def eof_received(self) -> object:
        self.note("eof")
        return self.keeps_open

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note("lost", type(exc).__name__ if exc is not None else None)

    @property
    def received(self) -> bytes:
        return b"".join(event[-1] for event in self.events if "data" in event[:2])

    @property
    def is_lost(self) -> bool:
        return any("lost" in event[:2] for event in self.events)


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """As Recorder, with a memory of its own of `size` bytes."""

    size = 65536

    def get_buffer(self, sizehint: int) -> memoryview:
        assert sizehint == -1 or sizehint > 0
        self.memory = bytearray(self.size)
        return memoryview(self.memory)

    def buffer_updated(self, nbytes: int) -> None:
        self.note_data(bytes(self.memory[:nbytes]))


KINDS: dict[str, type[Recorder]] = {"plain": Recorder, "buffered": BufferedRecorder}


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets: the non-blocking one of the loop, and its blocking peer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), timeout=PATIENCE)
        peer, _ = listener.accept()
    ours.setblocking(False)
    peer.settimeout(PATIENCE)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, peer


def unix_pair() -> tuple[socket.socket, socket.socket]:
    """As tcp_pair(), of Unix sockets."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    peer.settimeout(PATIENCE)
    return ours, peer


Pair = Callable[[], tuple[socket.socket, socket.socket]]
PAIRS: dict[str, Pair] = {"tcp": tcp_pair, "unix": unix_pair}


def reset(peer: socket.socket) -> None:
    """Close a TCP connection with a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def receive(peer: socket.socket, count: int) -> bytes:
    """Receive exactly `count` bytes."""
    received = bytearray()
    while len(received) < count:
        piece = peer.recv(min(count - len(received), 1 << 18))
        assert piece, f"the end after {len(received)} of {count} bytes"
        received += piece
    return bytes(received)


def drain(loop: Loop, peer: socket.socket, count: int) -> bytes:
    """Receive exactly `count` bytes that the loop sends meanwhile."""
    received = bytearray()

    def is_complete() -> bool:
        with contextlib.suppress(BlockingIOError):
            received.extend(peer.recv(min(1 << 20, count - len(received))))
        return len(received) == count

    peer.setblocking(False)
    turn_until(loop, is_complete)
    peer.settimeout(PATIENCE)
    return bytes(received)


@contextlib.contextmanager
def adopted(
    loop: Loop,
    protocol: Any,  # noqa: ANN401
    pair: Callable[[], tuple[socket.socket, socket.socket]] = tcp_pair,
) -> Iterator[tuple[Any, socket.socket]]:
    """A transport of one end of a pair, made known to `protocol`, and the other end."""
    ours, peer = pair()
    with peer:
        transport, _ = run(loop, loop.connect_accepted_socket(lambda: protocol, ours))
        yield transport, peer
        # asyncio before 3.14 fails when a connection is aborted that has sent its rest and closed.
        with contextlib.suppress(AttributeError):
            transport.abort()
        turn(loop, 3)
