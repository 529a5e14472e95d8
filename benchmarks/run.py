"""Runs benchmarks and prints their tables.

``python benchmarks/run.py [CASE ...] [--rounds N] [--seconds S] [--short] [--json FILE]``

A CASE may be a pattern: ``loop-*`` is everything about event loops. For these there are also
``--loops epoll,uvloop`` and ``--only TEXT``, which choose loops and rows.

Exit status 1 means that something could not be measured; a missed target does not count.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the modules of this folder are imported as benchmarks.*

from benchmarks.environment import describe  # noqa: E402
from benchmarks.loop_operations import LOOPS  # noqa: E402
from benchmarks.measure import FAILURES, Report, Settings, format_table  # noqa: E402
from benchmarks.operations import CASES  # noqa: E402

SHORT = Settings(rounds=5, seconds=0.3, warmup=0.1)


def run_case(name: str, settings: Settings) -> Report:
    """Run one case of the registry; what goes wrong in it is part of its report."""
    module = importlib.import_module(f"benchmarks.cases.{CASES[name].module}")
    try:
        report: Report = module.measure(name, settings)
    except FAILURES as reason:
        report = Report(missing={name: f"{type(reason).__name__}: {reason}"})
    return report


def print_report(title: str, report: Report) -> None:
    """Print what was measured, then what was not."""
    print(f"\n=== {title} ===")
    for table in report.tables:
        if table.rows:
            print(f"\n{format_table(table)}")
    for note in report.notes:
        print(f"\n{note}")
    for subject, reason in report.missing.items():
        print(f"\nnot available: {subject}: {reason}")
    sys.stdout.flush()


def write_json(file: Path, cases: Iterable[dict[str, Any]], settings: dict[str, Any]) -> None:
    """Write the results of a run; ``render.py`` reads them."""
    result = describe() | {"settings": settings, "cases": list(cases)}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Benchmarks of pyepoll.",
        epilog="cases: " + "; ".join(f"{name}: {case.title}" for name, case in CASES.items()),
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", help="default: all")
    parser.add_argument("--short", action="store_true", help="5 rounds, 0.3 seconds")
    parser.add_argument("--rounds", type=int, help="rounds of every subject (7)")
    parser.add_argument("--seconds", type=float, help="per sample of a server (1)")
    parser.add_argument("--loops", metavar="LOOP,...", help="the event loops to compare")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows with TEXT in the title")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    arguments = parser.parse_args()
    names = {pattern: fnmatch.filter(CASES, pattern) for pattern in arguments.cases or "*"}
    unknown = [pattern for pattern, matching in names.items() if not matching]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(CASES)}")
    arguments.cases = [name for matching in names.values() for name in matching]
    arguments.loops = tuple(filter(None, (arguments.loops or "").split(",")))
    if unknown := [name for name in arguments.loops if name not in LOOPS]:
        parser.error(f"no loop {', '.join(unknown)}; there are {', '.join(LOOPS)}")
    return arguments


def choose_settings(arguments: argparse.Namespace) -> Settings:
    """Take what is given and leave the rest at its default.

    Raises:
        SystemExit: a number makes no sense.
    """
    chosen = SHORT if arguments.short else Settings()
    given = {name: getattr(arguments, name) for name in ("rounds", "seconds")}
    settings = replace(
        chosen,
        loops=arguments.loops,
        only=arguments.only,
        **{name: value for name, value in given.items() if value is not None},
    )
    if settings.rounds < 1 or not 0 < settings.seconds <= 60:
        sys.exit("--rounds must be at least 1, --seconds between 0 and 60")
    return settings


def main() -> int:
    arguments = parse_arguments()
    settings = choose_settings(arguments)
    print(f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    results: list[dict[str, Any]] = []
    for name in arguments.cases:
        begin = time.monotonic()
        report = run_case(name, settings)
        print_report(f"{name}: {CASES[name].title}", report)
        results.append(
            {
                "name": name,
                "title": CASES[name].title,
                "command": f"python benchmarks/run.py {name}",
                "elapsed_seconds": round(time.monotonic() - begin, 1),
                **report.as_json(),
            }
        )
        if arguments.json is not None:  # after every case: an interrupted run keeps what it has
            write_json(arguments.json, results, asdict(settings))
    return 1 if any(result["missing"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
