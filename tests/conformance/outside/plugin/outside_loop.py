"""A pytest plugin that puts the loop named by OUTSIDE_LOOP in the place of asyncio's own.

It runs inside of another project's tests, so it stands alone in its folder: all that it brings
into the search path is this file. The report of each test gets its "nodeid", and "loop", which is
what binding.Census.usage() says. Processes that the tests start have asyncio's loop.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    """Import a module of tests/conformance by its place; the suites have a package `tests`, too."""
    spec = importlib.util.spec_from_file_location(
        f"outside_{name}", Path(__file__).parents[2] / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if _silenced := os.environ["OUTSIDE_SILENCED"]:
    logging.getLogger(_silenced).setLevel(logging.CRITICAL)
_binding = _load("binding")
_census = _binding.bind(_binding.loop_class(os.environ["OUTSIDE_LOOP"]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item):  # noqa: ANN201
    """Count from here what the test and its fixtures make."""
    _census.forget()
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Write down which loop was made up to the end of this phase."""
    ours = {"nodeid": item.nodeid, "loop": _census.usage()}
    item.user_properties[:] = [kept for kept in item.user_properties if kept[0] not in ours]
    item.user_properties += ours.items()
