"""Compare the raw C API with nanobind: the cost of a call and what each can express.

    python -m venv venv && venv/bin/pip install cmake ninja "nanobind>=3"
    venv/bin/cmake -G Ninja -S benchmarks/binder -B build -DPython_EXECUTABLE=$PWD/venv/bin/python
    venv/bin/cmake --build build
    venv/bin/python benchmarks/binder/measure.py time build
    venv/bin/python benchmarks/binder/measure.py instructions build    # needs valgrind
    venv/bin/python benchmarks/binder/measure.py facts build

Times are medians of interleaved rounds in nanoseconds, instruction counts come from callgrind;
from both the cost of the empty loop is taken away.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from dataclasses import dataclass
from pathlib import Path

MODULES = ("with_c_api", "with_nanobind")
ROUNDS = 41
CALLS = 20_000
COUNTED_CALLS = 1_000

SETUP = """
import importlib
module = importlib.import_module(module_name)
nothing, sum_, descriptor = module.nothing, module.sum, module.descriptor
ready_pairs, Endpoint = module.ready_pairs, module.Endpoint
class Derived(Endpoint): pass
class FileLike:
    def fileno(self): return 7
file_like = FileLike()
data = bytes(64)
python_handler, c_handler = Endpoint(7, 1), Endpoint(7, 1)
python_handler.set_handler(lambda events: None)
c_handler.set_handler(abs)
"""


@dataclass(frozen=True)
class Operation:
    """One row of the table; ``share`` scales the calls of a slow operation down."""

    name: str
    statement: str
    share: float = 1.0


EMPTY = Operation("empty loop", "pass")
OPERATIONS = (
    Operation("function()", "nothing()"),
    Operation("function(int, int, int) -> int", "sum_(1, 2, 3)"),
    Operation("method(bytes) -> int", "c_handler.consume(data)"),
    Operation("method(int) that calls abs", "c_handler.notify(1)"),
    Operation("method(int) that calls a lambda", "python_handler.notify(1)"),
    Operation("Type(int, int)", "Endpoint(7, 1)"),
    Operation("PythonSubclass(int, int)", "Derived(7, 1)"),
    Operation("function(fd)", "descriptor(7)"),
    Operation("function(object with fileno)", "descriptor(file_like)"),
    Operation("function() -> list of 100 (int, int)", "ready_pairs()", 0.05),
)


def make_timer(operation: Operation, module: str) -> timeit.Timer:
    """Return a timer in nanoseconds for `operation` on `module`."""
    return timeit.Timer(
        operation.statement, SETUP, time.perf_counter_ns, globals={"module_name": module}
    )


def print_table(unit: str, rows: list[tuple[str, list[float]]]) -> None:
    """Print one markdown table: a row per operation, a column per module, their ratio."""
    print(f"| {unit} | C API | nanobind | ratio |\n| --- | ---: | ---: | ---: |")
    for name, (raw, bound) in rows:
        print(f"| {name} | {raw:,.0f} | {bound:,.0f} | {bound / raw:.2f} |")


def measure_time() -> None:
    """Print the median time of each operation, measured in rounds that alternate the modules."""
    timers = {(op, m): make_timer(op, m) for op in (EMPTY, *OPERATIONS) for m in MODULES}
    samples: dict[tuple[Operation, str], list[float]] = {key: [] for key in timers}
    for turn in range(ROUNDS):
        order = list(timers) if turn % 2 else list(reversed(timers))
        for operation, module in order:
            calls = int(CALLS * operation.share)
            nanoseconds = timers[operation, module].timeit(calls)
            samples[operation, module].append(nanoseconds / calls)
    medians = {key: statistics.median(values) for key, values in samples.items()}
    empty = statistics.fmean(medians[EMPTY, module] for module in MODULES)
    print_table(
        "ns per call", [(op.name, [medians[op, m] - empty for m in MODULES]) for op in OPERATIONS]
    )


def run_marked() -> None:
    """Run every operation between two getppid(2), at which callgrind writes a part."""
    for operation in (EMPTY, *OPERATIONS):
        for module in MODULES:
            timer = make_timer(operation, module)
            timer.timeit(COUNTED_CALLS // 10)  # specialise the bytecode
            os.getppid()
            timer.timeit(COUNTED_CALLS)
            os.getppid()


def measure_instructions(build: Path) -> None:
    """Print the instructions per call, counted by callgrind in a child."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *("valgrind", "--tool=callgrind", "--dump-before=getppid"),
                f"--callgrind-out-file={folder}/counts",
                *(sys.executable, __file__, "marked", str(build)),
            ],
            check=True,
            capture_output=True,
            env=os.environ | {"PYTHONHASHSEED": "0"},
            timeout=600,
        )
        parts = sorted(Path(folder).glob("counts.*"), key=lambda part: int(part.suffix[1:]))
        totals = [read_total(part) for part in parts]
    # Each pair of marks ends two parts: what led up to the operation, and the operation.
    counts = iter(totals[1::2])
    setup_free = {(op, m): next(counts) for op in (EMPTY, *OPERATIONS) for m in MODULES}
    print_table(
        "instructions per call",
        [
            (op.name, [(setup_free[op, m] - setup_free[EMPTY, m]) / COUNTED_CALLS for m in MODULES])
            for op in OPERATIONS
        ],
    )


