"""Run the tests of uvloop's source distribution on our event loop.

    python -m tests.conformance.uvloop_suite [--loop epoll|asyncio] [-k PATTERN] [--json FILE]

The source distribution is downloaded once, by pip, which checks its hash; it is not built. Its
tests come in pairs: a class for uvloop and one for asyncio's loop. Both make our loop here; where
they differ, one expects what uvloop does and one what asyncio does. Tests that pass only on uvloop
itself are on the list in uvloop.txt.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tarfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tests.conformance import binding
from tests.conformance.exceptions_list import ExceptionsList
from tests.conformance.suite import HERE, Suite, flatten, parse_options, run_suite

VERSION = "0.23.0"
SOURCES = HERE.parent.parent / "build" / "conformance" / f"uvloop-{VERSION}"
#: These import the compiled module of uvloop, or check its sources.
NOT_IMPORTED = ("test_cython", "test_fs_event", "test_libuv_api", "test_sourcecode")


def fetch_sources() -> Path:
    """Return the folder of uvloop's sources, after downloading them if they are not there."""
    if not SOURCES.exists():
        folder = SOURCES.parent
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--no-binary=:all:"]
        requirements = HERE / "uvloop_requirements.txt"
        subprocess.run([*pip, "--dest", folder, "--requirement", requirements], check=True)
        with tarfile.open(folder / f"uvloop-{VERSION}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return SOURCES


def import_stub(loop: str, sources: Path) -> None:
    """Make `import uvloop` find the stub, here and in the programs that tests start."""
    os.environ["CONFORMANCE_LOOP"] = loop
    os.environ["CONFORMANCE_UVLOOP"] = str(sources / "uvloop")
    stub = str(HERE / "uvloop_stub")
    os.environ["PYTHONPATH"] = stub
    sys.path.insert(0, stub)
    base = importlib.import_module("uvloop._testbase")
    base.AIOTestCase.is_asyncio_loop = lambda test: True
    base.UVTestCase.is_asyncio_loop = lambda test: False


def import_files(folder: Path) -> Iterator[ModuleType]:
    """Import the files of tests as modules of one package, so that they can be pickled."""
    package = ModuleType("uvloop_tests")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    for path in sorted(folder.glob("test_*.py")):
        if path.stem not in NOT_IMPORTED:
            yield importlib.import_module(f"{package.__name__}.{path.stem}")


def collect(sources: Path) -> list[unittest.TestCase]:
    """Return all tests; the stub has to be imported before."""
    loader = unittest.TestLoader()
    suites = map(loader.loadTestsFromModule, import_files(sources / "tests"))
    return list(flatten(suites))


def main(arguments: list[str]) -> int:
    """Run the suite; the answer is the exit status."""
    options = parse_options("Run uvloop's tests on the event loop.", arguments)
    sources = fetch_sources()
    census = binding.bind(binding.loop_class(options.loop))
    import_stub(options.loop, sources)
    left_out = ExceptionsList(HERE / "uvloop.txt")
    suite = Suite(f"uvloop {VERSION}'s tests", collect(sources), left_out, census.usage)
    return run_suite(suite, options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
