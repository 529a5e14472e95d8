"""What sock_recv() and its like do: asyncio is the oracle, and taken for ours."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import gc
import os
import socket
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bindings.loop.socket_twins import MUCH, Loop, Pair, cancelled, finished, started
from tests.epoll.twins import run, turn, turn_until


def test_recv_at_once_and_later(loop: Loop, pair: Pair) -> None:
    near, far = pair
    far.send(b"at once")
    turn(loop)
    assert run(loop, loop.sock_recv(near, 100)) == b"at once"
    task = started(loop, loop.sock_recv(near, 3))
    assert not task.done()
    far.send(b"later")
    assert finished(loop, task) == b"lat"
    assert run(loop, loop.sock_recv(near, 100)) == b"er"
    far.close()
    assert run(loop, loop.sock_recv(near, 100)) == b""
    assert run(loop, loop.sock_recv(near, n=0)) == b""


@pytest.mark.parametrize("size", [1 << 18, (1 << 18) + 1, 1 << 20])
def test_recv_of_much(loop: Loop, pair: Pair, size: int) -> None:
    near, far = pair

    async def receive() -> bytes:
        received = b""
        while len(received) < len(MUCH):
            data = await loop.sock_recv(near, size)
            assert 0 < len(data) <= size
            received += data
        return received

    async def both() -> None:
        received, sent = await asyncio.gather(receive(), loop.sock_sendall(far, MUCH))
        assert received == MUCH
        assert sent is None

    run(loop, both())


def test_recv_into(loop: Loop, pair: Pair) -> None:
    near, far = pair
    buffer = bytearray(8)
    task = started(loop, loop.sock_recv_into(near, buffer))
    far.send(b"hello")
    assert finished(loop, task) == 5
    assert buffer == b"hello\0\0\0"
    numbers = array.array("I", [0, 0])
    far.send(struct.pack("II", 7, 8))
    assert run(loop, loop.sock_recv_into(near, memoryview(numbers))) == 8
    assert list(numbers) == [7, 8]


def test_datagrams(loop: Loop, datagrams: Pair) -> None:
    near, far = datagrams
    task = started(loop, loop.sock_recvfrom(near, 100))
    assert run(loop, loop.sock_sendto(far, b"one", near.getsockname())) == 3
    assert finished(loop, task) == (b"one", far.getsockname() or None)
    buffer = bytearray(10)
    task = started(loop, loop.sock_recvfrom_into(near, buffer))
    assert run(loop, loop.sock_sendto(far, memoryview(b"two!"), near.getsockname())) == 4
    assert finished(loop, task) == (4, far.getsockname() or None)
    far.sendto(b"three", near.getsockname())
    assert run(loop, loop.sock_recvfrom_into(near, buffer, 2))[0] == 2
    assert buffer[:4] == b"tho!"


def test_sendto_waits_for_room(loop: Loop, sockets: Callable[..., socket.socket]) -> None:
    near = sockets(socket.AF_UNIX, socket.SOCK_DGRAM)
    with tempfile.TemporaryDirectory() as folder:
        bound = sockets(socket.AF_UNIX, socket.SOCK_DGRAM)
        bound.bind(f"{folder}/s")
        with contextlib.suppress(BlockingIOError):
            while True:
                near.sendto(b"x" * 1000, bound.getsockname())
        task = started(loop, loop.sock_sendto(near, b"last", bound.getsockname()))
        assert not task.done()
        with contextlib.suppress(BlockingIOError):
            while True:
                received = bound.recv(2000)
                turn(loop)
        assert finished(loop, task) == 4
        assert received == b"last" or bound.recv(2000) == b"last"


@pytest.mark.parametrize(
    "make",
    [bytes, bytearray, memoryview, lambda data: array.array("b", data)],
    ids=["bytes", "bytearray", "memoryview", "array"],
)
def test_sendall_of_every_buffer(loop: Loop, pair: Pair, make: Callable[..., Any]) -> None:
    near, far = pair
    data = make(b"12345678" * 4)
    assert run(loop, loop.sock_sendall(near, data)) is None
    assert far.recv(1000) == bytes(data)
    assert run(loop, loop.sock_sendall(near, b"")) is None


def test_sendall_of_a_large_buffer_of_items(ours: Loop, pair: Pair) -> None:
    # asyncio counts bytes against items here, and slices by bytes what has items.
    near, far = pair
    data = memoryview(array.array("Q", MUCH))
    task = started(ours, ours.sock_sendall(near, data))
    received = bytearray()
    while len(received) < len(MUCH):
        with contextlib.suppress(BlockingIOError):
            received += far.recv(1 << 20)
        turn(ours)
    assert received == MUCH
    assert finished(ours, task) is None


def test_sendall_locks_its_buffer_while_it_waits(loop: Loop, pair: Pair) -> None:
    near, _ = pair
    data = bytearray(MUCH)
    task = started(loop, loop.sock_sendall(near, data))
    with pytest.raises(BufferError):
        data.clear()
    cancelled(loop, task)
    del task
    gc.collect()
    turn(loop, 2)
    data.clear()


def test_recv_and_sendall_at_once_on_one_socket(loop: Loop, pair: Pair) -> None:
    near, far = pair
    receiving = started(loop, loop.sock_recv(near, 10))
    sending = started(loop, loop.sock_sendall(near, MUCH))
    assert (receiving.done(), sending.done()) == (False, False)
    far.send(b"x")
    assert finished(loop, receiving) == b"x"
    assert not sending.done()
    left = len(MUCH)
    while left:
        with contextlib.suppress(BlockingIOError):
            left -= len(far.recv(1 << 20))
        turn(loop)
    assert finished(loop, sending) is None


def test_accept_and_connect(
    loop: Loop, listening: socket.socket, sockets: Callable[..., socket.socket]
) -> None:
    task = started(loop, loop.sock_accept(listening))
    client = sockets()
    assert run(loop, loop.sock_connect(client, listening.getsockname())) is None
    connection, peer = finished(loop, task)
    with connection:
        assert type(connection) is socket.socket
        assert peer == client.getsockname()
        assert connection.gettimeout() == 0
        assert not os.get_inheritable(connection.fileno())
        assert not os.get_blocking(connection.fileno())
        assert (connection.family, connection.type, connection.proto) == (
            listening.family,
            listening.type,
            listening.proto,
        )
        run(loop, loop.sock_sendall(client, b"x"))
        assert run(loop, loop.sock_recv(connection, 10)) == b"x"


@pytest.mark.parametrize("kind", ["path", "path as bytes", "abstract", "abstract as str"])
def test_accept_and_connect_unix(
    loop: Loop, sockets: Callable[..., socket.socket], tmp_path: Path, kind: str
) -> None:
    name: Any = str(tmp_path / "s")
    if kind.startswith("abstract"):
        name = "\0" + str(tmp_path)
    if "bytes" in kind:
        name = os.fsencode(name)
    server = sockets(socket.AF_UNIX)
    server.bind(name)
    server.listen()
    client = sockets(socket.AF_UNIX)
    assert run(loop, loop.sock_connect(client, name)) is None
    connection, peer = run(loop, loop.sock_accept(server))
    with connection:
        assert peer == ""
        assert connection.getsockname() == server.getsockname()


def test_connect_resolves_names(
    loop: Loop, listening: socket.socket, sockets: Callable[..., socket.socket]
) -> None:
    port = listening.getsockname()[1]
    for address in ("localhost", port), ["127.0.0.1", port], ("127.0.0.1", str(port)):
        client = sockets()
        assert run(loop, loop.sock_connect(client, address)) is None
        assert client.getpeername() == listening.getsockname()


def test_connect_over_ipv6(loop: Loop, sockets: Callable[..., socket.socket]) -> None:
    server = sockets(socket.create_server(("::1", 0), family=socket.AF_INET6))
    for address in server.getsockname(), server.getsockname()[:2]:
        client = sockets(socket.AF_INET6)
        assert run(loop, loop.sock_connect(client, address)) is None
        connection, peer = run(loop, loop.sock_accept(server))
        with connection:
            assert peer == client.getsockname()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_refused(
    loop: Loop, sockets: Callable[..., socket.socket], tmp_path: Path, family: int
) -> None:
    closed = sockets(family)
    closed.bind(
        str(tmp_path / "s")
        if family == socket.AF_UNIX
        else ("127.0.0.1" if family == socket.AF_INET else "::1", 0)
    )
    name = closed.getsockname()
    with pytest.raises(ConnectionRefusedError) as caught:
        run(loop, loop.sock_connect(sockets(family), name))
    text = "Connection refused" if family == socket.AF_UNIX else f"Connect call failed {name}"
    assert str(caught.value) == f"[Errno {errno.ECONNREFUSED}] {text}"


class Whispering(socket.socket):
    """A subclass may have methods of its own."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(size, flags).lower()


