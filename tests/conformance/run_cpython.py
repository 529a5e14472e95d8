"""Run CPython's own tests of epoll and of selectors on our classes.

    python tests/conformance/run_cpython.py epoll|selectors [unittest options]

test.test_epoll runs with epoll.Epoll in the place of select.epoll, test.test_selectors with
epoll.EpollSelector in the place of selectors.EpollSelector. The tests are those of the running
interpreter; nothing of them is copied here.
"""

from __future__ import annotations

import importlib
import sys
import unittest
from types import ModuleType

import epoll

#: Test to leave out: why. It is an error when a test named here does not exist any more.
SKIPPED: dict[str, dict[str, str]] = {
    "epoll": {},
    "selectors": {
        "EpollSelectorTestCase.test_modify_unregister": (
            "replaces the private attribute _selector_cls of selectors.EpollSelector; that a "
            "failing modify() unregisters is tested in tests/epoll/test_selector.py"
        ),
    },
}


def import_test(name: str) -> ModuleType:
    """Import a module of CPython's test package, or end with a hint where to get it."""
    try:
        return importlib.import_module(f"test.{name}")
    except ImportError as failure:
        sys.exit(
            f"CPython's test package is not installed ({failure}). "
            "On Debian and Ubuntu it is in the package libpython3-testsuite."
        )


class _SelectWithOurs(ModuleType):
    """The module select, with epoll.Epoll for its class epoll."""

    def __getattr__(self, name: str) -> object:
        return getattr(sys.modules["select"], name)


def load_epoll() -> list[type[unittest.TestCase]]:
    """Return the test cases of test.test_epoll, bound to epoll.Epoll."""
    module = import_test("test_epoll")
    ours = _SelectWithOurs("select")
    ours.epoll = epoll.Epoll  # type: ignore[attr-defined]
    module.select = ours  # type: ignore[attr-defined]
    return [module.TestEPoll]


def load_selectors() -> list[type[unittest.TestCase]]:
    """Return the test case of test.test_selectors that is about epoll, bound to our selector."""
    module = import_test("test_selectors")
    module.EpollSelectorTestCase.SELECTOR = epoll.EpollSelector
    return [module.EpollSelectorTestCase]


LOADERS = {"epoll": load_epoll, "selectors": load_selectors}


def leave_out(cases: list[type[unittest.TestCase]], skipped: dict[str, str]) -> None:
    """Mark the tests to be skipped, with their reasons."""
    by_name = {case.__name__: case for case in cases}
    for name, reason in skipped.items():
        case_name, _, test_name = name.partition(".")
        case = by_name[case_name]
        test = getattr(case, test_name)
        setattr(case, test_name, unittest.skip(reason)(test))


def main(arguments: list[str]) -> int:
    """Run one suite; the answer is the exit status."""
    if not arguments or arguments[0] not in LOADERS:
        sys.exit(f"usage: run_cpython.py {'|'.join(LOADERS)} [unittest options]")
    suite_name, *options = arguments
    cases = LOADERS[suite_name]()
    leave_out(cases, SKIPPED[suite_name])
    loader = unittest.TestLoader()
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases)
    result = unittest.TextTestRunner(verbosity=2 if "-v" in options else 1).run(suite)
    if result.testsRun == 0:
        sys.exit("no test was run")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
