"""What would disturb the process of the tests: each script here runs in a child of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Seconds. A loaded machine is no failure; the limit of a whole test is a hang's.
PATIENCE = 150

FOLDER = Path(__file__).parent
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py") if not path.name.startswith("test_"))


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE + 10)
@pytest.mark.parametrize("script", SCRIPTS)
def test_script_succeeds(script: str) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(FOLDER / script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert child.returncode == 0, child.stdout
    assert child.stdout == "", child.stdout


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 5
