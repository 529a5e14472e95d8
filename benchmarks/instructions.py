"""Counts the instructions of low-level operations with callgrind.

``python benchmarks/instructions.py [CASE ...] [--json FILE]``

The operations are those of the cases ``poll`` and ``selector`` in ``operations.py``, and the work
on event loops in ``loop_operations.py``. Each one runs twice in a child under callgrind, with few
and with many repetitions; the difference, divided by the number of additional repetitions, is the
cost of one: start-up, imports and registration cancel out. The counts are the same on a busy
machine. They do not contain the kernel's part, which is the same for all peers, so their ratios are
larger than those of the times.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the modules of this folder are imported as benchmarks.*

from benchmarks.loop_operations import BASELINE, LOOP_WORK, LOOPS, SUBJECT, LoopWork  # noqa: E402
from benchmarks.measure import NotAvailableError, Report, Table, format_cell  # noqa: E402
from benchmarks.micro import loops as micro_loops  # noqa: E402
from benchmarks.micro.loops import ready_descriptors  # noqa: E402
from benchmarks.operations import CASES, MICROS, Micro  # noqa: E402
from benchmarks.servers import require_module  # noqa: E402

FEW, MANY = 20, 120
LOOP_FEW, LOOP_MANY = 1000, 3000
NOT_COUNTED = {"loop-children"}  # the work is that of other processes
COUNTED = (*MICROS, *(case for case in LOOP_WORK if case not in NOT_COUNTED))
CHILD_LIMIT = 120.0  # seconds; a child takes about five


def repeat_operation(name: str, ready: int, *, iterate: bool, count: int) -> None:
    """Run an operation; what the child does."""
    with (
        ready_descriptors(ready) as descriptors,
        micro_loops.LOOPS[name](descriptors, iterate=iterate) as run,
    ):
        run(count)


def count_instructions(name: str, micro: Micro) -> float:
    """Return the instructions of one operation.

    Raises:
        NotAvailableError: it does not exist, or it cannot run here.
    """
    few, many = (_collect(name, micro, count) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _collect(name: str, micro: Micro, count: int) -> int:
    operation = ["--child", name, str(micro.ready), str(int(micro.iterate)), str(count)]
    return _run_under_callgrind(__file__, *operation)


def count_instructions_of_work(work: LoopWork, loop: str) -> float:
    """Return the instructions of one operation on an event loop.

    Raises:
        NotAvailableError: the work fails on that loop.
    """
    module = ("-m", "benchmarks.loops.sample", loop, work.work)
    few, many = (_run_under_callgrind(*module, str(n), "0") for n in (LOOP_FEW, LOOP_MANY))
    return (many - few) / (LOOP_MANY - LOOP_FEW)


def _run_under_callgrind(*program: str) -> int:
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    child = subprocess.run(
        [*valgrind, sys.executable, *program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CHILD_LIMIT,
        env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    found = re.search(r"Collected : (\d+)", child.stderr)
    if child.returncode != 0 or found is None:
        errors = [line for line in child.stderr.splitlines() if not line.startswith("==")]
        raise NotAvailableError(errors[-1] if errors else child.stderr.strip())
    return int(found[1])


def measure(case: str) -> Report:
    """Count all operations of one case."""
    return _measure_work(case) if case in LOOP_WORK else _measure_micro(case)


def _measure_work(case: str) -> Report:
    report = Report()
    columns = ["work", "loop", "instructions", f"of {BASELINE}", "ratio"]
    table = Table("instructions of one operation", columns)
    for work in LOOP_WORK[case]:
        counts: dict[str, float] = {}
        for loop in (BASELINE, SUBJECT, "asyncio"):
            try:
                require_module(LOOPS[loop].needs)
                counts[loop] = count_instructions_of_work(work, loop)
            except NotAvailableError as reason:
                report.missing[f"{work.title} on {loop}"] = str(reason)
                continue
            if BASELINE in counts:
                ratio = f"{counts[BASELINE] / counts[loop]:.2f}"
                table.rows.append([work.title, loop, counts[loop], counts[BASELINE], ratio])
                print(*(format_cell(cell) for cell in table.rows[-1]), sep="  ", flush=True)
        report.samples[work.title] = counts
    report.tables.append(table)
    return report


def _measure_micro(case: str) -> Report:
    report = Report()
    baseline = MICROS[case][0].baseline
    columns = ["operation", "setting", "instructions", "of peer", "ratio"]
    table = Table(f"instructions of one operation; peer: {baseline}", columns)
    for micro in MICROS[case]:
        theirs = count_instructions(micro.baseline, micro)
        report.samples[str(micro)] = {micro.baseline: theirs}
        for name in micro.subjects:
            if name in report.missing:
                continue
            try:
                ours = count_instructions(name, micro)
            except NotAvailableError as reason:
                report.missing[name] = str(reason)
                continue
            report.samples[str(micro)][name] = ours
            table.rows.append([name, str(micro), ours, theirs, f"{theirs / ours:.2f}"])
            print(*(format_cell(cell) for cell in table.rows[-1]), sep="  ", flush=True)
    report.tables.append(table)
    return report


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Count instructions with callgrind.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(COUNTED)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.cases) - set(COUNTED)
    if unknown:
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(COUNTED)}")
    return arguments


def main() -> int:
    arguments = parse_arguments()
    if arguments.child is not None:
        name, ready, iterate, count = arguments.child
        repeat_operation(name, int(ready), iterate=iterate == "1", count=int(count))
        return 0
    if shutil.which("valgrind") is None:
        print("not available: no valgrind in PATH")
        return 1
    from benchmarks.run import print_report, write_json

    results = []
    for case in arguments.cases or COUNTED:
        title = f"{CASES[case].title}: instructions"
        report = measure(case)
        print_report(title, report)
        command = f"python benchmarks/instructions.py {case}"
        entry = {"name": f"{case}-instructions", "title": title, "command": command}
        results.append(entry | report.as_json())
        if arguments.json is not None:
            write_json(arguments.json, results, {"repetitions": MANY - FEW})
    return 1 if any(result["missing"] for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
