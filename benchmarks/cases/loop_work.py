"""Work inside one process, on every event loop: a fresh process for every sample."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

from benchmarks.loop_operations import LOOP_WORK, LoopWork
from benchmarks.loops.comparison import Comparison, Sample, available_loops
from benchmarks.measure import Report, Settings, interleave, load_core, pinned_to
from benchmarks.servers import ROOT

SAMPLE_LIMIT = 60.0  # seconds after which a sample counts as hanging


def measure(name: str, settings: Settings) -> Report:
    """Measure every kind of work of a case on every loop, in turn."""
    report = Report()
    loops = available_loops(settings, report)
    comparison = Comparison(loops)
    selected = [work for work in LOOP_WORK[name] if settings.selects(work.title)]
    with pinned_to(load_core()):
        for work in selected:
            subjects = _subjects(work, loops, settings, report)
            comparison.rows[work.title] = interleave(subjects, settings.rounds, report, work.title)
    report.samples.update(comparison.rows)
    targets = {work.title: work.target for work in selected}
    report.tables = [
        comparison.ratios("operations/s, uvloop = 1", _rate, targets),
        comparison.medians("ns for one operation", lambda sample: 1e9 / _rate(sample)),
        comparison.medians("user time for one operation, ns", _user_ns),
    ]
    return report


def _subjects(
    work: LoopWork, loops: list[str], settings: Settings, report: Report
) -> dict[str, partial[Sample]]:
    """Leave out, with its reason, a loop on which the work fails."""
    subjects = {}
    for loop in loops:
        try:
            _sample(work, loop, 0.001)
            subjects[loop] = partial(_sample, work, loop, settings.seconds)
        except RuntimeError as reason:
            report.missing[f"{work.title} on {loop}"] = str(reason)
        except subprocess.TimeoutExpired:
            report.missing[f"{work.title} on {loop}"] = f"not done after {SAMPLE_LIMIT:g} seconds"
    return subjects


def _sample(work: LoopWork, loop: str, seconds: float) -> Sample:
    command = [sys.executable, "-m", "benchmarks.loops.sample", loop, work.work]
    child = subprocess.run(
        [*command, str(work.count), str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SAMPLE_LIMIT,
    )
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines() or [f"exit status {child.returncode}"]
        raise RuntimeError(lines[-1])
    sample: Sample = json.loads(child.stdout)
    return sample


def _rate(sample: Sample) -> float:
    return sample["operations"] / sample["seconds"]


def _user_ns(sample: Sample) -> float:
    return sample["user_seconds"] / sample["operations"] * 1e9
