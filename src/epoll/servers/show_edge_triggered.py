"""Show what edge-triggered means: news is told once, when it becomes news.

The same program as ``show_level_triggered``, with EPOLLET. One line is printed for each client that
connects, and then there is silence, although the listening socket is still readable: epoll reports
the arrival, not the state. It sleeps, and takes no processor time.

That is the saving of this mode and its danger. Nothing is told twice, so a loop has no event to
switch off. And whoever takes only a part of what is there is never told of the rest: two clients
that arrive together may be one event, so accept (or read) until BlockingIOError says that there is
nothing more. The rung ``edge_triggered`` does.
"""

from __future__ import annotations

import contextlib

from epoll import EPOLLET, EPOLLIN, Epoll

from ._common import (
    Log,
    OnListening,
    OnTurn,
    announce,
    command_line,
    nothing,
    open_listener,
    run,
    say,
)


def serve(
    host: str = "127.0.0.1",
    port: int = 65432,
    *,
    backlog: int = 3,
    count: int | None = None,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Report each EPOLLIN of a listening socket that nobody accepts from, until KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps.
        count: end after so many events; None never ends.
        on_listening: called with host and real port; None prints them.
        on_turn: called at the start of each turn.
        log: gets the line for each event.

    Raises:
        OSError: the address cannot be listened on.
    """
    with (
        contextlib.suppress(KeyboardInterrupt),
        open_listener(host, port, backlog) as listener,
        Epoll() as poller,
    ):
        poller.register(listener, EPOLLIN | EPOLLET)
        announce(listener, on_listening)
        seen = 0
        while count is None or seen < count:
            on_turn()
            for _, events in poller.poll():
                if events & EPOLLIN:
                    log("You received an EPOLLIN event")
                    seen += 1


def main() -> int:
    """Run as a program."""
    parser = command_line(__doc__, port=65432, backlog=3)
    parser.add_argument("--count", type=int, help="end after so many events (default: never)")
    return run(serve, parser)


if __name__ == "__main__":
    raise SystemExit(main())
