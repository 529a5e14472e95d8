"""What every rung of the ladder needs and none of them is about.

The command line, the listening socket, the printing, and the two ways in which ``accept`` says
"not now". The loops themselves are in the rungs, each in its own file.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

from ._hello import BODY

#: Who is told where the server listens: called once with the host and the real port.
OnListening = Callable[[str, int], object]
#: Who is told of each turn of a loop: called without arguments.
OnTurn = Callable[[], object]
#: Who gets the lines about connections and messages.
Log = Callable[[str], object]
Address = tuple[str, int]

#: How many bytes one ``recv`` may return.
READ_SIZE = 64 * 1024
#: A client is not read while this many bytes of answers wait for it. Without such a limit one
#: client that sends and never reads can fill the memory of the server.
QUEUE_LIMIT = 64 * 1024
#: For how many seconds accepting rests when the process has no free descriptor.
REST_SECONDS = 1.0

# accept(2): Linux reports errors that are already pending on the new connection. EPERM is a
# firewall's word.
_ALREADY_GONE = frozenset(
    {
        errno.ECONNABORTED,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
        errno.ETIMEDOUT,
    }
)
_SHOWN_BYTES = 1000


def nothing(*_: object) -> None:
    """Do nothing: the hook of those who do not want to be told."""


def say(line: str) -> None:
    """Print a line now, also when stdout is a pipe or a file."""
    print(line, flush=True)


def shown(data: bytes | bytearray) -> str:
    """Return bytes as text for the log: bounded, and without an error for any bytes.

    A read may end in the middle of a character, so a strict ``decode`` would kill the server.
    """
    text = bytes(data[:_SHOWN_BYTES]).decode(errors="backslashreplace")
    return text if len(data) <= _SHOWN_BYTES else f"{text}... ({len(data)} bytes)"


def open_listener(host: str, port: int, backlog: int, *, blocking: bool = False) -> socket.socket:
    """Return a listening TCP socket; port 0 takes any free port.

    SO_REUSEADDR is set, so a server can be started again while connections of its last life are
    still in TIME_WAIT. ``backlog`` is how many complete connections the kernel keeps until they
    are accepted (bounded by net.core.somaxconn); what comes beyond that is dropped, and the
    client tries again after a second.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=backlog)
    listener.setblocking(blocking)
    return listener


def announce(listener: socket.socket, on_listening: OnListening | None) -> None:
    """Tell where the server listens: to ``on_listening``, or on stdout when it is None."""
    host, port = listener.getsockname()[:2]
    if on_listening is None:
        say(f"listening on {host}:{port}")
    else:
        on_listening(host, port)


def try_accept(listener: socket.socket) -> tuple[socket.socket, Address] | None:
    """Accept one connection without waiting; the new socket does not block.

    Returns None when nobody waits. A client that was gone before we got here is passed over.

    Raises OSError when it cannot be done: mostly EMFILE, no descriptor is free. The connection
    then stays in the kernel's queue and the listener stays readable: a caller who simply asks
    again spins.
    """
    while True:
        try:
            connection, address = listener.accept()
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _ALREADY_GONE:
                continue
            raise
        connection.setblocking(False)
        return connection, address


def command_line(doc: str | None, *, port: int, backlog: int = 128) -> argparse.ArgumentParser:
    """Return the parser with the options that all rungs share; ``doc`` is the rung's docstring."""
    spec = sys.modules["__main__"].__spec__
    parser = argparse.ArgumentParser(
        prog=f"python -m {spec.name}" if spec else None,
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="0: any (default: %(default)s)")
    parser.add_argument(
        "--backlog",
        type=int,
        default=backlog,
        help="connections the kernel keeps until they are accepted (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="do not print each message")
    return parser


def http_command_line(doc: str | None) -> argparse.ArgumentParser:
    """Return the parser with the options of all HTTP rungs."""
    parser = command_line(doc, port=8080)
    parser.add_argument(
        "--body", type=str.encode, default=BODY, metavar="TEXT", help="what the answer says"
    )
    return parser


def _on_end_signals(action: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    signal.signal(signal.SIGINT, action)
    signal.signal(signal.SIGTERM, action)


def _wake_up_each_second() -> None:
    # A signal that comes after Python has last looked for signals and before the system call has
    # begun does not interrupt the call: it would be slept through until something else happens.
    # The alarm interrupts every call, and Python looks again.
    signal.signal(signal.SIGALRM, nothing)
    signal.setitimer(signal.ITIMER_REAL, 1.0, 1.0)


def run(serve: Callable[..., None], parser: argparse.ArgumentParser) -> int:
    """Run ``serve`` with the options of the command line until it ends; return the exit code.

    SIGTERM ends the program in the same way as SIGINT: as KeyboardInterrupt, code 0. The last
    line on stdout is ``turns: N``: how often the loop of the server went round.
    """
    options = vars(parser.parse_args())
    log = nothing if options.pop("quiet") else say
    turns = 0

    def count_turn() -> None:
        nonlocal turns
        turns += 1

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a Latin-1 terminal is no reason to die
    try:
        _on_end_signals(signal.default_int_handler)
        _wake_up_each_second()
        serve(**options, log=log, on_turn=count_turn)
        _on_end_signals(signal.SIG_IGN)  # it is ending already
    except KeyboardInterrupt:
        _on_end_signals(signal.SIG_IGN)
    except BrokenPipeError:  # who read our stdout has gone: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, OverflowError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # while Python ends, an alarm would kill us
    say(f"turns: {turns}")
    return 0
