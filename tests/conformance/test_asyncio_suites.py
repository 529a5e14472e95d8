"""The quick part of the suites of other loops; scripts/conformance runs all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.exceptions_list import ExceptionsList, parse
from tests.conformance.report import SuiteResult, column

ROOT = Path(__file__).parents[2]

#: What is run here: each of the parts takes well under a minute.
PARTS = {
    "events": ("test_events.EPoll", "test_unix_events.SelectorEventLoop"),
    "sockets": ("test_sock_lowlevel", "test_sendfile.EPoll", "test_server", "test_buffered_proto"),
    "children": ("test_subprocess",),
    "streams": ("test_streams", "test_sslproto.SelectorStartTLS", "test_ssl.TestSSL"),
    "tasks": ("test_tasks.CTask_CFuture_Tests", "test_tasks.RunCoroutine*", "test_taskgroups"),
    "locks": ("test_locks", "test_queues", "test_timeouts", "test_waitfor", "test_runners"),
}


def run_asyncio_suite(result: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.conformance.asyncio_suite", "--json", str(result)]
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=150,
        check=False,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(160)
@pytest.mark.parametrize("part", PARTS)
def test_part_of_cpythons_suite_passes(part: str, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    patterns = [word for pattern in PARTS[part] for word in ("-k", pattern)]
    child = run_asyncio_suite(result, "--retry", *patterns)
    assert child.returncode == 0, child.stdout
    counted = [column(outcome) for outcome in SuiteResult.load(result).outcomes]
    assert counted.count("passed") > 20, "nearly no test has made our loop"


@pytest.mark.slow
def test_hang_crash_and_failure_are_told_apart(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time, unittest\n"
        "from tests.conformance.isolation import run_isolated\n"
        "class Case(unittest.TestCase):\n"
        "    def test_crash(self): os.abort()\n"
        "    def test_failure(self): self.fail('as it should')\n"
        "    def test_hang(self): time.sleep(60)\n"
        "    def test_pass(self): pass\n"
        "    def test_skip(self): self.skipTest('why')\n"
        "tests = unittest.defaultTestLoader.loadTestsFromTestCase(Case)\n"
        "for found in run_isolated(tests, limit=1, jobs=2, usage=lambda: 'none'):\n"
        "    print(found.test.rpartition('_')[2], found.status)\n"
    )
    printed = subprocess.check_output([sys.executable, program], cwd=ROOT, env=path_of_root())
    assert sorted(printed.decode().split("\n")) == [
        "",
        "crash crash",
        "failure failed",
        "hang hang",
        "pass passed",
        "skip skipped",
    ]


def path_of_root() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)}


def test_loop_that_is_not_bound_is_a_failure(tmp_path: Path) -> None:
    program = (
        "import asyncio\n"
        "from tests.conformance import binding\n"
        "census = binding.bind(binding.loop_class('epoll'))\n"
        "print(census.usage())\n"
        "asyncio.BaseEventLoop()\n"
        "print(census.usage())\n"
        "binding.ASYNCIO_LOOP().close()\n"
        "print(census.usage())\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "print(census.usage())\n"
    )
    printed = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
    assert printed.split() == ["none", "fake", "asyncio", "bound"]


def test_line_without_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse("# a list\nskip test_x.*\n")


def test_each_list_can_be_read() -> None:
    for name in ("asyncio.txt", "uvloop.txt"):
        lines = ExceptionsList(Path(__file__).with_name(name))
        assert lines.reason("skip", "test_of.no.suite") is None
