"""Run CPython's own tests of asyncio, those of the running interpreter, on our event loop.

    python -m tests.conformance.asyncio_suite [--loop epoll|asyncio] [-k PATTERN] [--json FILE]

With --loop asyncio the same tests run on asyncio's loop: that shows what the machine and the
runner themselves do to the tests. Nothing of the tests is copied or changed here; binding.py says
how they come to our loop, and each outcome tells whether it has been made.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import unittest
from types import ModuleType

from tests.conformance import binding
from tests.conformance.exceptions_list import ExceptionsList
from tests.conformance.suite import HERE, Suite, flatten, parse_options, run_suite, short_name

PACKAGE = "test.test_asyncio"
#: Tests of other parts of the library that run coroutines, where this Python has them.
BESIDES = ("test.test_asyncgen", "test.test_contextlib_async", "test.test_unittest.test_async_case")


def import_package() -> ModuleType:
    """Import CPython's tests of asyncio, or end with a hint where to get them."""
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as failure:
        sys.exit(
            f"CPython's test package is not installed ({failure}). "
            "On Debian and Ubuntu it is in the package libpython3-testsuite."
        )


def import_tests(name: str) -> ModuleType | None:
    """Import a module of tests; None when it is not there, or not for this system."""
    try:
        return importlib.import_module(name)
    except unittest.SkipTest:
        return None
    except ModuleNotFoundError as failure:
        if failure.name is not None and name.startswith(failure.name):
            return None
        raise


def collect() -> list[unittest.TestCase]:
    """Return all tests; the loop has to be bound before, as some classes name it when imported."""
    package = import_package()
    inside = [f"{PACKAGE}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    names = [name for name in inside if name.rpartition(".")[2].startswith("test_")]
    loader = unittest.TestLoader()
    tests: list[unittest.TestCase] = []
    for name in [*names, *BESIDES]:
        module = import_tests(name)
        if module is not None:
            tests += flatten(loader.loadTestsFromModule(module))
    return tests


def main(arguments: list[str]) -> int:
    """Run the suite; the answer is the exit status."""
    options = parse_options("Run CPython's tests of asyncio on the event loop.", arguments)
    bound = binding.loop_class(options.loop)
    census = binding.bind(bound)
    tests = collect()
    left_out = ExceptionsList(HERE / "asyncio.txt")
    utilities = importlib.import_module(f"{PACKAGE}.utils")
    binding.replace_fake_loops(
        utilities.TestCase,
        bound,
        lambda test_id: left_out.reason("fake", short_name(test_id)) is not None,
    )
    return run_suite(Suite("CPython's asyncio tests", tests, left_out, census.usage), options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
