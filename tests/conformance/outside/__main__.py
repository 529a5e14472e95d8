"""Run the tests of other projects on asyncio's loop and on ours, and compare.

    python -m tests.conformance.outside [--python PYTHON] [--wheel FILE] [SUITE ...]

The results are left in build/outside/results; report.py makes the page of the documentation from
them. The exit status is 1 when a test does worse on our loop than on asyncio's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.conformance.outside import environment
from tests.conformance.outside.comparing import Comparison, compare
from tests.conformance.outside.report import remarks, row
from tests.conformance.outside.running import Runner
from tests.conformance.outside.suites import SUITES


def show(result: Comparison) -> None:
    """Print a result as the page has it."""
    print("\n".join([row(result), *remarks(result)]), flush=True)


def main(arguments: list[str]) -> int:
    """Run the suites; the answer is the exit status."""
    names = [suite.name for suite in SUITES]
    parser = argparse.ArgumentParser(description="Run other projects' tests on our event loop.")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to run them with")
    parser.add_argument("--wheel", type=Path, help="of our package; else one is built")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(names)}")
    options = parser.parse_args(arguments)
    unknown = set(options.suites) - set(names)
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")
    version = environment.python_version(options.python)
    wheel = options.wheel or environment.build_wheel(options.python, version)
    is_bad = False
    for suite in SUITES:
        if options.suites and suite.name not in options.suites:
            continue
        python, folder = environment.prepare(suite, options.python, wheel, version)
        results = environment.BUILD / "results" / version
        results.mkdir(parents=True, exist_ok=True)
        result = compare(Runner(suite, python, folder, results), version)
        result.save(results / f"{suite.name}.json")
        show(result)
        is_bad = is_bad or result.is_bad
    return 1 if is_bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
