"""Run the tests of a suite on one loop, and read what became of each."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from tests.conformance.outside.suites import HERE, Suite

#: From good to bad: a test whose end fails after it has passed counts as failed.
STATUSES = ("passed", "skipped", "failed")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one test on one loop."""

    status: str
    #: Which loop the test has made; see binding.Census.usage().
    loop: str
    #: The first line of what was wrong.
    problem: str = ""


class Unfinished(Exception):
    """The tests did not end in time, or their process has crashed."""


@dataclasses.dataclass(frozen=True)
class Runner:
    """Runs the tests of one suite with one interpreter."""

    suite: Suite
    python: Path
    folder: Path
    results: Path

    def run_all(self, loop: str) -> dict[str, Outcome]:
        """Run all tests; return their outcomes by node id. Raises Unfinished."""
        jobs = ["-n", str(self.suite.jobs)] if self.suite.jobs else []
        return self._run(loop, [*self.suite.arguments, *jobs], self.suite.limit, loop)

    def run_alone(self, loop: str, test: str) -> Outcome:
        """Run one test in a process of its own; a hang or a crash is a failure."""
        try:
            found = self._run(loop, [test], 2 * self.suite.test_limit, f"{loop}-alone")
        except Unfinished as unfinished:
            return Outcome("failed", "unknown", str(unfinished))
        return found.get(test, Outcome("failed", "unknown", "it was not found alone"))

    def _run(self, loop: str, arguments: list[str], limit: int, name: str) -> dict[str, Outcome]:
        report = self.results / f"{self.suite.name}-{name}.xml"
        report.unlink(missing_ok=True)
        log = report.with_suffix(".log")
        # Installed tests have no settings, and would get those of the folders above: ours.
        settings = ["-c", os.devnull] if self.suite.package is None else []
        command = [
            *(self.python, "-m", "pytest", "-p", "outside_loop", "-p", "no:cacheprovider"),
            *("-q", "--tb=short", "--timeout", str(self.suite.test_limit)),
            *(f"--rootdir={self.folder}", f"--junitxml={report}"),
            *settings,
            *("-o", "addopts=", "-o", f"python_files={self.suite.pattern}"),
            *arguments,
        ]
        environment = os.environ | {
            "OUTSIDE_LOOP": loop,
            "OUTSIDE_SILENCED": self.suite.silenced,
            "PYTHONPATH": str(HERE / "plugin"),
        }
        with log.open("wb") as output:
            child = subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                child.wait(limit)
            except subprocess.TimeoutExpired:
                raise Unfinished(f"not done in {limit} s, see {log.name}") from None
            finally:
                _end_session(child)
        if not report.exists():
            raise Unfinished(f"ended with {child.returncode} and no report, see {log.name}")
        return read_report(report)


def _end_session(child: subprocess.Popen[bytes]) -> None:
    """End pytest, if it runs, and what the tests have started and left."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        child.wait()


def read_report(path: Path) -> dict[str, Outcome]:
    """Read the JUnit report of pytest, with the properties that our plugin adds."""
    outcomes: dict[str, Outcome] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        properties = {one.get("name"): one.get("value", "") for one in case.iter("property")}
        name = properties.get("nodeid") or f"{case.get('classname')}::{case.get('name')}"
        status, problem = _status_of(case)
        found = Outcome(status, properties.get("loop", "none"), problem)
        before = outcomes.get(name, found)
        outcomes[name] = max(before, found, key=lambda outcome: STATUSES.index(outcome.status))
    return outcomes


def _status_of(case: ElementTree.Element) -> tuple[str, str]:
    for kind in ("failure", "error"):
        wrong = case.find(kind)
        if wrong is not None:
            return "failed", (wrong.get("message") or "").partition("\n")[0][:200]
    return ("skipped" if case.find("skipped") is not None else "passed"), ""
