"""The programs of the README and of the documents work as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source.tree import PROJECT

LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)


README = Path("README.md")
DOCUMENTS = [README, *PROJECT.files("docs/guide/*.md", "docs/design/**/*.md")]

# Programs that only do what they say when they are run in another way, and why.
NOT_ALONE = {
    "docs/guide/servers.md 1": "a handler for `epoll serve`",
}


def programs(language: str, path: Path) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PROJECT.text(path), re.M | re.S)


def all_programs(language: str) -> list[object]:
    named = {
        f"{path} {number}": program
        for path in DOCUMENTS
        for number, program in enumerate(programs(language, path), start=1)
    }
    return [
        pytest.param(program, id=name) for name, program in named.items() if name not in NOT_ALONE
    ]


@pytest.mark.parametrize("program", all_programs("python"))
def test_python_program_runs(program: str) -> None:
    completed = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout or "assert " in program
    assert not completed.stderr


@pytest.mark.parametrize("program", all_programs("cpp"))
def test_cpp_program_compiles(program: str) -> None:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    assert compiler is not None, "the package was built without a C++ compiler?"
    include = f"-I{PROJECT.root}/core/include"
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", include]
    completed = subprocess.run(
        [compiler, *flags, "-x", "c++", "-"],
        input=program,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert completed.returncode == 0, completed.stderr


def test_readme_has_its_four_programs() -> None:
    assert (len(programs("python", README)), len(programs("cpp", README))) == (3, 1)


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path}: {link}"
        for path in PROJECT.files("*.md", "docs/**/*.md", "changes/*.md", "benchmarks/*.md")
        for link in LINK.findall(CODE.sub("", PROJECT.text(path)))
        if not (PROJECT.root / path.parent / link).exists()
    ]
    assert broken == []
