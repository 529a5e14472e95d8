from __future__ import annotations

import importlib
import inspect
import runpy
from pathlib import Path

import pytest

from epoll.servers import native

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "ladder").glob("[0-9]*.py"))


def test_there_are_examples() -> None:
    assert [path.name[:2] for path in EXAMPLES] == [f"{n:02}" for n in range(1, len(EXAMPLES) + 1)]
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_starts_its_rung(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"epoll.servers.{path.stem[3:]}")
    signature = inspect.signature(module.serve)
    calls: list[inspect.BoundArguments] = []

    def serve(*arguments: object, **options: object) -> None:
        calls.append(signature.bind(*arguments, **options))

    monkeypatch.setattr(module, "serve", serve)
    runpy.run_path(str(path), run_name="__main__")
    assert len(calls) == 1
    call = calls[0]
    call.apply_defaults()
    asked = call.arguments.get("port", call.kwargs.get("port"))
    parameter = signature.parameters.get("port")
    assert asked == (parameter.default if parameter else native.Options().port)
