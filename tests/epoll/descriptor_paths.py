"""Drives a loop along every path on which a descriptor changes hands; a child of the tests.

    python -m tests.epoll.descriptor_paths asyncio|epoll

While a path is walked, each turn of the loop opens files of the program's own, so that a number
that the loop has given back is at once somebody else's. At the end of a path each of them must
still be the same file, and nothing else may be open that was not before. Prints the paths that
break this.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import ssl
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.epoll.twins import LOOPS, Loop, Recorder, finish, tcp_pair, turn

MOST_TURNS = 9  # more than any of the paths has points to be cancelled at
HOST = "127.0.0.1"


class Guards:
    """Files of the program's own that take each free number."""

    def __init__(self) -> None:
        self.files: dict[int, int] = {}

    def fill(self) -> None:
        for _ in range(2):
            fd = os.memfd_create("guard")
            self.files[fd] = os.fstat(fd).st_ino

    def broken(self) -> list[int]:
        return [fd for fd, inode in self.files.items() if not is_file(fd, inode)]

    def close(self) -> None:
        for fd, inode in self.files.items():
            if is_file(fd, inode):
                os.close(fd)


def is_file(fd: int, inode: int) -> bool:
    try:
        return os.fstat(fd).st_ino == inode
    except OSError:
        return False


def open_descriptors() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/fd").iterdir()} - {-1}


class Walk:
    """What a path is given."""

    def __init__(self, loop: Loop, guards: Guards) -> None:
        self.loop = loop
        self.guards = guards
        self.owned = contextlib.ExitStack()

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.guards.fill()
            turn(self.loop)
            self.guards.fill()

    def cancel_after(self, make: Callable[[], Any], turns: int) -> Any:  # noqa: ANN401
        """Start something, cancel it after some turns, and return what it has come to."""
        task = self.loop.create_task(make())
        self.turns(turns)
        task.cancel()
        self.turns(MOST_TURNS)
        assert task.done()
        return None if task.cancelled() or task.exception() else task.result()

    def own(self, sock: socket.socket) -> socket.socket:
        return self.owned.enter_context(sock)

    def listener(self) -> socket.socket:
        return self.own(socket.create_server((HOST, 0)))

    def ends(self) -> tuple[socket.socket, socket.socket]:
        ours, peer = tcp_pair()
        return ours, self.own(peer)


def drop(result: Any) -> None:  # noqa: ANN401
    if result is not None:
        result[0].abort()


def cancelled_connection(walk: Walk, turns: int) -> None:
    address = walk.listener().getsockname()
    drop(walk.cancel_after(lambda: walk.loop.create_connection(Recorder, *address), turns))


def cancelled_happy_eyeballs(walk: Walk, turns: int) -> None:
    address = walk.listener().getsockname()
    drop(
        walk.cancel_after(
            lambda: walk.loop.create_connection(Recorder, *address, happy_eyeballs_delay=0.001),
            turns,
        )
    )


def cancelled_connection_of_a_socket(walk: Walk, turns: int) -> None:
    ours, _ = walk.ends()
    drop(walk.cancel_after(lambda: walk.loop.create_connection(Recorder, sock=ours), turns))
    walk.turns(2)
    ours.close()


def cancelled_adoption(walk: Walk, turns: int) -> None:
    ours, _ = walk.ends()
    drop(walk.cancel_after(lambda: walk.loop.connect_accepted_socket(Recorder, ours), turns))
    walk.turns(2)
    ours.close()


def cancelled_open_connection(walk: Walk, turns: int) -> None:
    address = walk.listener().getsockname()
    result = walk.cancel_after(lambda: asyncio.open_connection(*address), turns)
    if result is not None:
        result[1].close()


def cancelled_socket_operations(walk: Walk, turns: int) -> None:
    ours, _ = walk.ends()
    walk.cancel_after(lambda: walk.loop.sock_recv(ours, 10), turns)
    walk.cancel_after(lambda: walk.loop.sock_sendall(ours, bytes(10_000_000)), turns)
    listener = walk.listener()
    listener.setblocking(False)
    walk.cancel_after(lambda: walk.loop.sock_accept(listener), turns)
    with socket.socket() as client:
        client.setblocking(False)
        walk.cancel_after(lambda: walk.loop.sock_connect(client, listener.getsockname()), turns)
    ours.close()


def refused_connection(walk: Walk, _: int) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        address = unused.getsockname()
        walk.cancel_after(lambda: walk.loop.create_connection(Recorder, *address), MOST_TURNS)


def failing_factory(walk: Walk, _: int) -> None:
    ours, _ = walk.ends()
    walk.cancel_after(lambda: walk.loop.connect_accepted_socket(lambda: 1 / 0, ours), MOST_TURNS)
    ours.close()


def failing_factory_of_a_server(walk: Walk, turns: int) -> None:
    make = walk.loop.create_server(lambda: 1 / 0, HOST, 0)
    server = walk.loop.run_until_complete(make)
    walk.own(socket.create_connection(server.sockets[0].getsockname()))
    walk.turns(turns)
    server.close()


