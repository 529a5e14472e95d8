"""Echo, step 3: ``select``: the kernel says who is ready, and sleeps until somebody is.

The loop hands the kernel two lists: whom it wants to read from, whom it wants to write to. The
kernel puts the process to sleep until one of them can be served, and returns those who can. No
turn is made for nothing, and no answer waits for a pause to end.

Whom to ask about is now the whole art. A socket can nearly always be written to, so a loop that
always asks "can I write?" is always told yes and spins as the busy loop did. Ask only while
something is pending. In the same way a client that has finished sending stays readable for ever
(``recv`` keeps answering ``b''``): stop asking whether it can be read the moment it has ended.

Its problems:

* Each call carries the whole list into the kernel and the kernel looks at every entry. The cost
  grows with the number of clients, also of those who are silent.
* The kernel's interface is a bit set of FD_SETSIZE = 1024 bits: a descriptor with the number 1024
  or more cannot be put in at all. Python raises ValueError, C programs write past the end of the
  set. This server refuses such a client: it closes the connection and says so.

The next step, ``with_poll``, has no such limit.
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

#: The size of the kernel's bit set; descriptors are 0 to FD_SETSIZE - 1.
FD_SETSIZE = 1024


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    address: Address
    pending: bytearray = field(default_factory=bytearray)  # received, not yet sent back
    ended: bool = False  # it has finished sending; what is pending still goes out

    def fileno(self) -> int:
        return self.connection.fileno()  # with this, select takes a client as it is


def serve(
    host: str = "127.0.0.1",
    port: int = 65432,
    *,
    backlog: int = 128,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Echo what each client sends, waiting with ``select``, until KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps until they are accepted.
        on_listening: called with host and real port; None prints them.
        on_turn: called at the start of each turn.
        log: gets a line for each connection and each message.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: the listening socket itself has a descriptor of 1024 or more.
    """
    listener = open_listener(host, port, backlog)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(_Loop(listener, log)) as loop:
        if listener.fileno() >= FD_SETSIZE:
            raise ValueError(f"select cannot watch descriptor {listener.fileno()}")
        announce(listener, on_listening)
        while True:
            on_turn()
            loop.turn()


class _Loop:
    def __init__(self, listener: socket.socket, log: Log) -> None:
        self._listener = listener
        self._log = log
        self._clients: set[_Client] = set()
        self._rest_until: float | None = None  # when accepting starts again

    def turn(self) -> None:
        """Wait until somebody is ready and serve those who are."""
        to_read: list[socket.socket | _Client] = [
            c for c in self._clients if not c.ended and len(c.pending) < QUEUE_LIMIT
        ]
        to_write = [c for c in self._clients if c.pending]
        if self._rest_until is None:
            to_read.append(self._listener)
        timeout = None if self._rest_until is None else REST_SECONDS
        readable, writable, _ = select.select(to_read, to_write, [], timeout)
        for source in {*readable, *writable}:
            if isinstance(source, _Client):
                self._advance(source, readable=source in readable)
            else:
                self._accept()
        if self._rest_until is not None and time.monotonic() >= self._rest_until:
            self._rest_until = None

    def close(self) -> None:
        for client in self._clients:
            client.connection.close()
        self._listener.close()

    def _accept(self) -> None:
        try:
            accepted = try_accept(self._listener)
        except OSError as error:  # the listener stays readable: to ask about it now would spin
            self._log(f"Cannot accept: {error.strerror}")
            self._rest_until = time.monotonic() + REST_SECONDS
            return
        if accepted is None:
            return
        connection, address = accepted
        if connection.fileno() >= FD_SETSIZE:
            connection.close()
            self._log(f"Refused {address}: select cannot watch descriptor {FD_SETSIZE} or above")
            return
        self._clients.add(_Client(connection, address))
        self._log(f"Connected by {address}")

    def _advance(self, client: _Client, *, readable: bool) -> None:
        try:
            if readable:
                self._read(client)
            if client.pending:
                self._write(client)
        except OSError as error:
            self._drop(client, f"Lost {client.address}: {error.strerror}")
            return
        if client.ended and not client.pending:
            self._drop(client, f"Closed {client.address}")

    def _read(self, client: _Client) -> None:
        try:
            data = client.connection.recv(READ_SIZE)
        except BlockingIOError:
            return  # select may be mistaken: what made the socket readable was discarded since
        if data:
            self._log(f"Received: {shown(data)}")
            client.pending += data
        else:
            client.ended = True

    def _write(self, client: _Client) -> None:
        with contextlib.suppress(BlockingIOError):
            sent = client.connection.send(client.pending)
            del client.pending[:sent]

    def _drop(self, client: _Client, why: str) -> None:
        self._clients.remove(client)
        client.connection.close()
        self._rest_until = None  # a descriptor is free again
        self._log(why)


def main() -> int:
    """Run as a program."""
    return run(serve, command_line(__doc__, port=65432))


if __name__ == "__main__":
    raise SystemExit(main())
