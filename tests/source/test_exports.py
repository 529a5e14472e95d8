"""The public names: what the package offers, what the stub declares and what the documents say."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import epoll
from epoll import _core, _loop
from tests.source.tree import PROJECT, Tree, assert_none, plant

STUBS = {_core: Path("src/epoll/_core.pyi"), _loop: Path("src/epoll/_loop.pyi")}
DOCUMENTS = ["README.md", "docs/*.md", "docs/guide/*.md", "docs/reference/*.md"]
MENTION = re.compile(r"`{1,2}epoll\.([A-Za-z_][\w.]*)")


def public_names(namespace: dict[str, object]) -> set[str]:
    """Return the names of a module that are meant for others: no modules, nothing private."""
    return {
        name
        for name, value in namespace.items()
        if not name.startswith("_")
        and name != "TYPE_CHECKING"
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", "") != "__future__"
    }


def present_statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Look into ``if sys.version_info >= (3, N)``: what holds for this interpreter."""
    for node in body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Compare):
            since = ast.literal_eval(node.test.comparators[0])
            yield from node.body if sys.version_info >= since else node.orelse
        else:
            yield node


def declared_names(stub: str) -> set[str]:
    """Return the public names that a stub declares at its top level."""
    names = set()
    for node in present_statements(ast.parse(stub).body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def without_docstring(names: list[str], namespace: dict[str, object]) -> list[str]:
    """Find public functions, classes and methods that do not say what they promise."""
    found = []
    for name in names:
        value = namespace[name]
        if not callable(value):
            continue
        if not inspect.getdoc(value):
            found.append(name)
        if inspect.isclass(value):
            found += [
                f"{name}.{member}"
                for member, attribute in vars(value).items()
                if not member.startswith("_")
                and (callable(attribute) or isinstance(attribute, property))
                and not inspect.getdoc(attribute)
            ]
    return found


def resolves(name: str) -> bool:
    """Tell whether ``epoll.<name>`` is an attribute of the package or one of its modules."""
    value: object = epoll
    module = "epoll"
    for part in name.split("."):
        module = f"{module}.{part}"
        if hasattr(value, part):
            value = getattr(value, part)
        elif importlib.util.find_spec(module) is not None:
            value = importlib.import_module(module)
        else:
            return False
    return True


def wrong_mentions(tree: Tree) -> list[str]:
    """Find names of the package that the documents mention and that it does not have."""
    return [
        f"{path}:{number}: epoll.{name}"
        for path in tree.files(*DOCUMENTS)
        for number, line in tree.lines(path)
        for name in MENTION.findall(line)
        if not name.startswith("_") and not resolves(name.rstrip("."))
    ]


def attributes(module: types.ModuleType) -> dict[str, object]:
    """Return the attributes of a module, also those that are made when they are asked for."""
    return {name: getattr(module, name) for name in dir(module)}


def test_all_is_exactly_the_public_names() -> None:
    assert set(epoll.__all__) == public_names(attributes(epoll))
    assert len(epoll.__all__) == len(set(epoll.__all__))


@pytest.mark.parametrize("module", STUBS, ids=lambda module: module.__name__)
def test_stub_declares_exactly_the_names_of_the_extension(module: types.ModuleType) -> None:
    assert declared_names(PROJECT.text(STUBS[module])) == public_names(vars(module))


def test_public_objects_have_docstrings() -> None:
    assert without_docstring(epoll.__all__, attributes(epoll)) == []


def test_documents_mention_only_names_that_exist() -> None:
    assert_none(wrong_mentions(PROJECT))


def test_documents_mention_every_public_name() -> None:
    documents = "\n".join(PROJECT.text(path) for path in PROJECT.files(*DOCUMENTS))
    constants = {name for name in epoll.__all__ if name.startswith("EPOLL")}
    names = set(epoll.__all__) - constants
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", documents)) == []


def test_undeclared_name_is_found() -> None:
    stub = "A: int\n_private: int\ndef f() -> None: ...\nclass C: ...\n"
    assert declared_names(stub) == {"A", "f", "C"}


def test_missing_docstring_is_found() -> None:
    class Bare:
        def method(self) -> None:
            pass

    assert without_docstring(["Bare"], {"Bare": Bare}) == ["Bare", "Bare.method"]


@pytest.mark.parametrize(("text", "count"), [("`epoll.no_such_name()`", 1), ("`epoll.create`", 0)])
def test_wrong_mention_is_found(text: str, count: int, tmp_path: Path) -> None:
    assert len(wrong_mentions(plant(tmp_path, {"README.md": text + "\n"}))) == count
