"""One active descriptor among many idle ones: what one event costs, as a table and as a plot."""

from __future__ import annotations

import importlib.util
import statistics
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.measure import (
    NotAvailableError,
    Report,
    Settings,
    Table,
    interleave,
    load_core,
    pinned_to,
)
from benchmarks.micro.waiters import FD_SETSIZE, WAITERS, Wait, one_active
from benchmarks.operations import SCALING_IDLE, SCALING_WAITERS
from benchmarks.servers import ROOT, raise_descriptor_limit, require_module

SAMPLES_PER_ROUND = 10
CALLS_PER_SAMPLE = 50
IMAGE = ROOT / "docs" / "images" / "scaling"

Curves = dict[str, dict[int, float]]  # waiter: idle descriptors: microseconds


def measure(name: str, settings: Settings) -> Report:
    """Measure every waiter with every number of idle descriptors."""
    report = Report()
    waiters = list(SCALING_WAITERS)
    try:
        require_module("epoll")
    except NotAvailableError as reason:
        report.missing["epoll.Epoll"] = str(reason)
        waiters.remove("epoll.Epoll")
    curves: Curves = {waiter: {} for waiter in waiters}
    with pinned_to(load_core()):
        for idle in SCALING_IDLE:
            try:
                raise_descriptor_limit(idle + 100)
            except NotAvailableError as reason:
                report.missing[f"{idle} descriptors"] = str(reason)
                continue
            _measure_one(idle, waiters, settings, curves)
    report.samples["microseconds"] = curves
    report.tables.append(_tabulate(curves))
    _plot(curves, report)
    return report


def _measure_one(idle: int, waiters: list[str], settings: Settings, curves: Curves) -> None:
    with one_active(idle) as descriptors, ExitStack() as stack:
        waits = {
            name: stack.enter_context(WAITERS[name](descriptors))
            for name in waiters
            if name != "select.select" or max(descriptors) < FD_SETSIZE
        }
        samples = interleave(
            {name: partial(_time, wait) for name, wait in waits.items()},
            settings.rounds * SAMPLES_PER_ROUND,
        )
    for name, times in samples.items():
        curves[name][idle] = statistics.median(times)


def _time(wait: Wait) -> float:
    """Return the microseconds of one call, each of which reports one event."""
    wait()
    begin = time.perf_counter_ns()
    for _ in range(CALLS_PER_SAMPLE):
        wait()
    return (time.perf_counter_ns() - begin) / CALLS_PER_SAMPLE / 1e3


def _tabulate(curves: Curves) -> Table:
    table = Table(
        "microseconds per event, by number of idle descriptors",
        ["waiter", *(f"{idle:,}" for idle in SCALING_IDLE)],
    )
    for waiter, times in curves.items():
        table.rows.append([waiter, *(times.get(idle, "impossible") for idle in SCALING_IDLE)])
    return table


def _plot(curves: Curves, report: Report) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        report.missing["plot"] = "no module 'matplotlib' in this Python"
        return
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "scaling"  # the same picture gives the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    styles = ("v:", "s--", "D-.", "o-")
    for style, (waiter, times) in zip(styles, curves.items(), strict=False):
        axes.loglog(list(times), list(times.values()), style, label=waiter, linewidth=2)
    axes.set_xlabel("idle descriptors beside the active one", fontsize=12)
    axes.set_ylabel("microseconds per event", fontsize=12)
    axes.set_title("The cost of one event among many idle descriptors", fontsize=13)
    axes.set_xticks(SCALING_IDLE, [f"{idle:,}" for idle in SCALING_IDLE])
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(visible=True, which="major", alpha=0.4)
    axes.tick_params(labelsize=11)
    axes.legend(fontsize=11)
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGE.with_suffix(".png"), dpi=120)
    figure.savefig(IMAGE.with_suffix(".svg"), metadata={"Date": None})
    pyplot.close(figure)
    report.notes.append(f"plot: {_relative(IMAGE)}.png and .svg")


def _relative(path: Path) -> Path:
    return path.relative_to(ROOT)
