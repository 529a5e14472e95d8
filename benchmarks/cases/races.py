"""Servers under load, side by side: message rate, processor time per message, latency."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from benchmarks.measure import (
    NotAvailableError,
    Report,
    Settings,
    Table,
    interleave,
    ratio_of,
    verdict,
)
from benchmarks.operations import RACES, Load, Race
from benchmarks.servers import require, running, send_load

RATE_COLUMNS = [
    "server",
    "messages/s",
    "server CPU µs/message",
    "server busy %",
    "latency median µs",
    "p99 µs",
]
RATIO_COLUMNS = ["compared", "rate ratio (quartiles)", "target", "CPU ratio (quartiles)"]


def measure(name: str, settings: Settings) -> Report:
    """Measure all races of a case; a server that cannot run is reported and left out."""
    report = Report()
    for race in RACES[name]:
        _run_race(race, settings, report)
    return report


def _sample(server: str, load: Load, settings: Settings) -> dict[str, Any]:
    """Start a fresh server and load it once: the luck of one process is averaged out as well."""
    with running(server) as subject:
        sample = send_load(
            subject, load, "--duration", str(settings.seconds), "--warmup", str(settings.warmup)
        )
    sample["cpu_us"] = sample["server_cpu_seconds"] / sample["messages"] * 1e6
    sample["busy"] = sample["server_cpu_seconds"] / sample["seconds"] * 100
    return sample


def _available(race: Race, report: Report) -> list[str]:
    servers = []
    for server in (race.subject, *race.baselines):
        try:
            require(server)
            with running(server):
                servers.append(server)
        except NotAvailableError as reason:
            report.missing[server] = str(reason)
    return servers


def _run_race(race: Race, settings: Settings, report: Report) -> None:
    servers = _available(race, report)
    samples = interleave(
        {server: partial(_sample, server, race.load, settings) for server in servers},
        settings.rounds,
    )
    report.samples[str(race.load)] = samples
    rates = Table(str(race.load), RATE_COLUMNS)
    for server in servers:
        rates.rows.append([server, *_medians(samples[server])])
    report.tables.append(rates)
    report.tables.append(_compare(race, samples))


def _medians(samples: list[dict[str, Any]]) -> list[str | int | float]:
    return [
        statistics.median(sample[key] for sample in samples) for key in ("rate", "cpu_us", "busy")
    ] + [
        statistics.median(sample["latency_us"][key] for sample in samples)
        for key in ("median", "p99")
    ]


def _compare(race: Race, samples: dict[str, list[dict[str, Any]]]) -> Table:
    table = Table(f"{race.load}: {race.subject} / peer", RATIO_COLUMNS)
    for baseline, target in race.baselines.items():
        if race.subject not in samples or baseline not in samples:
            table.rows.append([f"against {baseline}", "not available", "", ""])
            continue
        ours, theirs = samples[race.subject], samples[baseline]
        rate = ratio_of([s["rate"] for s in ours], [s["rate"] for s in theirs])
        cpu = ratio_of([s["cpu_us"] for s in theirs], [s["cpu_us"] for s in ours])
        table.rows.append(
            [f"against {baseline}", str(rate), verdict(rate.median, target), str(cpu)]
        )
    return table
