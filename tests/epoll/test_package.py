"""What the package says of itself."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import epoll
from epoll import _core

CALLABLES = [
    *(getattr(epoll, name) for name in ("create", "ctl", "wait", "close", "Epoll", "EventBatch")),
    *(
        method
        for owner in (epoll.Epoll, epoll.EventBatch, epoll.EpollSelector, _core.SelectorBase)
        for name, method in vars(owner).items()
        if callable(method) and (not name.startswith("_") or name in ("__enter__", "__exit__"))
    ),
]


@pytest.mark.parametrize("function", CALLABLES, ids=lambda function: function.__qualname__)
def test_callable_has_a_signature_and_a_docstring(function: object) -> None:
    assert inspect.signature(function) is not None
    assert inspect.getdoc(function)


def test_missing_extension_says_how_to_build_it(tmp_path: Path) -> None:
    package = tmp_path / "epoll"
    package.mkdir()
    for source in Path(epoll.__file__).parent.glob("*.py"):
        shutil.copy(source, package)
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, sys.argv[1]); import epoll",
            tmp_path,
        ],
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
        text=True,
    )
    last = child.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: epoll._core, the compiled half")
    assert "pip install ." in last


def test_module_can_be_imported_again() -> None:
    """Each import of its own makes types of its own, which live side by side."""
    code = (
        "import sys, gc, epoll\n"
        "first = epoll.Epoll()\n"
        "for name in [name for name in sys.modules if name.startswith('epoll')]: "
        "del sys.modules[name]\n"
        "old = epoll\n"
        "import epoll\n"
        "assert epoll.Epoll is not old.Epoll\n"
        "with epoll.Epoll() as second: assert first.poll(0) == second.poll(0) == []\n"
        "del old, second, epoll; gc.collect()\n"
        "assert first.poll(0) == []\n"
        "first.wait_into  # its type still finds its module\n"
    )
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)


@pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="this interpreter has a GIL",
)
def test_import_does_not_bring_the_gil_back() -> None:
    code = "import sys, epoll; sys.exit(sys._is_gil_enabled())"
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)
