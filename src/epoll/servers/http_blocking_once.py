"""HTTP, step 1: one request, then the end.

The whole life of a server in six calls: ``socket``, ``bind``, ``listen`` (all three in
``open_listener``), ``accept``, ``recv``, ``send``. ``accept`` returns a new socket, and only that
one talks with the client; the listening socket does nothing but hand out such sockets.

A request need not arrive in one piece, so ``recv`` is repeated until the empty line that ends the
head; not without limit, since a client may send a head that never ends; and not after ``b""``,
which says that the client has finished: a loop that only looks for the empty line would spin on it
for ever.

How it closes matters too. After the answer it says "I have finished" (``shutdown``) and reads on
until the client says the same. A socket that is closed while unread bytes wait in it is not closed
but reset, and the reset may overtake the answer.

Its problem is plain: it serves one client and is gone. ``http_blocking`` adds the loop.
"""

from __future__ import annotations

import contextlib
import socket

from ._common import (
    READ_SIZE,
    REST_SECONDS,
    Log,
    OnListening,
    OnTurn,
    announce,
    http_command_line,
    nothing,
    open_listener,
    run,
    say,
    shown,
)
from ._hello import BODY, DISCARD_LIMIT, answer_to


def serve(
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    backlog: int = 128,
    body: bytes = BODY,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Answer one HTTP request with "Hello, world!" and return; or return on KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps until they are accepted.
        body: what the answer says.
        on_listening: called with host and real port; None prints them.
        on_turn: called once, before the server waits for its client.
        log: gets the request.

    Raises:
        OSError: the address cannot be listened on, or the client broke off.
    """
    with (
        contextlib.suppress(KeyboardInterrupt),
        open_listener(host, port, backlog, blocking=True) as listener,
    ):
        announce(listener, on_listening)
        on_turn()
        connection, address = listener.accept()
        with connection:
            converse(connection, address, body, log)


def converse(connection: socket.socket, address: object, body: bytes, log: Log) -> None:
    """Read one request from a blocking socket, answer it, and wait for the client to close.

    Raises:
        OSError: the client broke off.
    """
    request = bytearray()
    while (answer := answer_to(request, body)) is None:
        data = connection.recv(READ_SIZE)
        if not data:
            log(f"{address} left before its request was complete")
            return
        request += data
    log("-" * 40 + "\n" + shown(request))
    connection.sendall(b"".join(answer))
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(REST_SECONDS)  # the answer is out: do not wait long for a good-bye
    discarded = 0
    with contextlib.suppress(TimeoutError):
        while discarded < DISCARD_LIMIT and (data := connection.recv(READ_SIZE)):
            discarded += len(data)


def main() -> int:
    """Run as a program."""
    return run(serve, http_command_line(__doc__))


if __name__ == "__main__":
    raise SystemExit(main())
