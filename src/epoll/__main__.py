"""The command ``epoll``: ``epoll serve TARGET``, also as ``python -m epoll serve TARGET``."""

from __future__ import annotations

import argparse
import importlib
import logging
import resource
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from types import FrameType
from typing import Any

from .servers import native

_FRAMINGS = ("raw", "line", "null", "length16", "length32")
_TARGETS = """\
TARGET is one of
  echo            send back what comes, in C++ alone
  hello           HTTP "Hello, world!", in C++ alone
  module:handler  def handler(message: bytes) -> bytes | None, or with the connection as a second
                  argument; the module is looked for in the current directory, too

Ctrl-C or SIGTERM stops: what is in flight is answered within the grace, and the exit code is 0. A
second signal cuts it off.
"""


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1e9:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1e9 seconds, not {text}")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"must be between 0 and 65535, not {number}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="epoll", description="Linux epoll for Python.")
    parser.add_argument("--version", action="version", version=f"pyepoll {version('pyepoll')}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_options(
        commands.add_parser(
            "serve",
            help="run a native server",
            description="Run a native epoll server.",
            epilog=_TARGETS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    return parser


def _add_options(serve: argparse.ArgumentParser) -> None:
    defaults = native.Options()
    add = serve.add_argument
    add("target", metavar="TARGET", help="what answers; see below")
    add("--host", default=defaults.host, help="name or address (default: %(default)s)")
    add("--port", type=_port, default=defaults.port, help="0: any (default: %(default)s)")
    add("--unix", metavar="PATH", help="listen on a Unix socket instead")
    add("--framing", choices=_FRAMINGS, default=defaults.framing, help="default: %(default)s")
    add("--backlog", type=_positive, default=defaults.backlog, help="default: %(default)s")
    add("--workers", type=_positive, default=1, help="processes (default: %(default)s)")
    add(
        "--max-message",
        type=_positive,
        default=defaults.max_message,
        metavar="BYTES",
        help="a longer message closes its connection (default: %(default)s)",
    )
    add(
        "--high-water",
        type=_positive,
        default=defaults.high_water,
        metavar="BYTES",
        help="unsent answers at which reading stops (default: %(default)s)",
    )
    add(
        "--idle-timeout",
        type=_seconds,
        default=defaults.idle_timeout,
        metavar="SECONDS",
        help="close connections on which nothing moves; 0: never (default: %(default)s)",
    )
    add(
        "--grace",
        type=_seconds,
        default=defaults.grace,
        metavar="SECONDS",
        help="for what is in flight when it stops (default: %(default)s)",
    )
    add("--no-delay", action="store_true", help="set TCP_NODELAY")
    add(
        "--log-level",
        choices=("debug", "info", "warning", "error", "critical"),
        default="warning",
        help="default: %(default)s",
    )


def _find_handler(target: str) -> native.Handler:
    """Return the handler that TARGET names. Raises ValueError with words for the user."""
    if target in ("echo", "hello"):
        return target  # type: ignore[return-value]
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"TARGET must be echo, hello or module:handler, not {target!r}")
    sys.path.insert(0, "")
    try:
        handler: Any = importlib.import_module(module_name)
        for part in name.split("."):
            handler = getattr(handler, part)
    except ModuleNotFoundError as error:
        if error.name is not None and module_name.startswith(error.name):
            raise ValueError(f"there is no module {module_name!r}") from None
        raise
    except AttributeError as error:
        raise ValueError(f"{target!r} does not exist: {error}") from None
    if not callable(handler):
        raise ValueError(f"{target!r} is not callable")
    return handler  # type: ignore[no-any-return]


def _allow_all_descriptors() -> None:
    # The soft limit is 1,024 for the sake of select(2), which nothing here uses.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 for a failure, 2 for a wrong call."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    del options["command"]
    logging.basicConfig(level=options.pop("log_level").upper())
    try:
        handler = _find_handler(options.pop("target"))
    except ValueError as error:
        print(f"epoll serve: {error}", file=sys.stderr)
        return 2
    _allow_all_descriptors()
    is_served = False

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if not is_served:
            raise SystemExit(0)  # asked to stop before it has begun

    def on_listening(address: native.Address) -> None:
        nonlocal is_served
        is_served = True  # and from here on the server knows what a signal means
        _say(f"listening on {native.text_of(address)}")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        done = native.serve(handler, on_listening=on_listening, **options)
    except ValueError as error:
        print(f"epoll serve: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"epoll serve: {error.strerror or error}", file=sys.stderr)
        return 1
    _say("statistics: " + " ".join(f"{name}={value}" for name, value in done._asdict().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
