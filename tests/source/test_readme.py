"""The programs of the README work as they are printed."""

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


def programs(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PROJECT.text(Path("README.md")), re.M | re.S)


@pytest.mark.parametrize("program", programs("python"))
def test_python_program_runs(program: str) -> None:
    completed = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=30
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout
    assert not completed.stderr


@pytest.mark.parametrize("program", programs("cpp"))
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


def test_readme_has_its_three_programs() -> None:
    assert (len(programs("python")), len(programs("cpp"))) == (2, 1)


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path}: {link}"
        for path in PROJECT.files("*.md", "docs/**/*.md", "changes/*.md", "benchmarks/*.md")
        for link in LINK.findall(CODE.sub("", PROJECT.text(path)))
        if not (PROJECT.root / path.parent / link).exists()
    ]
    assert broken == []
