"""A large file over loopback, on every event loop and by hand: a fresh process for every sample."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

from benchmarks.loop_operations import FILE_SIZE, FILE_STYLES, FILE_TARGET, SUBJECT
from benchmarks.loops.comparison import Comparison, Sample, available_loops
from benchmarks.loops.files import SYSTEM_CALL
from benchmarks.measure import Report, Settings, interleave
from benchmarks.servers import ROOT

SAMPLE_LIMIT = 60.0  # seconds after which a sample counts as hanging


def measure(name: str, settings: Settings) -> Report:
    """Measure every loop, in turn with the system call."""
    report = Report()
    comparison = Comparison([SYSTEM_CALL, *available_loops(settings, report)])
    for style in filter(settings.selects, FILE_STYLES):
        subjects = {}
        for subject in comparison.columns:
            try:
                _sample(subject, style, 1 << 20)
                subjects[subject] = partial(_sample, subject, style, FILE_SIZE)
            except RuntimeError as reason:
                report.missing[f"{style} on {subject}"] = str(reason)
        comparison.rows[style] = interleave(subjects, settings.rounds)
    report.samples.update(comparison.rows)
    report.tables = [comparison.medians("MB/s", lambda sample: sample["rate"] / 1e6)]
    for style in comparison.rows:
        outcome = comparison.verdict(
            style, SUBJECT, SYSTEM_CALL, lambda sample: sample["rate"], FILE_TARGET
        )
        report.notes.append(f"{style}: {SUBJECT} against sendfile(2): {outcome}")
    return report


def _sample(subject: str, style: str, size: int) -> Sample:
    command = [sys.executable, "-m", "benchmarks.loops.files", subject, style, str(size)]
    child = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=SAMPLE_LIMIT, check=False
    )
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines() or [f"exit status {child.returncode}"]
        raise RuntimeError(lines[-1])
    seconds: float = json.loads(child.stdout)["seconds"]
    return {"rate": size / seconds}
