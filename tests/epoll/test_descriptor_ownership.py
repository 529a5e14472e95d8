"""Each descriptor has one owner: no path closes twice, closes another's, or leaves one open."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.epoll.twins import LOOPS

PROJECT = Path(__file__).parents[2]
WALK = [sys.executable, "-m", "tests.epoll.descriptor_paths"]


def said(kind: str, errors: str) -> str:
    """What counts of stderr: finalizers of asyncio 3.14 fail when their server is gone."""
    is_known = sys.version_info >= (3, 14) and "_SelectorTransport.__del__" in errors
    return "" if kind == "asyncio" and is_known else errors


@pytest.mark.slow
@pytest.mark.parametrize("kind", LOOPS)
def test_what_the_program_owns_stays(kind: str) -> None:
    child = subprocess.run(
        [*WALK, kind], cwd=PROJECT, capture_output=True, text=True, timeout=50, check=False
    )
    assert (child.returncode, child.stdout, said(kind, child.stderr)) == (0, "", "")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("kind", LOOPS)
def test_nothing_is_closed_twice(kind: str, tmp_path: Path) -> None:
    """No close(2) fails: one of a number that is not open would."""
    log = tmp_path / "strace"
    strace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(log), "-e", "trace=close"]
    child = subprocess.run(
        [*strace, *WALK, kind],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (child.returncode, child.stdout, said(kind, child.stderr)) == (0, "", "")
    calls = log.read_text().splitlines()
    assert len(calls) > 1000, "nothing was traced"
    assert [call for call in calls if "EBADF" in call] == []
