"""What all tests share: how property tests run, and the mark of those that ask asyncio."""

from __future__ import annotations

import hypothesis
import pytest

from tests.faults_of_python import fault_of

# The examples are the same in every run, so a failure is found again. How long one may take is the
# business of the test's time limit: a loaded machine is no failure.
hypothesis.settings.register_profile("project", derandomize=True, deadline=None)
hypothesis.settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark those halves of twin tests that ask asyncio's own loop: they run no code of ours.

    Skip what this patch release of Python is known to fail by itself.
    """
    for item in items:
        why = fault_of(item.nodeid)
        if why is not None:
            item.add_marker(pytest.mark.skip(reason=why))
        callspec = getattr(item, "callspec", None)
        if callspec is not None and "asyncio" in callspec.id.split("-"):
            item.add_marker(pytest.mark.oracle)
