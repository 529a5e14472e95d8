"""Low-level operations in this process, in short interleaved samples."""

from __future__ import annotations

import gc
import statistics
import time
from contextlib import ExitStack
from functools import partial

from benchmarks.measure import (
    NotAvailableError,
    Report,
    Settings,
    Table,
    interleave,
    load_core,
    pinned_to,
    ratio_of,
    verdict,
)
from benchmarks.micro.loops import LOOPS, Loop, ready_descriptors
from benchmarks.operations import MICROS, Micro
from benchmarks.servers import raise_descriptor_limit, require_module

# A sample of settings.seconds would meet every disturbance of the machine; many short ones in turn
# share the disturbances, and the median drops them.
SAMPLES_PER_ROUND = 10
SHARE_OF_SECONDS = 0.01


def measure(name: str, settings: Settings) -> Report:
    """Measure all operations of a case in alternation with their baseline."""
    report = Report()
    try:
        require_module("epoll")
        raise_descriptor_limit(4096)
    except NotAvailableError as reason:
        report.missing["epoll"] = str(reason)
        return report
    table = Table(
        "time of one operation", ["operation", "setting", "ns", "ns of peer", "ratio", "target"]
    )
    with pinned_to(load_core()):
        for micro in MICROS[name]:
            _compare(micro, settings, report, table)
    table.title += f"; peer: {MICROS[name][0].baseline}"
    report.tables.append(table)
    return report


def _compare(micro: Micro, settings: Settings, report: Report, table: Table) -> None:
    with ready_descriptors(micro.ready) as descriptors, ExitStack() as stack:
        loops = {}
        for name in (micro.baseline, *micro.subjects):
            try:
                loops[name] = stack.enter_context(LOOPS[name](descriptors, iterate=micro.iterate))
                loops[name](1)
            except AttributeError as reason:
                loops.pop(name, None)
                report.missing[name] = str(reason)
        samples = _time(loops, settings)
    report.samples[str(micro)] = samples
    baseline = samples[micro.baseline]
    for name in micro.subjects:
        if name in samples:
            ratio = ratio_of(baseline, samples[name])
            times = (statistics.median(samples[name]), statistics.median(baseline))
            target = verdict(ratio.median, micro.targets.get(name))
            table.rows.append([name, str(micro), *times, str(ratio), target])


def _time(loops: dict[str, Loop], settings: Settings) -> dict[str, list[float]]:
    """Return the nanoseconds per operation of every sample."""
    counts = {
        name: _calibrate(loop, settings.seconds * SHARE_OF_SECONDS) for name, loop in loops.items()
    }

    def sample(name: str) -> float:
        begin = time.perf_counter_ns()
        loops[name](counts[name])
        return (time.perf_counter_ns() - begin) / counts[name]

    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return interleave(
            {name: partial(sample, name) for name in loops},
            settings.rounds * SAMPLES_PER_ROUND,
        )
    finally:
        if was_enabled:
            gc.enable()


def _calibrate(loop: Loop, seconds: float) -> int:
    """Find how many operations take about that long; this also warms everything up."""
    count = 1
    while True:
        begin = time.perf_counter()
        loop(count)
        elapsed = time.perf_counter() - begin
        if elapsed >= seconds / 4:
            return max(1, round(count * seconds / elapsed))
        count *= 2
