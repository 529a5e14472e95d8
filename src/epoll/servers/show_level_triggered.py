"""Show what level-triggered means: the same news is told for as long as it is true.

This server never accepts. Its listening socket is readable from the moment somebody has connected,
and stays so. Level-triggered, which is what epoll does when nothing else is asked for, every
``poll`` returns at once with the same event: the program prints without end and takes a whole
processor. Run it, connect once (``python -m epoll.servers.echo_client``), and stop it with Ctrl-C,
or let it end by itself with ``--count 1000``.

That is the comfort of this mode and its danger. Nothing is lost when a program takes only a part
of what is there, since it is told again. And whoever leaves a condition true without wanting to
do something about it spins.

``show_edge_triggered`` differs in one flag.
"""

from __future__ import annotations

import contextlib

from epoll import EPOLLIN, Epoll

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
        poller.register(listener, EPOLLIN)
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
