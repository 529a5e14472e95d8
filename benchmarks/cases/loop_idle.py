"""Ten thousand connections that keep still beside a hundred that do not, on every event loop."""

from __future__ import annotations

from functools import partial

from benchmarks.cases.idle import connected
from benchmarks.loop_operations import CROWD_IDLE, CROWD_LOAD, CROWD_STYLES, server_name
from benchmarks.loops.comparison import Comparison, Sample, available_loops
from benchmarks.measure import (
    NotAvailableError,
    Report,
    Settings,
    interleave,
    load_core,
    pinned_to,
)
from benchmarks.servers import raise_descriptor_limit, require, running, send_load

MOST_ROUNDS = 3  # memory is not noisy, and a round takes seconds
SPARE_DESCRIPTORS = 400


def measure(name: str, settings: Settings) -> Report:
    """Measure memory and latency of every loop, in turn."""
    report = Report()
    comparison = Comparison(available_loops(settings, report))
    raise_descriptor_limit(CROWD_IDLE + SPARE_DESCRIPTORS)
    for style in filter(settings.selects, CROWD_STYLES):
        subjects = _subjects(style, comparison.columns, settings, report)
        comparison.rows[style] = interleave(subjects, min(settings.rounds, MOST_ROUNDS))
    report.samples.update(comparison.rows)
    idle, active = f"{CROWD_IDLE:,} idle connections", f"{CROWD_LOAD.connections} active ones"
    report.tables = [
        comparison.medians(f"{idle}: bytes of RSS for each", lambda sample: sample["rss"]),
        comparison.medians(f"{active} beside them: p99, µs", lambda sample: sample["p99"]),
        comparison.medians(f"{active} beside them: messages/s", lambda sample: sample["rate"]),
    ]
    report.notes.append("wanted: less memory and a lower p99 than uvloop")
    return report


def _subjects(
    style: str, loops: list[str], settings: Settings, report: Report
) -> dict[str, partial[Sample]]:
    subjects = {}
    for loop in loops:
        server = server_name(style, loop)
        try:
            require(server)
            with running(server):
                subjects[loop] = partial(_sample, server, settings)
        except NotAvailableError as reason:
            report.missing[server] = str(reason)
    return subjects


def _sample(name: str, settings: Settings) -> Sample:
    with running(name) as server, pinned_to(load_core()):
        with connected(server, 1):  # whatever the first connection costs is not counted
            pass
        before = server.memory_bytes("Rss")
        with connected(server, CROWD_IDLE):
            memory = server.memory_bytes("Rss") - before
            times = ("--duration", str(settings.seconds), "--warmup", str(settings.warmup))
            report = send_load(server, CROWD_LOAD, *times)
    return {
        "rss": memory / CROWD_IDLE,
        "p99": report["latency_us"]["p99"],
        "rate": report["rate"],
    }
