"""Servers on every event loop under the same load: a fresh server for every sample."""

from __future__ import annotations

from functools import partial
from statistics import median

from benchmarks.loop_operations import C_SERVER, LOOP_RACES, SUBJECT, LoopRace, server_name
from benchmarks.loops.comparison import Comparison, Sample, available_loops
from benchmarks.measure import (
    FAILURES,
    Report,
    Settings,
    Table,
    interleave,
    verdict,
)
from benchmarks.operations import Load
from benchmarks.servers import require, running, send_load


def measure(name: str, settings: Settings) -> Report:
    """Measure every style of server on every loop, in turn."""
    report = Report()
    comparison = Comparison([*available_loops(settings, report), C_SERVER])
    selected = [race for race in LOOP_RACES if settings.selects(race.title)]
    for race in selected:
        subjects = _subjects(race, comparison.columns, settings, report)
        comparison.rows[race.title] = interleave(subjects, settings.rounds, report, race.title)
    report.samples.update(comparison.rows)
    report.tables = [
        comparison.ratios(
            "messages/s, uvloop = 1", _rate, {race.title: race.target for race in selected}
        ),
        comparison.medians("messages/s", _rate),
        comparison.medians("user time of the server, µs/message", _user_us),
        comparison.medians("user and system time of the server, µs/message", _cpu_us),
        comparison.medians("latency p99, µs", lambda sample: sample["p99"]),
        _other_targets(comparison, selected),
    ]
    return report


def _subjects(
    race: LoopRace, columns: list[str], settings: Settings, report: Report
) -> dict[str, partial[Sample]]:
    """Leave out, with its reason, a server that does not start."""
    subjects = {}
    for column in columns:
        if column == C_SERVER and race.against_c is None:
            continue
        server = column if column == C_SERVER else server_name(race.style, column)
        try:
            require(server)
            with running(server) as subject:
                send_load(subject, race.load, "--messages", "10")
            subjects[column] = partial(_sample, server, race.load, settings)
        except FAILURES as reason:
            report.missing[server] = str(reason)
    return subjects


def _sample(server: str, load: Load, settings: Settings) -> Sample:
    """Start a server, warm it up with one load, measure it under another one.

    The kernel counts user time in ticks, so that of a single sample is a rough number.
    """
    with running(server) as subject:
        send_load(subject, load, "--duration", str(settings.warmup))
        user = subject.user_seconds()
        report = send_load(subject, load, "--duration", str(settings.seconds))
        user = subject.user_seconds() - user
    return {
        "messages": report["messages"],
        "seconds": report["seconds"],
        "cpu_seconds": report["server_cpu_seconds"],
        "user_seconds": user,
        "p99": report["latency_us"]["p99"],
    }


def _other_targets(comparison: Comparison, races: list[LoopRace]) -> Table:
    table = Table(f"more targets of {SUBJECT}", ["case", "what", "target"])
    for race in races:
        if race.against_c is not None:
            held = comparison.verdict(race.title, SUBJECT, C_SERVER, _rate, race.against_c)
            table.rows.append([race.title, "messages/s, the C server = 1", held])
        samples = comparison.rows[race.title].get(SUBJECT)
        if race.user_us is not None and samples:
            held = verdict(median(map(_user_us, samples)), race.user_us, at_most=True)
            table.rows.append([race.title, "user time, µs/message", held])
    return table


def _rate(sample: Sample) -> float:
    return sample["messages"] / sample["seconds"]


def _user_us(sample: Sample) -> float:
    return sample["user_seconds"] / sample["messages"] * 1e6


def _cpu_us(sample: Sample) -> float:
    return sample["cpu_seconds"] / sample["messages"] * 1e6
