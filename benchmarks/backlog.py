"""The experiment with the queue of the listening socket: does a small backlog cost anything?

    python benchmarks/backlog.py [--clients N] [--seconds N] [--backlogs N,N,...]

A hundred HTTP clients at once (``ab -c 100``) load the level-triggered server of the ladder, which
is started anew with each backlog. A client that finds the queue full is not refused: the kernel
drops a packet of its handshake, and the client tries again after a second, then two, then four.

How to read the table: the damage of a short queue is in the column "longest". The average may even
praise it, because ``ab`` lets the few clients that got in do the work of those who wait. For the
same reason the load must last longer than the first wait of one second: a shorter one ends before
anybody has tried again, and shows nothing.

Overflows are ListenOverflows of /proc/net/netstat: how often the kernel dropped a connection
because a queue was full, during the load, in this network namespace. The kernel bounds the backlog
by net.core.somaxconn and lets one connection more than the backlog wait.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BACKLOGS = (1, 2, 5, 10, 50, 128)
NETSTAT = Path("/proc/net/netstat")
SOMAXCONN = Path("/proc/sys/net/core/somaxconn")
#: However long the load lasts, there are no more requests than this.
MOST_REQUESTS = 1_000_000
#: Seconds after which ``ab`` or a server that should have ended counts as hanging.
PATIENCE = 20


@dataclass(frozen=True)
class Result:
    """What the load with one backlog measured."""

    backlog: int
    requests_per_second: float
    longest_ms: int
    failed: int
    overflows: int | None  #: None where the kernel's counter cannot be read


def main() -> int:
    """Run the experiment and print its table."""
    options = parse_arguments()
    ab = shutil.which("ab")
    if ab is None:
        print(
            "error: the program ab is missing; on Debian it is in the package apache2-utils "
            "(apt-get install apache2-utils)",
            file=sys.stderr,
        )
        return 1
    print(
        f"{options.clients} clients at once for {options.seconds} s, "
        f"net.core.somaxconn = {read_number(SOMAXCONN)}"
    )
    print(f"{'backlog':>8}{'requests/s':>12}{'longest ms':>12}{'failed':>8}{'overflows':>11}")
    try:
        for backlog in options.backlogs:
            result = measure(ab, backlog, options.clients, options.seconds)
            overflows = "unknown" if result.overflows is None else result.overflows
            print(
                f"{result.backlog:>8}{result.requests_per_second:>12.0f}{result.longest_ms:>12}"
                f"{result.failed:>8}{overflows:>11}",
                flush=True,
            )
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/backlog.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clients", type=positive, default=100, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=positive, default=3, help="with each backlog (default: %(default)s)"
    )
    parser.add_argument(
        "--backlogs",
        type=lambda text: [positive(number) for number in text.split(",")],
        default=list(BACKLOGS),
        metavar="N,N,...",
        help=f"default: {','.join(map(str, BACKLOGS))}",
    )
    return parser.parse_args()


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def measure(ab: str, backlog: int, clients: int, seconds: int) -> Result:
    """Start a server with this backlog, load it, and return what happened."""
    load = ["-q", "-r", "-c", str(clients), "-t", str(seconds), "-n", str(MOST_REQUESTS)]
    with server(backlog) as url:
        before = listen_overflows()
        done = subprocess.run(
            [ab, *load, url],
            capture_output=True,
            encoding="utf-8",
            timeout=seconds + PATIENCE,
            check=False,
        )
        after = listen_overflows()
    if done.returncode != 0:
        raise RuntimeError(f"ab failed: {done.stderr.strip()}")
    return Result(
        backlog=backlog,
        requests_per_second=float(find(r"Requests per second:\s+([\d.]+)", done.stdout)),
        longest_ms=int(find(r"100%\s+(\d+) \(longest request\)", done.stdout)),
        failed=int(find(r"Failed requests:\s+(\d+)", done.stdout)),
        overflows=None if before is None or after is None else after - before,
    )


@contextmanager
def server(backlog: int) -> Iterator[str]:
    """Run the level-triggered server for the time of the block; give its URL."""
    command = [sys.executable, "-m", "epoll.servers.level_triggered", "--quiet", "--port", "0"]
    with subprocess.Popen(
        [*command, "--backlog", str(backlog)], stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("listening on "):
                raise RuntimeError("the server did not start")
            yield f"http://{line.removeprefix('listening on ').strip()}/"
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
        finally:
            process.kill()


def find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"ab printed nothing like {pattern!r}:\n{text}")
    return match[1]


def listen_overflows() -> int | None:
    """Return the kernel's counter ListenOverflows; None when it cannot be read."""
    try:
        lines = NETSTAT.read_text().splitlines()
    except OSError:
        return None
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    counters = dict(zip(names[1:], values[1:], strict=True))
    overflows = counters.get("ListenOverflows")
    return None if overflows is None else int(overflows)


def read_number(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return "unknown"


if __name__ == "__main__":
    raise SystemExit(main())
