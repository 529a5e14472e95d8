"""What the runners of the suites share: options, progress, comparison and exit status."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import unittest
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from tests.conformance import binding
from tests.conformance.exceptions_list import ExceptionsList
from tests.conformance.isolation import Outcome, run_isolated
from tests.conformance.report import BAD, NOT_APPLICABLE, SuiteResult, summary

HERE = Path(__file__).parent


def parse_options(description: str, arguments: list[str]) -> argparse.Namespace:
    """Read the options that both runners have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--loop", choices=tuple(binding.LOOPS), default="epoll")
    parser.add_argument(
        "-k",
        dest="patterns",
        action="append",
        metavar="PATTERN",
        help="only tests whose MODULE.CLASS.TEST has this in it, or fits it when it has a *",
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many tests run at a time")
    parser.add_argument("--limit", type=float, default=30, help="seconds that a test may take")
    parser.add_argument("--json", type=Path, help="where to write the outcomes")
    parser.add_argument("--all", action="store_true", help="run what is on the skip list, too")
    parser.add_argument("--retry", action="store_true", help="run what is bad again, alone")
    parser.add_argument("-v", dest="verbose", action="store_true", help="name each test")
    return parser.parse_args(arguments)


def flatten(suite: Iterable[unittest.TestSuite | unittest.TestCase]) -> Iterator[unittest.TestCase]:
    """Yield the tests of a suite of suites."""
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from flatten(entry)
        else:
            yield entry


def short_name(test_id: str) -> str:
    """Return MODULE.CLASS.TEST."""
    return ".".join(test_id.split(".")[-3:])


def is_chosen(name: str, patterns: list[str] | None) -> bool:
    """Tell whether a test is to be run, going by the -k options."""
    return not patterns or any(
        fnmatchcase(name, pattern) if "*" in pattern else pattern in name for pattern in patterns
    )


def judged(outcome: Outcome, name: str) -> Outcome:
    """Return the outcome under the test's short name; one with asyncio's own loop is a failure."""
    status, detail = outcome.status, outcome.detail
    if status == "passed" and outcome.loop == "asyncio":
        status, detail = "failed", "not bound: the test has made one of asyncio's own loops"
    return dataclasses.replace(outcome, test=name, status=status, detail=detail)


@dataclasses.dataclass(frozen=True)
class Suite:
    """The tests of one suite and what is known of them."""

    title: str
    tests: list[unittest.TestCase]
    left_out: ExceptionsList
    usage: Callable[[], str]

    def chosen(self, patterns: list[str] | None) -> dict[str, unittest.TestCase]:
        """Return the tests that the -k options choose, by their short names."""
        named = {short_name(test.id()): test for test in self.tests}
        return {name: test for name, test in named.items() if is_chosen(name, patterns)}

    def run(
        self, tests: dict[str, unittest.TestCase], options: argparse.Namespace, jobs: int
    ) -> Iterator[Outcome]:
        """Run the tests, at most `jobs` at a time."""
        names = {test.id(): name for name, test in tests.items()}
        for found in run_isolated(tests.values(), limit=options.limit, jobs=jobs, usage=self.usage):
            yield judged(found, names[found.test])


def show(outcome: Outcome, verbose: bool) -> None:
    """Print what there is to say about an outcome."""
    if verbose:
        print(f"{outcome.status:8} {outcome.seconds:7.3f} s  {outcome.test}", flush=True)
    if outcome.status in BAD:
        print(f"\n==== {outcome.status}: {outcome.test}\n{outcome.detail}", flush=True)


def run_suite(suite: Suite, options: argparse.Namespace) -> int:
    """Run the chosen tests, print what is bad, save the result; return the exit status."""
    to_run: dict[str, unittest.TestCase] = {}
    outcomes: dict[str, Outcome] = {}
    for name, test in suite.chosen(options.patterns).items():
        reason = None if options.all else suite.left_out.reason("skip", name)
        if reason is None:
            to_run[name] = test
        else:
            outcomes[name] = Outcome(name, NOT_APPLICABLE, 0.0, "none", reason)
    if not to_run:
        sys.exit("no test was run")
    for outcome in suite.run(to_run, options, options.jobs):
        outcomes[outcome.test] = outcome
        show(outcome, options.verbose)
    if options.retry:
        again = {name: to_run[name] for name, found in outcomes.items() if found.status in BAD}
        for outcome in suite.run(again, options, jobs=1):
            print(f"second run, alone: {outcome.status}: {outcome.test}")
            outcomes[outcome.test] = dataclasses.replace(outcome, runs=2)
    result = SuiteResult.of_today(suite.title, options.loop, list(outcomes.values()))
    if options.json:
        result.save(options.json)
    if not options.patterns:
        for pattern in suite.left_out.unmatched(list(outcomes)):
            print(f"note: nothing of this Python is like {pattern}")
    print(f"\n{suite.title}, {options.loop}, Python {result.python}: {summary(result.outcomes)}")
    for outcome in result.bad():
        print(f"  {outcome.status}: {outcome.test}")
    return 1 if result.bad() else 0
