"""Echo, step 2: sockets that do not block, and a loop that asks all of them.

``setblocking(False)`` changes what a call does when it cannot be done now: instead of putting the
process to sleep the kernel answers EAGAIN, which Python raises as BlockingIOError. "Not now" is an
ordinary answer here. So the loop can ask the listening socket, then every client, then start
again, and several clients are served together.

Two things that were free before must now be done by hand:

* ``send`` takes only as much as the socket's send buffer has room for. The rest must be kept and
  sent later. (``sendall`` on such a socket sends a part, raises, and does not say how much.)
* a client that sends and does not read would make that rest grow without end, so a client is not
  read while much is waiting for it.

Its problem: it asks even when nothing happens. With n clients each turn costs n + 1 system calls
that almost all answer EAGAIN. Without a pause it takes a whole processor to do nothing; with a
pause, everything waits up to that long. (The pause here is only made after a turn in which nothing
moved.) And the last client is asked after all the others, whether they had news or not.

The next step, ``with_select``, asks the kernel who has news, and sleeps until somebody has.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field

from ._common import (
    QUEUE_LIMIT,
    READ_SIZE,
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


def serve(
    host: str = "127.0.0.1",
    port: int = 65432,
    *,
    backlog: int = 128,
    pause: float = 0.1,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Echo what each client sends, asking each in turn, until KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps until they are accepted.
        pause: seconds to sleep after a turn in which nothing happened.
        on_listening: called with host and real port; None prints them.
        on_turn: called at the start of each turn.
        log: gets a line for each connection and each message.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: pause is negative.
    """
    if pause < 0:
        raise ValueError("pause must not be negative")
    listener = open_listener(host, port, backlog)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(_Loop(listener, log)) as loop:
        announce(listener, on_listening)
        while True:
            on_turn()
            if not loop.turn():
                time.sleep(pause)


class _Loop:
    def __init__(self, listener: socket.socket, log: Log) -> None:
        self._listener = listener
        self._log = log
        self._clients: list[_Client] = []
        self._full = False  # no descriptor was free for the last client that came

    def turn(self) -> bool:
        """Ask everybody once; return whether anything happened."""
        moved = self._accept()
        for client in self._clients[:]:  # a copy: a client may leave while we walk
            try:
                moved |= self._read(client) | self._write(client)
            except OSError as error:
                self._drop(client, f"Lost {client.address}: {error.strerror}")
            else:
                if client.ended and not client.pending:
                    self._drop(client, f"Closed {client.address}")
        return moved

    def close(self) -> None:
        for client in self._clients:
            client.connection.close()
        self._listener.close()

    def _accept(self) -> bool:
        try:
            accepted = try_accept(self._listener)
        except OSError as error:  # no descriptor left: serve the others, ask again next turn
            if not self._full:
                self._log(f"Cannot accept: {error.strerror}")
            self._full = True
            return False
        self._full = False
        if accepted is None:
            return False
        self._clients.append(_Client(*accepted))
        self._log(f"Connected by {accepted[1]}")
        return True

    def _read(self, client: _Client) -> bool:
        if client.ended or len(client.pending) >= QUEUE_LIMIT:
            return False
        try:
            data = client.connection.recv(READ_SIZE)
        except BlockingIOError:
            return False
        if data:
            self._log(f"Received: {shown(data)} | Client: {client.address}")
            client.pending += data
        else:
            client.ended = True
        return True

    def _write(self, client: _Client) -> bool:
        if not client.pending:
            return False
        try:
            sent = client.connection.send(client.pending)
        except BlockingIOError:
            return False
        del client.pending[:sent]
        return True

    def _drop(self, client: _Client, why: str) -> None:
        self._clients.remove(client)
        client.connection.close()
        self._log(why)


def main() -> int:
    """Run as a program."""
    parser = command_line(__doc__, port=65432)
    parser.add_argument(
        "--pause", type=float, default=0.1, help="seconds after an idle turn (default: %(default)s)"
    )
    return run(serve, parser)


if __name__ == "__main__":
    raise SystemExit(main())
