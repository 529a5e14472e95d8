"""What must not be written in a file of the project."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.source.tree import PROJECT, Check, Tree, assert_none, plant

TEXT = ["**/*.md", "**/*.toml", "**/*.txt", "**/*.json", "**/*.cmake", "**/*.in", "**/*.sh"]
PYTHON = ["**/*.py", "**/*.pyi"]
CPP = ["**/*.hpp", "**/*.cpp", "**/*.c", "**/*.h"]
SCRIPTS = [".ci/*", "scripts/*", "tests/cpp_package/run"]
THIS_FILE = Path("tests/source/test_words.py")

FORBIDDEN = {
    "path of a machine": re.compile(r"(?<![\w.])/(?:home/\w+|root|work|Users/\w+|mnt|opt)/\w"),
    "temporary path": re.compile(r"(?<![\w.$}])/tmp/\w"),
    "number of an issue": re.compile(
        r"(?<![\w&/\"'#])#\d{1,6}\b|\b(?:GH|gh|bpo|issue)[- _]#?\d+\b"
    ),
    "unfinished work": re.compile(r"\b(?:FIXME|XXX|HACK|WIP)\b"),
    "open task without its kind": re.compile(r"\bTODO\b(?!\((?:perf|cleanup|someday)\): )"),
    "merge conflict": re.compile(r"^(?:<{7}|>{7}) "),
    "private address": re.compile(r"\b(?:10|192\.168)(?:\.\d{1,3}){2,3}\b"),
}
# Names that say nothing about the role of what they name.
EMPTY_NAME = re.compile(r"\b(?:data2|tmp|mgr|utils?)_?\b")
CODE_IN_COMMENT = re.compile(r"^\s*//(?!/)\s*[\w:.\->*]+(?:\s+[\w:*&]+)*\s*(?:\(.*\)|=.*)\s*;\s*$")


def text_files(tree: Tree) -> list[Path]:
    return [path for path in tree.files(*TEXT, *PYTHON, *CPP, *SCRIPTS) if path != THIS_FILE]


def forbidden_words(tree: Tree) -> list[str]:
    return [
        f"{path}:{number}: {what}: {line.strip()}"
        for path in text_files(tree)
        for number, line in tree.lines(path)
        for what, pattern in FORBIDDEN.items()
        if pattern.search(line)
    ]


def empty_names(tree: Tree) -> list[str]:
    """Find names without meaning, as files and as identifiers of C++."""
    found = [
        path.as_posix() for path in tree.files(*PYTHON, *CPP) if EMPTY_NAME.fullmatch(path.stem)
    ]
    for path in tree.files("core/**/*.[ch]pp", "bindings/**/*.[ch]pp"):
        found += [
            f"{path}:{number}: {line.strip()}"
            for number, line in tree.lines(path)
            if EMPTY_NAME.search(line.split("//")[0])
        ]
    return found


def is_python_statement(comment: str) -> bool:
    """Tell whether a comment is a statement that somebody has switched off."""
    try:
        body = ast.parse(comment).body
    except SyntaxError:
        return False
    if len(body) != 1:
        return False
    node = body[0]
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    return call or isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AugAssign)


def commented_out_code(tree: Tree) -> list[str]:
    found = []
    for path in tree.files(*PYTHON):
        for number, line in tree.lines(path):
            comment = line.strip()
            if comment.startswith("# ") and is_python_statement(comment[2:]):
                found.append(f"{path}:{number}: {comment}")
    for path in tree.files(*CPP):
        for number, line in tree.lines(path):
            if CODE_IN_COMMENT.match(line):
                found.append(f"{path}:{number}: {line.strip()}")
    return found


def blank_endings(tree: Tree) -> list[str]:
    """Find blanks at the end of a line, tabs, and files that do not end with one line feed."""
    found = []
    for path in text_files(tree):
        text = tree.text(path)
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            found.append(f"{path}: does not end with one line feed")
        found += [
            f"{path}:{number}: blank at the end of the line, or a tab"
            for number, line in tree.lines(path)
            if line != line.rstrip() or "\t" in line
        ]
    return found


CHECKS = [forbidden_words, empty_names, commented_out_code, blank_endings]


@pytest.mark.parametrize("check", CHECKS)
def test_project_has_none(check: Check) -> None:
    assert_none(check(PROJECT))


@pytest.mark.parametrize(
    ("check", "path", "text"),
    [
        (forbidden_words, "docs/x.md", "Built in /home/somebody/pyepoll.\n"),
        (forbidden_words, "src/epoll/x.py", "# fixes #1234\n"),
        (forbidden_words, "core/src/base/x.cpp", "// FIXME: later\n"),
        (forbidden_words, "core/src/base/x.cpp", "// TODO: later\n"),
        (forbidden_words, "README.md", "<<<<<<< HEAD\n"),
        (forbidden_words, "scripts/x", "cp result /tmp/mine\n"),
        (empty_names, "src/epoll/utils.py", "x = 1\n"),
        (empty_names, "core/src/base/x.cpp", "int tmp = 0;\n"),
        (commented_out_code, "src/epoll/x.py", "x = 1\n# x = compute(2)\n"),
        (commented_out_code, "src/epoll/x.py", "# import os\n"),
        (commented_out_code, "core/src/base/x.cpp", "    // reactor.run();\n"),
        (commented_out_code, "core/src/base/x.cpp", "// int count = 0;\n"),
        (blank_endings, "docs/x.md", "text \n"),
        (blank_endings, "docs/x.md", "text"),
    ],
)
def test_planted_violation_is_found(check: Check, path: str, text: str, tmp_path: Path) -> None:
    assert len(check(plant(tmp_path, {path: text}))) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("core/src/base/x.cpp", "// TODO(perf): one call less\n// It waits; then it runs.\n"),
        ("src/epoll/x.py", "# The kernel counts in milliseconds (rounded up).\n"),
        ("README.md", "# Title\n\nSee https://example.org/work/page and [a](docs/tmp.md).\n"),
    ],
)
def test_ordinary_text_is_accepted(path: str, text: str, tmp_path: Path) -> None:
    tree = plant(tmp_path, {path: text})
    assert [problem for check in CHECKS for problem in check(tree)] == []
