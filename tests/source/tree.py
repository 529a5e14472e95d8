"""The files of the project as the tests of the source see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_NOT_SOURCE = {"build", "dist", "node_modules"}


@dataclass(frozen=True)
class Tree:
    """The project under ``root``: the real one, or a small one that a test has planted."""

    root: Path

    def files(self, *patterns: str) -> list[Path]:
        """List the files that match a pattern, relative to the root, without caches and builds."""
        found = {
            path.relative_to(self.root)
            for pattern in patterns
            for path in self.root.glob(pattern)
            if path.is_file()
        }
        return sorted(path for path in found if not _is_generated(path))

    def text(self, path: Path) -> str:
        return (self.root / path).read_text(encoding="utf-8")

    def lines(self, path: Path) -> list[tuple[int, str]]:
        """Return the lines of a file, each with its number."""
        return list(enumerate(self.text(path).splitlines(), start=1))

    def has(self, path: str) -> bool:
        return (self.root / path).is_file()


def _is_generated(path: Path) -> bool:
    return any(
        part in _NOT_SOURCE or (part.startswith(".") and part != ".ci") or part == "__pycache__"
        for part in path.parts[:-1]
    )


#: Reads a tree and lists what is wrong in it, one line each.
Check = Callable[[Tree], list[str]]

PROJECT = Tree(Path(__file__).resolve().parents[2])


def plant(root: Path, files: dict[str, str]) -> Tree:
    """Write ``files`` (path: text) under ``root`` and return the tree they make."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Tree(root)


def assert_none(problems: list[str]) -> None:
    """Fail with all problems, one a line."""
    assert not problems, "\n" + "\n".join(problems)
