"""An environment for each suite: a venv with our package and its requirements, and its sources."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.conformance.outside.suites import Suite

ROOT = Path(__file__).parents[3]
BUILD = ROOT / "build" / "outside"


def python_version(python: str) -> str:
    """Return the version of an interpreter, with a t when it has no GIL."""
    program = (
        "import platform, sysconfig; print(platform.python_version() + "
        "('t' if sysconfig.get_config_var('Py_GIL_DISABLED') else ''))"
    )
    return subprocess.check_output([python, "-c", program], text=True).strip()


def build_wheel(python: str, version: str) -> Path:
    """Build our package for an interpreter, once for all suites; return its wheel."""
    folder = BUILD / f"wheel-{version}"
    shutil.rmtree(folder, ignore_errors=True)
    pip = [python, "-m", "pip", "--quiet", "wheel", "--no-deps", "--wheel-dir", folder]
    subprocess.run([*pip, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def unpack_sources(suite: Suite, python: Path) -> Path:
    """Return the folder of a suite's sources, after downloading them if they are not there.

    The package itself is taken out of them: the tests have to import the installed one.
    """
    folder = BUILD / "sources" / f"{suite.name}-{suite.version}"
    if not folder.exists():
        parent = folder.parent
        parent.mkdir(parents=True, exist_ok=True)
        pip = [python, "-m", "pip", "--quiet", "download", "--no-deps", "--no-binary=:all:"]
        subprocess.run([*pip, "--dest", parent, f"{suite.name}=={suite.version}"], check=True)
        with tarfile.open(parent / f"{folder.name}.tar.gz") as archive:
            archive.extractall(parent, filter="data")
        shutil.rmtree(folder / str(suite.package))
    return folder


def prepare(suite: Suite, python: str, wheel: Path, version: str) -> tuple[Path, Path]:
    """Install what the suite needs; return its interpreter and the folder to run pytest in."""
    venv = BUILD / f"{suite.name}-{version}"
    ours = venv / "bin" / "python"
    if not ours.exists():
        subprocess.run([python, "-m", "venv", venv], check=True)
    pip = [ours, "-m", "pip", "--quiet", "install"]
    subprocess.run([*pip, "--force-reinstall", "--no-deps", wheel], check=True)
    subprocess.run([*pip, "--requirement", suite.requirements], check=True)
    if suite.package is not None:
        return ours, unpack_sources(suite, ours)
    (installed,) = venv.glob("lib/python*/site-packages")
    return ours, installed
