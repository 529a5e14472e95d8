"""Starting, loading and stopping the servers of the registry."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from benchmarks.build import build
from benchmarks.loop_operations import LOOP_SERVERS
from benchmarks.measure import NotAvailableError, load_core, pinned_to, server_core
from benchmarks.operations import DATAGRAMS, SERVERS, Load

ROOT = Path(__file__).resolve().parent.parent
START_LIMIT = 15.0  # seconds until a server must have printed its address
STOP_LIMIT = 10.0  # seconds until a server must have ended after SIGTERM

_servers = SERVERS | LOOP_SERVERS


@dataclass(frozen=True)
class RunningServer:
    """A server process that accepts connections."""

    name: str
    pid: int
    host: str
    port: int
    errors: IO[bytes]  # what it writes to stderr

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, with nanosecond resolution."""
        process_cpu_clock = (~self.pid << 3) | 2  # what clock_getcpuclockid(3) makes of a pid
        return time.clock_gettime_ns(process_cpu_clock) / 1e9

    def user_seconds(self) -> float:
        """User time so far, in the kernel's ticks of a hundredth of a second."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) / os.sysconf("SC_CLK_TCK")

    def wake_ups(self) -> int:
        """How often its threads have gone to sleep so far."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(_number_of(task / "status", "voluntary_ctxt_switches") for task in tasks)

    def memory_bytes(self, key: str) -> int:
        """``Rss`` or ``Pss`` of /proc/PID/smaps_rollup, in bytes."""
        return _number_of(Path(f"/proc/{self.pid}/smaps_rollup"), key) * 1024


def _number_of(file: Path, key: str) -> int:
    for line in file.read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise LookupError(f"no {key} in {file}")


def require(name: str) -> None:
    """Check that a server can be started here.

    Raises:
        NotAvailableError: a module that it needs cannot be imported.
    """
    for module in _servers[name].needs:
        require_module(module)


def require_module(module: str) -> None:
    """Check that a module can be imported, in a child so that nothing is loaded here."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # the package around it
        found = None
    if found is None:
        raise NotAvailableError(f"no module {module!r} in this Python")
    child = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    if child.returncode != 0:
        raise NotAvailableError(f"import {module}: {child.stderr.strip().splitlines()[-1]}")


def raise_descriptor_limit(wanted: int) -> None:
    """Let this process and its children open so many descriptors.

    Raises:
        NotAvailableError: the hard limit is lower and may not be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(wanted, soft), max(wanted, hard)))
    except (ValueError, OSError) as failure:
        raise NotAvailableError(
            f"needs {wanted} descriptors, the limit is {hard}: {failure}"
        ) from None


@contextlib.contextmanager
def running(name: str) -> Iterator[RunningServer]:
    """Run a server of the registry on the servers' core for the time of the block.

    Raises:
        NotAvailableError: it cannot be started; the text has the end of its error output.
        RuntimeError: it was still running some seconds after SIGTERM.
    """
    try:
        folder = str(build())
    except RuntimeError as failure:
        raise NotAvailableError(str(failure)) from None
    command = [part.format(python=sys.executable, build=folder) for part in _servers[name].command]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with tempfile.TemporaryFile() as errors:  # unlike a pipe it never makes the server wait
        with pinned_to(server_core()):
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        try:
            host, port = _read_address(process, errors)
            yield RunningServer(name, process.pid, host, port, errors)
        finally:
            _stop(process)


def _read_address(process: subprocess.Popen[bytes], errors: IO[bytes]) -> tuple[str, int]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_LIMIT)
    line = process.stdout.readline().decode() if ready else ""
    if not line.startswith("listening on "):
        raise NotAvailableError(_last_line(errors) or f"printed {line!r}, not its address")
    host, _, port = line.removeprefix("listening on ").strip().rpartition(":")
    return host, int(port)


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeError(f"{process.args!r} did not end after SIGTERM") from None


def send_load(
    server: RunningServer, load: Load, *options: str, limit: float = 60
) -> dict[str, Any]:
    """Run the load client for the framing on its core and return its report.

    Raises:
        RuntimeError: a wrong answer, a closed connection or a time-out.
    """
    command = [
        str(build() / ("datagram_client" if load.framing == DATAGRAMS else "load_client")),
        *(server.host, str(server.port)),
        *("--connections", str(load.connections)),
        *("--size", str(load.size)),
        *("--pipeline", str(load.pipeline)),
        *_messages(server, load),
        *("--server-pid", str(server.pid)),
        *("--timeout", str(limit)),
        *options,
    ]
    with pinned_to(load_core()):
        child = subprocess.run(command, capture_output=True, text=True, timeout=limit + 10)
    if child.returncode != 0:
        reasons = [child.stderr.strip(), _last_line(server.errors)]
        raise RuntimeError(f"{server.name}, {load}: {'; server: '.join(filter(None, reasons))}")
    report: dict[str, Any] = json.loads(child.stdout)
    return report


def _messages(server: RunningServer, load: Load) -> list[str]:
    """Return the options for what is sent and what must come back."""
    if load.framing == "http":
        return ["--request", _request("keep-alive"), "--answer", _http_answer(server)]
    return [] if load.framing == DATAGRAMS else ["--framing", load.framing]


def _request(connection: str) -> str:
    return f"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n"


def _http_answer(server: RunningServer) -> str:
    """Return the first one of two answers; the second one closes the connection."""
    with socket.create_connection((server.host, server.port), timeout=START_LIMIT) as peer:
        peer.sendall((_request("keep-alive") + _request("close")).encode())
        answers = b"".join(iter(partial(peer.recv, 65536), b"")).decode()
    return answers[: answers.rindex("HTTP/1.1 ")]
