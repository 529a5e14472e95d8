"""CPython's own tests pass on our classes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("run_cpython.py")


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["epoll", "selectors"])
def test_cpython_suite_passes(suite: str) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "default", str(RUNNER), suite, "-v"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=50,
        check=False,
        text=True,
    )
    assert child.returncode == 0, child.stdout
