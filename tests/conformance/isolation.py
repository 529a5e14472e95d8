"""Run each test in a process of its own, so that a hang or a crash is a result like any other.

The tests are imported once; each of them then runs in a fork, in a session, a working directory
and a time limit of its own. What it prints goes to a file. All of its processes are ended with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import gc
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import unittest
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

#: How much of a test's output is kept, in characters from its end.
OUTPUT_KEPT = 12_000


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one test."""

    test: str
    #: "passed", "failed", "skipped" (by the test itself), "hang" or "crash".
    status: str
    seconds: float
    #: Which loop the test has made; see binding.Census.usage().
    loop: str = "none"
    #: Reason of a skip, or the traceback and the output of a test that has not passed.
    detail: str = ""
    #: How often it was run until this came out.
    runs: int = 1


@dataclasses.dataclass
class _Child:
    test: str
    folder: Path
    began: float
    pidfd: int
    pid: int


class _Result(unittest.TestResult):
    """Collects all that is wrong with one test, subtests and unraisable exceptions included."""

    def __init__(self) -> None:
        super().__init__()
        self.unraisable: list[str] = []

    def note_unraisable(self, what: sys.UnraisableHookArgs) -> None:
        lines = traceback.format_exception(what.exc_type, what.exc_value, what.exc_traceback)
        self.unraisable.append(f"{what.err_msg or 'unraisable'}: {what.object!r}\n{''.join(lines)}")

    def status_and_detail(self) -> tuple[str, str]:
        problems = [text for _, text in self.failures + self.errors] + self.unraisable
        if self.unexpectedSuccesses:
            problems.append("unexpected success")
        if problems:
            return "failed", "\n".join(problems)
        if self.skipped:
            return "skipped", "; ".join(reason for _, reason in self.skipped)
        if self.testsRun == 0:
            return "failed", "the test was not run"
        return "passed", ""


def _run_in_child(
    test: unittest.TestCase, folder: Path, limit: float, usage: Callable[[], str]
) -> None:
    os.setsid()
    os.chdir(folder)
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    faulthandler.enable(file=2)
    faulthandler.dump_traceback_later(max(limit - 1, limit / 2), file=2)
    result = _Result()
    sys.unraisablehook = result.note_unraisable
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        unittest.TestSuite([test]).run(result)
        gc.collect()
    status, detail = result.status_and_detail()
    report = {"status": status, "detail": detail, "loop": usage()}
    Path(folder, "report.json").write_text(json.dumps(report), encoding="utf-8")


def _start(test: unittest.TestCase, limit: float, usage: Callable[[], str]) -> _Child:
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _run_in_child(test, folder, limit, usage)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return _Child(test.id(), folder, time.monotonic(), os.pidfd_open(pid), pid)


def _end_all(child: _Child) -> None:
    """End what is left of the child's session: its own process and those it had started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)


def _finish(child: _Child, hung: bool) -> Outcome:
    """Collect the outcome of a child that has ended, or is to be ended now."""
    seconds = round(time.monotonic() - child.began, 3)
    with contextlib.suppress(ProcessLookupError):  # it has ended, and nothing is left of it
        _end_all(child)
    exit_code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    os.close(child.pidfd)
    output = (child.folder / "output").read_text(encoding="utf-8", errors="replace")
    output = output[-OUTPUT_KEPT:]
    report = child.folder / "report.json"
    try:
        if hung:
            return Outcome(child.test, "hang", seconds, "unknown", output)
        if not report.exists():
            detail = f"the process ended with {exit_code}\n{output}"
            return Outcome(child.test, "crash", seconds, "unknown", detail)
        told = json.loads(report.read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(child.folder, ignore_errors=True)
    if told["status"] == "failed":
        told["detail"] = f"{told['detail'][-OUTPUT_KEPT:]}\n{output}"
    return Outcome(child.test, told["status"], seconds, told["loop"], told["detail"])


def run_isolated(
    tests: Iterable[unittest.TestCase],
    *,
    limit: float,
    jobs: int,
    usage: Callable[[], str],
) -> Iterator[Outcome]:
    """Run the tests, at most `jobs` at a time and each for at most `limit` seconds.

    `usage` is called in the test's process after the test. Outcomes come as the tests end.
    """
    waiting = iter(tests)
    running: dict[int, _Child] = {}
    while True:
        while len(running) < jobs and (test := next(waiting, None)) is not None:
            child = _start(test, limit, usage)
            running[child.pidfd] = child
        if not running:
            return
        now = time.monotonic()
        first_deadline = min(child.began for child in running.values()) + limit
        poll = select.poll()
        for pidfd in running:
            poll.register(pidfd, select.POLLIN)
        ended = {pidfd for pidfd, _ in poll.poll(max(0.0, first_deadline - now) * 1000)}
        now = time.monotonic()
        for pidfd, child in list(running.items()):
            if pidfd in ended or now - child.began >= limit:
                del running[pidfd]
                yield _finish(child, hung=pidfd not in ended)
