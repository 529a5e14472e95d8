"""Echo, step 1: blocking sockets, one client at a time.

Every call waits until it is done: ``accept`` until somebody connects, ``recv`` until something
arrives, ``sendall`` until the kernel has taken the last byte. Meanwhile the kernel lets the
process sleep, so waiting costs nothing, and the program reads like a conversation.

Its problem: while it talks with one client it cannot talk with another. A second client is not
refused. The kernel completes its connection and puts it in the queue of the listening socket
(``backlog`` long); it can even send. But nobody calls ``accept``, so no answer comes until the
first client has left. A client that connects and then is silent stops the service for all, and so
does a client that sends much and does not read, because ``sendall`` then waits for it.

The next step, ``busy_loop``, does not wait for anybody.
"""

from __future__ import annotations

import contextlib
import socket
import time

from ._common import (
    READ_SIZE,
    REST_SECONDS,
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
)


def serve(
    host: str = "127.0.0.1",
    port: int = 65432,
    *,
    backlog: int = 128,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Echo what each client sends, one client after the other, until KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps until they are accepted.
        on_listening: called with host and real port; None prints them.
        on_turn: called each time before the server waits for a client.
        log: gets a line for each connection and each message.

    Raises:
        OSError: the address cannot be listened on.
    """
    with (
        contextlib.suppress(KeyboardInterrupt),
        open_listener(host, port, backlog, blocking=True) as listener,
    ):
        announce(listener, on_listening)
        while True:
            on_turn()
            try:
                connection, address = listener.accept()
            except OSError as error:
                log(f"Cannot accept: {error.strerror}")
                time.sleep(REST_SECONDS)  # it stays in the queue: asking at once would spin
                continue
            with connection:
                log(f"Connected by {address}")
                try:
                    _echo(connection, log)
                except OSError as error:  # reset by peer: this client's end, not the server's
                    log(f"Lost {address}: {error.strerror}")


def _echo(connection: socket.socket, log: Log) -> None:
    while data := connection.recv(READ_SIZE):
        log(f"Received: {shown(data)}")
        connection.sendall(data)


def main() -> int:
    """Run as a program."""
    return run(serve, command_line(__doc__, port=65432))


if __name__ == "__main__":
    raise SystemExit(main())
