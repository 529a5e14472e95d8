"""Echo, step 5: ``epoll``: the kernel keeps the list.

``select`` and ``poll`` carry the whole list into the kernel with every call, and the kernel asks
every descriptor of it. ``epoll`` turns this round. The list lives in the kernel, behind a
descriptor of its own; ``register``, ``modify`` and ``unregister`` change one entry of it. When a
packet arrives, the socket itself puts its entry on a ready list, and waiting only takes entries
from there. A turn costs what happened, not how many clients there are: 9,990 silent clients cost
nothing.

The program hardly changes against ``with_poll``: the events have an E in front, the timeout is in
seconds. One duty is new. The entry belongs to the open connection in the kernel, not to the
number: if a descriptor was copied (``dup``, ``fork``) the kernel keeps reporting it after
``close``. So the order is always: ``unregister``, forget, close.

As before: EPOLLOUT is wanted only while something is pending, EPOLLIN not after the end of the
stream nor while too much is pending, and EPOLLERR and EPOLLHUP come unasked.

What is left to choose is how often the same news is told: ``show_level_triggered`` and
``show_edge_triggered`` print the difference, and the HTTP rungs use it.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field

from epoll import EPOLLIN, EPOLLOUT, Epoll

from ._common import (
    QUEUE_LIMIT,
    READ_SIZE,
    REST_SECONDS,
    Address,
    Log,
    OnListening,
    OnTurn,
    announce,
    command_line,
    nothing,
    open_listener,
    run,
    say,
    shown,
    try_accept,
)


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    address: Address
    pending: bytearray = field(default_factory=bytearray)  # received, not yet sent back
    ended: bool = False  # it has finished sending; what is pending still goes out
    wanted: int = EPOLLIN  # what epoll has been told


def serve(
    host: str = "127.0.0.1",
    port: int = 65432,
    *,
    backlog: int = 128,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Echo what each client sends, waiting with ``epoll``, until KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps until they are accepted.
        on_listening: called with host and real port; None prints them.
        on_turn: called at the start of each turn.
        log: gets a line for each connection and each message.

    Raises:
        OSError: the address cannot be listened on.
    """
    listener = open_listener(host, port, backlog)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(_Loop(listener, log)) as loop:
        announce(listener, on_listening)
        while True:
            on_turn()
            loop.turn()


class _Loop:
    def __init__(self, listener: socket.socket, log: Log) -> None:
        self._listener = listener
        self._log = log
        self._clients: dict[int, _Client] = {}
        self._rest_until: float | None = None  # when accepting starts again
        self._epoll = Epoll()
        self._epoll.register(listener, EPOLLIN)

    def turn(self) -> None:
        """Wait until somebody is ready and serve those who are."""
        timeout = None if self._rest_until is None else REST_SECONDS
        for fd, events in self._epoll.poll(timeout):
            if fd == self._listener.fileno():
                self._accept()
            else:
                self._advance(self._clients[fd], events)
        if self._rest_until is not None and time.monotonic() >= self._rest_until:
            self._accept_again()

    def close(self) -> None:
        for client in self._clients.values():
            client.connection.close()
        self._listener.close()
        self._epoll.close()

    def _accept(self) -> None:
        try:
            accepted = try_accept(self._listener)
        except OSError as error:  # the listener stays readable: to want that now would spin
            self._log(f"Cannot accept: {error.strerror}")
            self._epoll.modify(self._listener, 0)
            self._rest_until = time.monotonic() + REST_SECONDS
            return
        if accepted is None:
            return
        client = _Client(*accepted)
        self._clients[client.connection.fileno()] = client
        self._epoll.register(client.connection, client.wanted)
        self._log(f"Connected by {client.address}")

    def _accept_again(self) -> None:
        if self._rest_until is not None:
            self._epoll.modify(self._listener, EPOLLIN)
            self._rest_until = None

    def _advance(self, client: _Client, events: int) -> None:
        try:
            if events & ~EPOLLOUT:  # bytes, the end, or an error: recv tells which
                self._read(client)
            if client.pending:
                self._write(client)
        except OSError as error:
            self._drop(client, f"Lost {client.address}: {error.strerror}")
            return
        if client.ended and not client.pending:
            self._drop(client, f"Closed {client.address}")
        else:
            self._want(client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(READ_SIZE)
        except BlockingIOError:
            return  # what made the socket readable was discarded since
        if data:
            self._log(f"Received: {shown(data)}")
            client.pending += data
        else:
            client.ended = True

    def _write(self, client: _Client) -> None:
        with contextlib.suppress(BlockingIOError):
            sent = client.connection.send(client.pending)
            del client.pending[:sent]

    def _want(self, client: _Client) -> None:
        wanted = EPOLLOUT if client.pending else 0
        if not client.ended and len(client.pending) < QUEUE_LIMIT:
            wanted |= EPOLLIN
        if wanted != client.wanted:
            self._epoll.modify(client.connection, wanted)
            client.wanted = wanted

    def _drop(self, client: _Client, why: str) -> None:
        fd = client.connection.fileno()
        self._epoll.unregister(fd)
        del self._clients[fd]
        client.connection.close()
        self._accept_again()  # a descriptor is free again
        self._log(why)


def main() -> int:
    """Run as a program."""
    return run(serve, command_line(__doc__, port=65432))


if __name__ == "__main__":
    raise SystemExit(main())
