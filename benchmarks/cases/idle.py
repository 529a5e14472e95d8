"""Ten thousand connections that keep still: memory of each, processor time of all."""

from __future__ import annotations

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator

from benchmarks.measure import NotAvailableError, Report, Settings, Table, load_core, pinned_to
from benchmarks.operations import IDLE_CONNECTIONS, IDLE_SECONDS, IDLE_SERVERS
from benchmarks.servers import RunningServer, raise_descriptor_limit, require, running

# Each loopback address has its own ephemeral ports; so many are surely free on one that is new.
# The kernel keeps those of closed connections for a minute, so each crowd has a network of its own.
CONNECTIONS_PER_ADDRESS = 5000
NETWORKS = itertools.cycle(f"127.{high}.{low}" for high in range(1, 255) for low in range(256))
ANSWER_LIMIT = 10.0
COLUMNS = ["server", "RSS bytes/connection", "PSS bytes/connection", "CPU ms/s", "wake-ups/s"]


def measure(name: str, settings: Settings) -> Report:
    """Measure every server once: memory is not noisy, and still servers are still."""
    report = Report()
    table = Table(f"{IDLE_CONNECTIONS:,} connections, idle after one message each", COLUMNS)
    for server in IDLE_SERVERS:
        try:
            require(server)
            raise_descriptor_limit(IDLE_CONNECTIONS + 200)
            numbers = _measure_server(server)
        except NotAvailableError as reason:
            report.missing[server] = str(reason)
            continue
        report.samples[server] = numbers
        table.rows.append([server, *numbers.values()])
    report.tables.append(table)
    report.notes.append(f"processor time of the server during {IDLE_SECONDS:g} s of silence")
    return report


def _measure_server(name: str) -> dict[str, int | float]:
    with running(name) as server, pinned_to(load_core()):
        with connected(server, 1):  # whatever the first connection costs is not counted
            pass
        rss, pss = server.memory_bytes("Rss"), server.memory_bytes("Pss")
        with connected(server, IDLE_CONNECTIONS):
            numbers: dict[str, int | float] = {
                "rss": round((server.memory_bytes("Rss") - rss) / IDLE_CONNECTIONS),
                "pss": round((server.memory_bytes("Pss") - pss) / IDLE_CONNECTIONS),
            }
            numbers |= _watch(server)
    return numbers


def _watch(server: RunningServer) -> dict[str, float]:
    cpu, switches = server.cpu_seconds(), server.wake_ups()
    begin = time.monotonic()
    time.sleep(IDLE_SECONDS)
    elapsed = time.monotonic() - begin
    return {
        "cpu_ms_per_second": (server.cpu_seconds() - cpu) * 1e3 / elapsed,
        "wake_ups": (server.wake_ups() - switches) / elapsed,
    }


@contextlib.contextmanager
def connected(server: RunningServer, count: int) -> Iterator[None]:
    """Hold so many connections, each of which has been served one line."""
    network = next(NETWORKS)
    with contextlib.ExitStack() as stack:
        for number in range(count):
            source = f"{network}.{2 + number // CONNECTIONS_PER_ADDRESS}"
            connection = stack.enter_context(
                socket.create_connection(
                    (server.host, server.port), timeout=ANSWER_LIMIT, source_address=(source, 0)
                )
            )
            connection.sendall(b"idle\n")
            answer = connection.recv(64)
            if answer != b"idle\n":
                raise RuntimeError(f"{server.name} answered {answer!r} to its line")
        yield
