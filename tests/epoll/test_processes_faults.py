"""System calls that fail while a child is started: it is started all the same, or nothing is left.

strace makes a system call of a small program fail from its n-th one on, as in
test_fault_injection.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.epoll.faulty_parent import COUNT
from tests.epoll.twins import PATIENCE

PROJECT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


def outcome_of(calls: str, error: str, when: str, *, pipes: bool) -> dict[str, Any]:
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:error={error}:when={when}"]
    command += [sys.executable, "-m", "tests.epoll.faulty_parent", "epoll"]
    child = subprocess.run(
        [*command, "pipes" if pipes else "none"],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert child.stderr == b""
    found: dict[str, Any] = json.loads(child.stdout)
    assert found["descriptors"] == []
    assert found["children"] == []
    assert found["threads"] == 1
    assert found["reports"] == []
    return found


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "EMFILE", "ENFILE", "ENOMEM"])
@pytest.mark.parametrize("pipes", [False, True])
def test_without_a_pidfd_a_thread_waits(error: str, pipes: bool) -> None:
    found = outcome_of("pidfd_open", error, "1+", pipes=pipes)
    assert found["ends"] == ["served"] * COUNT


def test_a_pidfd_that_cannot_be_watched_is_closed() -> None:
    """The fourth one; those before are of the loop itself."""
    found = outcome_of("epoll_ctl", "ENOSPC", "4", pipes=False)
    assert found["ends"] == ["served"] * COUNT


@pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
def test_a_child_that_cannot_be_made(error: str) -> None:
    """subprocess tries vfork() and then, in some versions, fork() once more."""
    found = outcome_of("vfork,fork,clone,clone3", error, "1+", pipes=True)
    assert found["ends"] == ["BlockingIOError" if error == "EAGAIN" else "OSError"] * COUNT


@pytest.mark.parametrize("when", ["2", "3", "4", "5"])
@pytest.mark.parametrize("error", ["EMFILE", "ENFILE"])
def test_pipes_that_cannot_be_made(error: str, when: str) -> None:
    """The first one is that of the loop."""
    found = outcome_of("pipe2", error, when, pipes=True)
    assert sorted(found["ends"]) == ["OSError"] + ["served"] * (COUNT - 1)
