"""The runner of other projects' tests finds what differs between the loops."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.conformance.exceptions_list import ExceptionsList
from tests.conformance.outside.comparing import Comparison, compare
from tests.conformance.outside.report import markdown
from tests.conformance.outside.running import Runner
from tests.conformance.outside.suites import HERE, SUITES, Suite

#: A project whose tests pass, fail and hang, some of them on one of the loops only.
PROJECT = """
import asyncio, pathlib, time
import pytest

def is_ours():
    async def main():
        return type(asyncio.get_running_loop()).__module__.startswith("epoll")
    return asyncio.run(main())

def test_equal(): is_ours()
def test_without_loop(): pass
def test_fails_on_both(): assert not asyncio.run(asyncio.sleep(0, True))
def test_fails_on_ours(): assert not is_ours()
def test_fails_on_asyncio(): assert is_ours()
def test_skipped_on_ours():
    if is_ours():
        pytest.skip("why")

def test_unsteady():
    mark = pathlib.Path("mark")
    if is_ours() and not mark.exists():
        mark.touch()
        raise OSError("the first time")
"""
UNFINISHED = {
    "hang": ("import time\ndef test(): time.sleep(60)\n", "not done in 2 s"),
    "crash": ("import os\ndef test(): os.abort()\n", "ended with -6 and no report"),
}


def compared(folder: Path, program: str, limit: int = 50) -> Comparison:
    folder.joinpath("test_project.py").write_text(program)
    suite = Suite("project", "1.0", ("test_project.py",), test_limit=100, limit=limit)
    return compare(Runner(suite, Path(sys.executable), folder, folder), "3.x")


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_differences_are_found(tmp_path: Path) -> None:
    result = compared(tmp_path, PROJECT)
    different = {one.test.partition("::")[2]: one for one in result.differences}
    assert sorted(different) == [
        "test_fails_on_asyncio",
        "test_fails_on_ours",
        "test_skipped_on_ours",
    ]
    assert [name for name, one in different.items() if not one.is_bad] == ["test_fails_on_asyncio"]
    assert result.unsteady == [("epoll", "test_project.py::test_unsteady")]
    assert result.counted["epoll"] == {"passed": 4, "failed": 2, "skipped": 1}
    assert (result.bound, result.unbound) == (6, 0)
    assert result.is_bad

    saved = tmp_path / "result.json"
    result.save(saved)
    assert Comparison.load(saved) == result
    page = markdown([result])
    assert "| project 1.0 | 3.x |" in page
    assert "`test_project.py::test_fails_on_ours`: passed on asyncio, failed on ours" in page


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("end", UNFINISHED)
def test_hang_and_crash_are_results(tmp_path: Path, end: str) -> None:
    program, problem = UNFINISHED[end]
    result = compared(tmp_path, program, limit=2 if end == "hang" else 50)
    assert list(result.unfinished) == ["asyncio", "epoll"]
    assert all(text.startswith(problem) for text in result.unfinished.values())
    assert result.is_bad


def test_suite_that_makes_no_loop_of_ours_is_bad() -> None:
    counted = {"asyncio": {"passed": 1}, "epoll": {"passed": 1}}
    none = Comparison("project", "1.0", "3.x", "2026-01-01", counted, 0, 0, [], [], {})
    assert none.is_bad


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_each_suite_is_pinned(suite: Suite) -> None:
    lines = suite.requirements.read_text().splitlines()
    assert f"{suite.name}=={suite.version}" in lines
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+(; .+)?", line) for line in lines)


def test_list_of_differences_can_be_read() -> None:
    known = ExceptionsList(HERE / "differences.txt")
    assert known.reason("differs", "no-suite:test") is None
