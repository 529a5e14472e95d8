"""Small files and small functions: what is larger has more than one subject."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.source.tree import PROJECT, Tree, assert_none, plant

# The limits in lines. The length of C++ functions is a check of clang-tidy (.clang-tidy).
FILE_LIMITS = {".hpp": 250, ".cpp": 500, ".c": 500, ".py": 500, ".pyi": 500}
FUNCTION_LIMIT = 50
FOLDERS = ["core", "bindings", "src", "tests", "benchmarks", "examples", "scripts"]


def large_files(tree: Tree) -> list[str]:
    found = []
    for suffix, limit in FILE_LIMITS.items():
        for path in tree.files(*(f"{folder}/**/*{suffix}" for folder in FOLDERS)):
            count = len(tree.lines(path))
            if count > limit:
                found.append(f"{path}: {count} lines, more than {limit}")
    return found


def long_functions(tree: Tree) -> list[str]:
    found = []
    for path in tree.files(*(f"{folder}/**/*.py" for folder in FOLDERS)):
        for node in ast.walk(ast.parse(tree.text(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = (node.end_lineno or node.lineno) - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    docstring = node.body[0]
                    count -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
                if count > FUNCTION_LIMIT:
                    found.append(f"{path}:{node.lineno}: {node.name} has {count} lines")
    return found


def test_files_are_small() -> None:
    assert_none(large_files(PROJECT))


def test_python_functions_are_short() -> None:
    assert_none(long_functions(PROJECT))


@pytest.mark.parametrize(
    ("path", "limit"),
    [("core/include/epoll/base/x.hpp", 250), ("bindings/x.cpp", 500), ("src/epoll/x.py", 500)],
)
def test_large_file_is_found(path: str, limit: int, tmp_path: Path) -> None:
    assert large_files(plant(tmp_path, {path: "\n" * limit})) == []
    assert len(large_files(plant(tmp_path, {path: "\n" * (limit + 1)}))) == 1


def test_long_function_is_found(tmp_path: Path) -> None:
    lines = [f"    x = {number}" for number in range(FUNCTION_LIMIT)]
    too_long = "\n".join(["def f():", *lines])
    assert len(long_functions(plant(tmp_path, {"src/epoll/x.py": too_long}))) == 1
    long_docstring = "\n".join(["def f():", '    """', *lines, '    """', "    return 1"])
    assert long_functions(plant(tmp_path, {"src/epoll/x.py": long_docstring})) == []
