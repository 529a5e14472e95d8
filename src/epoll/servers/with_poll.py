"""Echo, step 4: ``poll``: the same question without the limit of 1024.

``poll`` takes a list of (descriptor, wanted events) instead of bit sets, so a descriptor may have
any number. What is wanted from a client is written down once, with ``register``, and changed with
``modify`` when it changes: POLLIN while it may be read, POLLOUT only while something is pending.
(A loop that always wants POLLOUT is always told yes, and spins.)

Two events come without being wanted, and cannot be refused:

* POLLERR and POLLHUP: the connection was reset, or is closed in both directions. To ignore them is
  to spin, since they are reported again in every turn. So whatever is not POLLOUT leads to
  ``recv``, also when POLLIN is not wanted: it raises the error, and the client is dropped.
* A half-close is neither. The client has finished sending, still listens, and shows it as POLLIN
  with ``recv() == b""``, again and again. So POLLIN is no longer wanted after the first one.

``poll`` answers with descriptors, not with objects; a dictionary leads from one to the other. An
entry must leave it before its descriptor is closed: the kernel gives the same number to the next
client.

Its problem: the list is kept by the program, in user memory. Every call still copies all of it
into the kernel, and the kernel asks every descriptor of it. With 10,000 clients of which 10 are
active, 9,990 are asked in vain, every turn.

The next step, ``with_epoll``, leaves the list in the kernel.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from dataclasses import dataclass, field

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
    wanted: int = select.POLLIN  # what the polling object has been told


def serve(
    host: str = "127.0.0.1",
    port: int = 65432,
    *,
    backlog: int = 128,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Echo what each client sends, waiting with ``poll``, until KeyboardInterrupt.

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
        self._poll = select.poll()
        self._poll.register(listener, select.POLLIN)

    def turn(self) -> None:
        """Wait until somebody is ready and serve those who are."""
        timeout_ms = None if self._rest_until is None else REST_SECONDS * 1000
        for fd, events in self._poll.poll(timeout_ms):
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

    def _accept(self) -> None:
        try:
            accepted = try_accept(self._listener)
        except OSError as error:  # the listener stays readable: to want that now would spin
            self._log(f"Cannot accept: {error.strerror}")
            self._poll.modify(self._listener, 0)
            self._rest_until = time.monotonic() + REST_SECONDS
            return
        if accepted is None:
            return
        client = _Client(*accepted)
        self._clients[client.connection.fileno()] = client
        self._poll.register(client.connection, client.wanted)
        self._log(f"Connected by {client.address}")

    def _accept_again(self) -> None:
        if self._rest_until is not None:
            self._poll.modify(self._listener, select.POLLIN)
            self._rest_until = None

    def _advance(self, client: _Client, events: int) -> None:
        try:
            if events & ~select.POLLOUT:  # bytes, the end, or an error: recv tells which
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
        wanted = select.POLLOUT if client.pending else 0
        if not client.ended and len(client.pending) < QUEUE_LIMIT:
            wanted |= select.POLLIN
        if wanted != client.wanted:
            self._poll.modify(client.connection, wanted)
            client.wanted = wanted

    def _drop(self, client: _Client, why: str) -> None:
        fd = client.connection.fileno()
        self._poll.unregister(fd)
        del self._clients[fd]
        client.connection.close()
        self._accept_again()  # a descriptor is free again
        self._log(why)


def main() -> int:
    """Run as a program."""
    return run(serve, command_line(__doc__, port=65432))


if __name__ == "__main__":
    raise SystemExit(main())
