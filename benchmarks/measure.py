"""The method: interleaved rounds, medians, ratios per round; and the tables that come of it."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

Sample = TypeVar("Sample")


class NotAvailableError(Exception):
    """A subject cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Settings:
    """How much is measured: rounds of every subject, seconds of one sample of a server.

    Comparisons of event loops can be narrowed: to some ``loops`` (none: all that can be made), and
    to the rows that have the text ``only`` in their titles.
    """

    rounds: int = 7
    seconds: float = 1.0
    warmup: float = 0.3
    loops: tuple[str, ...] = ()
    only: str = ""

    def selects(self, title: str) -> bool:
        """Tell whether a row is to be measured."""
        return self.only in title


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of the single rounds, and their quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


@dataclass
class Table:
    """What is printed and rendered. Every cell is text or a number."""

    title: str
    columns: list[str]
    rows: list[list[str | int | float]] = field(default_factory=list)


@dataclass
class Report:
    """The outcome of one case: tables, raw samples, and what could not be measured."""

    tables: list[Table] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)  # subject: reason
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def server_core() -> int:
    """The core that servers run on."""
    return min(_cores)


def load_core() -> int:
    """The core for the load client and for everything that is measured in this process."""
    return max(_cores)


_cores = frozenset(os.sched_getaffinity(0))


@contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Pin the calling thread, and the processes that it starts meanwhile, to one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# What may go wrong with a subject; the others are measured all the same.
FAILURES = (NotAvailableError, RuntimeError, OSError, subprocess.SubprocessError)


def interleave(
    subjects: Mapping[str, Callable[[], Sample]],
    rounds: int,
    report: Report | None = None,
    title: str = "",
) -> dict[str, list[Sample]]:
    """Call every subject once per round. The order rotates, so that none is always the first.

    Where ``report`` is given, it gets the reason why a subject failed, as "<title> on <subject>",
    and the others go on without that one.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in subjects}
    for number in range(rounds):
        names = list(samples)
        start = number % len(names) if names else 0
        for name in names[start:] + names[:start]:
            try:
                samples[name].append(subjects[name]())
            except FAILURES as reason:
                if report is None:
                    raise
                report.missing[f"{title} on {name}"] = f"{type(reason).__name__}: {reason}"
                del samples[name]
    return samples


def ratio_of(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Compare two subjects round by round."""
    ratios = [a / b for a, b in zip(numerators, denominators, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(statistics.median(ratios), low, high)


def verdict(measured: float, target: float | None, *, at_most: bool = False) -> str:
    """Say whether a target was held. Equality to the printed two digits counts as held."""
    if target is None:
        return "–"
    measured = round(measured, 2)
    held = measured <= target if at_most else measured >= target
    return f"{'≤' if at_most else '≥'} {target:g}: {'held' if held else 'missed'}"


def format_cell(value: str | int | float) -> str:
    """Numbers with three significant digits at least and thousands separated."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if abs(value) < 100 else f"{value:.0f}"


def format_table(table: Table) -> str:
    """Lay a table out as text: the first column to the left, the others to the right."""
    lines = [table.columns] + [[format_cell(cell) for cell in row] for row in table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]

    def lay_out(line: Sequence[str]) -> str:
        first, *others = zip(line, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)])

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([table.title, rule, lay_out(lines[0]), rule, *map(lay_out, lines[1:])])
