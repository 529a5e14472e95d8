"""HTTP, step 2: one request after the other.

The same conversation as in ``http_blocking_once``, in a loop. What goes wrong with one client (a
reset, an end in the middle of the request) is that client's end and not the server's: the error is
caught inside the loop.

Its problem is that of every blocking server, shown in ``blocking``: while it waits for one client
it serves nobody else. A browser that opens a second connection in advance and does not use it yet
is enough to stop the service. One remedy is a thread for each client. The other is never to wait
for one client in particular: that is what the next step, ``level_triggered``, does with epoll.
"""

from __future__ import annotations

import contextlib
import time

from ._common import (
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
)
from ._hello import BODY
from .http_blocking_once import converse


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
    """Answer HTTP requests with "Hello, world!", one after the other, until KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps until they are accepted.
        body: what the answer says.
        on_listening: called with host and real port; None prints them.
        on_turn: called each time before the server waits for a client.
        log: gets the requests.

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
                try:
                    converse(connection, address, body, log)
                except OSError as error:
                    log(f"Lost {address}: {error.strerror}")


def main() -> int:
    """Run as a program."""
    return run(serve, http_command_line(__doc__))


if __name__ == "__main__":
    raise SystemExit(main())
