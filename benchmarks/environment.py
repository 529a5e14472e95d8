"""What a result depends on: machine, kernel, Python, versions of the peers."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

DISTRIBUTIONS = (
    *("pyepoll", "uvloop", "rloop", "blazio", "zuvloop", "rsloop", "aiofastnet"),
    *("uvicorn", "httptools", "matplotlib"),
)
TOOLS = ("cc", "strace", "valgrind")


def describe() -> dict[str, Any]:
    """Return the circumstances of a run, ready for JSON."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "free_threaded": not getattr(sys, "_is_gil_enabled", lambda: True)(),
        "versions": {name: _version_of(name) for name in DISTRIBUTIONS},
        "tools": {name: _first_line_of(name) for name in TOOLS},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version_of(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _first_line_of(tool: str) -> str | None:
    if shutil.which(tool) is None:
        return None
    answer = subprocess.run([tool, "--version"], capture_output=True, text=True, timeout=30)
    return answer.stdout.partition("\n")[0] or None