def test_subclasses_are_asked_themselves(loop: Loop, sockets: Callable[..., socket.socket]) -> None:
    near, far = socket.socketpair()
    quiet = sockets(Whispering(fileno=near.detach()))
    with far:
        task = started(loop, loop.sock_recv(quiet, 10))
        far.send(b"LOUD")
        assert finished(loop, task) == b"loud"


def test_an_echo_in_small_steps(loop: Loop, pair: Pair) -> None:
    near, far = pair

    async def echo(count: int) -> None:
        for _ in range(count):
            await loop.sock_sendall(near, await loop.sock_recv(near, 10))

    task = started(loop, echo(20))
    for number in range(20):
        far.send(b"%d" % number)
        turn_until(loop, lambda: readable(far))
        assert far.recv(10) == b"%d" % number
    finished(loop, task)


def readable(sock: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        return bool(sock.recv(1, socket.MSG_PEEK))
    return False


def test_audit_events(ours: Loop, sockets: Callable[..., socket.socket]) -> None:
    events: list[tuple[str, Any]] = []
    active = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if active and event in {"socket.connect", "socket.sendto"}:
            events.append((event, arguments[1]))

    sys.addaudithook(hook)
    address = ("127.0.0.1", 9)
    sock = sockets(socket.AF_INET, socket.SOCK_DGRAM)
    run(ours, ours.sock_sendto(sock, b"x", address))
    run(ours, ours.sock_connect(sock, address))
    active.clear()
    assert events == [("socket.sendto", address), ("socket.connect", address)]


def test_a_full_backlog_of_a_unix_socket_is_an_error(
    ours: Loop, sockets: Callable[..., socket.socket], tmp_path: Path
) -> None:
    # asyncio says that such a socket is connected.
    server = sockets(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.listen(0)

    def connect() -> None:
        run(ours, ours.sock_connect(sockets(socket.AF_UNIX), str(tmp_path / "s")))

    connect()
    with pytest.raises(BlockingIOError):
        connect()


def test_sendfile(loop: Loop, pair: Pair) -> None:
    near, far = pair
    with tempfile.TemporaryFile() as file:
        file.write(MUCH)

        async def main() -> None:
            async def receive() -> int:
                count = 0
                while count < len(MUCH):
                    count += len(await loop.sock_recv(far, 1 << 20))
                return count

            received, sent = await asyncio.gather(receive(), loop.sock_sendfile(near, file))
            assert received == sent == len(MUCH)

        run(loop, main())


def test_who_asks_for_no_bytes_gets_none_at_once(loop: Loop, pair: Pair) -> None:
    near, far = pair
    far.send(b"kept")
    for _ in range(2):
        assert run(loop, loop.sock_recv(near, 0)) == b""
        assert run(loop, loop.sock_recv_into(near, bytearray())) == 0
    assert run(loop, loop.sock_recv(near, 10)) == b"kept"
    assert run(loop, loop.sock_recv(near, 0)) == b""
    assert run(loop, loop.sock_recv_into(near, memoryview(bytearray(3))[3:])) == 0
    near.close()
    assert run(loop, loop.sock_recv(near, 0)) == b""


def test_who_asks_for_no_bytes_of_a_datagram_leaves_it(loop: Loop, datagrams: Pair) -> None:
    near, far = datagrams
    far.sendto(b"kept", near.getsockname())
    assert run(loop, loop.sock_recv(near, 0)) == b""
    assert run(loop, loop.sock_recv_into(near, bytearray())) == 0
    assert run(loop, loop.sock_recv(near, 10)) == b"kept"
    far.sendto(b"dropped", near.getsockname())
    assert run(loop, loop.sock_recvfrom(near, 0))[0] == b""
    far.sendto(b"next", near.getsockname())
    assert run(loop, loop.sock_recv(near, 10)) == b"next"