def failing_tls(walk: Walk, turns: int) -> None:
    ours, peer = walk.ends()
    protocol = Recorder()

    async def start() -> None:
        transport, _ = await walk.loop.connect_accepted_socket(lambda: protocol, ours)
        peer.send(b"this is not what a handshake looks like, not even nearly\n")
        context = ssl.create_default_context()
        await walk.loop.start_tls(transport, protocol, context, server_hostname="x.test")

    walk.cancel_after(start, turns)
    walk.turns(3)
    ours.close()


def failing_tls_connection(walk: Walk, turns: int) -> None:
    ours, peer = walk.ends()
    peer.send(b"this is not what a handshake looks like, not even nearly\n")
    context = ssl.create_default_context()
    walk.cancel_after(
        lambda: walk.loop.create_connection(
            Recorder, sock=ours, ssl=context, server_hostname="x.test"
        ),
        turns,
    )
    walk.turns(3)
    ours.close()


def closed_server(walk: Walk, turns: int) -> None:
    protocols: list[Recorder] = []

    def make() -> Recorder:
        protocols.append(Recorder())
        return protocols[-1]

    server = walk.loop.run_until_complete(walk.loop.create_server(make, HOST, 0))
    for _ in range(3):
        walk.own(socket.create_connection(server.sockets[0].getsockname()))
    walk.turns(turns)
    server.close()
    walk.turns(3)
    for protocol in protocols:
        if protocol.transport is not None:
            protocol.transport.close()


def closed_by_both(walk: Walk, turns: int) -> None:
    """The program closes the socket object that it has handed over."""
    ours, _ = walk.ends()
    transport, _ = walk.loop.run_until_complete(walk.loop.connect_accepted_socket(Recorder, ours))
    transport.close()
    walk.turns(turns)
    ours.close()
    walk.turns(2)


def aborted_with_unsent_data(walk: Walk, turns: int) -> None:
    ours, _ = walk.ends()
    transport, _ = walk.loop.run_until_complete(walk.loop.connect_accepted_socket(Recorder, ours))
    transport.write(bytes(10_000_000))
    transport.close()
    walk.turns(turns)
    transport.abort()
    walk.turns(2)
    ours.close()


def loop_closed_under_transports(walk: Walk, turns: int) -> None:
    loop = type(walk.loop)()
    ours, _ = walk.ends()
    loop.run_until_complete(loop.connect_accepted_socket(Recorder, ours))
    turn(loop, turns)
    loop.close()
    del loop, ours
    walk.guards.fill()
    gc.collect()
    walk.guards.fill()


PATHS: list[Callable[[Walk, int], None]] = [
    cancelled_connection,
    cancelled_happy_eyeballs,
    cancelled_connection_of_a_socket,
    cancelled_adoption,
    cancelled_open_connection,
    cancelled_socket_operations,
    refused_connection,
    failing_factory,
    failing_factory_of_a_server,
    failing_tls,
    failing_tls_connection,
    closed_server,
    closed_by_both,
    aborted_with_unsent_data,
    loop_closed_under_transports,
]


def walk_along(make: Callable[[], Loop], path: Callable[[Walk, int], None], turns: int) -> None:
    loop = make()
    loop.set_exception_handler(lambda *_: None)
    guards = Guards()
    before = open_descriptors()
    walk = Walk(loop, guards)
    path(walk, turns)
    walk.turns(4)
    gc.collect()
    walk.turns(1)
    walk.owned.close()
    broken = guards.broken()
    guards.close()
    left = open_descriptors() - before
    finish(loop)
    del loop, walk
    gc.collect()
    if broken or left:
        print(f"{path.__name__}, {turns} turns: broken {broken}, left open {sorted(left)}")


def paths_with_turns() -> Iterator[tuple[Callable[[Walk, int], None], int]]:
    for path in PATHS:
        for turns in range(MOST_TURNS):
            yield path, turns


def report_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Report what nobody can be told of, but for one mistake of asyncio's transports.

    Since Python 3.13 one that the garbage collector ends tells its server, and so does the weak set
    in which the server has it: a server that is closed and has lost its last client in this way
    wakes those who wait for that twice, which fails the second time.
    """
    name = getattr(unraisable.object, "__qualname__", "")
    if (
        sys.version_info < (3, 13)
        or name != "_SelectorTransport.__del__"
        or not isinstance(unraisable.exc_value, TypeError)
    ):
        sys.__unraisablehook__(unraisable)


def main() -> int:
    # Dropping an open transport or socket warns; here it is what is done on purpose.
    warnings.simplefilter("ignore", ResourceWarning)
    if sys.argv[1] == "asyncio":
        sys.unraisablehook = report_unraisable
    make = LOOPS[sys.argv[1]]
    finish(make())
    ssl.create_default_context()
    open_descriptors()
    for path, turns in paths_with_turns():
        walk_along(make, path, turns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
