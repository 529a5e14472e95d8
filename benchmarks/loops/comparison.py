"""Which loops are compared, and the tables that all comparisons of loops have in common."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.loop_operations import BASELINE, LOOPS, SUBJECT
from benchmarks.measure import (
    NotAvailableError,
    Report,
    Settings,
    Table,
    format_cell,
    ratio_of,
    verdict,
)
from benchmarks.servers import require_module

Sample = Mapping[str, float]
Samples = Mapping[str, Sequence[Sample]]  # loop: its samples
Value = Callable[[Any], float]  # of one sample

NOTHING = "–"


def available_loops(settings: Settings, report: Report) -> list[str]:
    """Return the loops that are asked for and can be made here; report the others.

    A peer that was not asked for by name is only a note.
    """
    names = []
    absent = []
    for name in settings.loops or LOOPS:
        try:
            require_module(LOOPS[name].needs)
            names.append(name)
        except NotAvailableError as reason:
            if LOOPS[name].is_peer and not settings.loops:
                absent.append(name)
            else:
                report.missing[name] = str(reason)
    if absent:
        report.notes.append(f"not installed, so not compared: {', '.join(absent)}")
    return names


class Comparison:
    """Collects the samples of the rows of one table and makes the tables.

    ``columns`` are the subjects, in the order in which they are printed.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = list(columns)
        self.rows: dict[str, Samples] = {}

    def ratios(self, title: str, rate: Value, targets: Mapping[str, float]) -> Table:
        """Compare rates, uvloop = 1; the targets are those of the row's title."""
        table = Table(title, ["case", *self.columns, f"{SUBJECT} wanted"])
        for row, samples in self.rows.items():
            cells = [self._ratio(samples, name, BASELINE, rate) for name in self.columns]
            target = self.verdict(row, SUBJECT, BASELINE, rate, targets[row])
            table.rows.append([row, *cells, target])
        return table

    def medians(self, title: str, value: Value) -> Table:
        """Return the median of a value for every row and subject."""
        table = Table(title, ["case", *self.columns])
        for row, samples in self.rows.items():
            cells = [self._median(samples, name, value) for name in self.columns]
            table.rows.append([row, *cells])
        return table

    def verdict(
        self, row: str, subject: str, baseline: str, rate: Value, target: float | None
    ) -> str:
        """Say whether the subject reached its target."""
        samples = self.rows[row]
        if subject not in samples or baseline not in samples:
            return NOTHING if target is None else f"≥ {target:g}"
        measured = ratio_of(
            [rate(sample) for sample in samples[subject]],
            [rate(sample) for sample in samples[baseline]],
        )
        return verdict(measured.median, target)

    def _ratio(self, samples: Samples, subject: str, baseline: str, rate: Value) -> str:
        if subject not in samples or baseline not in samples:
            return NOTHING
        if subject == baseline:
            return "1"
        return str(
            ratio_of(
                [rate(sample) for sample in samples[subject]],
                [rate(sample) for sample in samples[baseline]],
            )
        )

    def _median(self, samples: Samples, name: str, value: Value) -> str:
        if name not in samples:
            return NOTHING
        return format_cell(statistics.median(value(sample) for sample in samples[name]))