def read_total(part: Path) -> int:
    """Return the number of instructions that a callgrind part reports."""
    for line in part.read_text().splitlines():
        if line.startswith(("totals:", "summary:")):
            return int(line.split()[1])
    raise ValueError(f"{part.name} has no total")


FACTS = {
    "import where each interpreter has its own GIL": """
import sys
if sys.version_info < (3, 13): raise SystemExit("not asked before Python 3.13")
import _interpreters
interpreter = _interpreters.create("isolated")
program = f"import sys; sys.path[:] = {sys.path!r}; import NAME; NAME.Endpoint(7, 1).consume(b'')"
failure = _interpreters.exec(interpreter, program)
raise SystemExit(failure.formatted if failure else 0)
""",
    "derive the C++ type from asyncio.Transport": """
import asyncio, NAME
NAME.bind_transport(NAME, asyncio.Transport)
class Derived(NAME.Transport): pass
for transport in NAME.Transport(), Derived():
    transport._extra = {"itself": transport}
    assert isinstance(transport, asyncio.Transport)
    assert transport.write(b"abc") == 3
    assert transport.get_extra_info("itself") is transport
""",
    "derive a Python class from the C++ type and asyncio.Transport": """
import asyncio, NAME
class Both(NAME.Endpoint, asyncio.Transport): pass
""",
    "collect a cycle through the handler": """
import gc, weakref, NAME
class Handler:
    def __call__(self, events): pass
handler = Handler()
handler.endpoint = NAME.Endpoint(7, 1)
handler.endpoint.set_handler(handler)
gone = weakref.ref(handler)
del handler
gc.collect()
assert gone() is None
""",
}


def check_facts(build: Path) -> None:
    """Try in a child process each what a binder must be able to do; print how it ended."""
    environment = os.environ | {"PYTHONPATH": str(build)}
    for name, script in FACTS.items():
        print(name)
        for module in MODULES:
            child = subprocess.run(
                [sys.executable, "-c", script.replace("NAME", module)],
                capture_output=True,
                text=True,
                env=environment,
                timeout=60,
            )
            lines = child.stderr.strip().splitlines()
            verdict = "yes" if child.returncode == 0 else f"no: {' '.join(lines[-2:]).strip()}"
            print(f"  {module:14} {verdict}")
    for module in MODULES:
        file = Path(importlib.import_module(module).__file__ or "")
        print(f"{module:16} {file.stat().st_size:,} bytes")


def main() -> None:
    """Run the part that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("part", choices=["time", "instructions", "facts", "marked"])
    parser.add_argument("build", type=Path, help="the folder with the two modules")
    options = parser.parse_args()
    build = options.build.resolve()
    sys.path.insert(0, str(build))
    if options.part == "marked":
        run_marked()
        return
    print(f"Python {platform.python_version()}, {platform.machine()}\n")
    match options.part:
        case "time":
            measure_time()
        case "instructions":
            measure_instructions(build)
        case "facts":
            check_facts(build)


if __name__ == "__main__":
    main()
