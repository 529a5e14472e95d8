"""Run a suite on both loops and say where they differ."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.conformance.exceptions_list import ExceptionsList
from tests.conformance.outside.running import Outcome, Runner, Unfinished
from tests.conformance.outside.suites import HERE

#: The loops, the one to compare with first.
LOOPS = ("asyncio", "epoll")
#: How often a test that differs is run again, alone, before it counts as different.
REPEATS = 3


@dataclasses.dataclass(frozen=True)
class Difference:
    """A test that has not the same outcome on both loops."""

    test: str
    asyncio: str
    epoll: str
    #: What was wrong on our loop, or on asyncio's when it passes on ours.
    problem: str
    #: Why it is so, from differences.txt. Empty: nobody knows, and it is a failure.
    reason: str

    @property
    def is_bad(self) -> bool:
        """Tell whether our loop does worse, for no reason that is written down."""
        return not self.reason and self.epoll != "passed"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of one suite."""

    suite: str
    version: str
    python: str
    date: str
    #: How many tests had which status, by loop.
    counted: dict[str, dict[str, int]]
    #: How many of the tests on ours have made it, and how many another one of asyncio's.
    bound: int
    unbound: int
    differences: list[Difference]
    #: Tests that differed and were equal when they were run again, alone, on the loop named first.
    unsteady: list[tuple[str, str]]
    #: What is wrong with the loops on which the tests did not come to their end.
    unfinished: dict[str, str]

    @property
    def is_bad(self) -> bool:
        """Tell whether the suite shows something to be mended."""
        different = any(difference.is_bad for difference in self.differences)
        return different or bool(self.unfinished) or self.unbound > 0 or self.bound == 0

    def save(self, path: Path) -> None:
        """Write the result as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Comparison:
        """Read what save() has written."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        differences = [Difference(**one) for one in fields.pop("differences")]
        unsteady = [(loop, test) for loop, test in fields.pop("unsteady")]
        return cls(differences=differences, unsteady=unsteady, **fields)


def compare(runner: Runner, python: str) -> Comparison:
    """Run all tests on both loops, and what differs again."""
    found: dict[str, dict[str, Outcome]] = {}
    unfinished = {}
    for loop in LOOPS:
        try:
            found[loop] = runner.run_all(loop)
        except Unfinished as problem:
            found[loop] = {}
            unfinished[loop] = str(problem)
    unsteady = [] if unfinished else list(_settle(runner, found))
    ours = Counter(outcome.loop for outcome in found["epoll"].values())
    return Comparison(
        suite=runner.suite.name,
        version=runner.suite.version,
        python=python,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        counted={
            loop: dict(Counter(outcome.status for outcome in found[loop].values()))
            for loop in LOOPS
        },
        bound=ours["bound"],
        unbound=ours["asyncio"],
        differences=[] if unfinished else list(_differences(runner.suite.name, found)),
        unsteady=unsteady,
        unfinished=unfinished,
    )


def _settle(runner: Runner, found: dict[str, dict[str, Outcome]]) -> Iterator[tuple[str, str]]:
    """Run again, alone, what has failed on one loop only; yield (loop, test) where it passes then.

    `found` gets the outcome that counts.
    """
    for loop, other in (LOOPS, LOOPS[::-1]):
        for test, outcome in list(found[loop].items()):
            if outcome.status != "failed" or found[other].get(test, outcome).status == "failed":
                continue
            for _ in range(REPEATS):
                again = runner.run_alone(loop, test)
                if again.status != "failed":
                    found[loop][test] = again
                    yield loop, test
                    break


def _differences(suite: str, found: dict[str, dict[str, Outcome]]) -> Iterator[Difference]:
    missing = Outcome("missing", "none")
    known = ExceptionsList(HERE / "differences.txt")
    for test in sorted(found["asyncio"].keys() | found["epoll"].keys()):
        theirs, ours = (found[loop].get(test, missing) for loop in LOOPS)
        if theirs.status != ours.status:
            reason = known.reason("differs", f"{suite}:{test}") or ""
            problem = ours.problem or theirs.problem
            yield Difference(test, theirs.status, ours.status, problem, reason)
