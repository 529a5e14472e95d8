"""Read the lists of tests that are exceptions, each with its reason.

A line is `KIND PATTERN REASON`: KIND is `skip` (the test looks into private parts of another loop
or repeats a test), `fake` (the test needs the fake loop of CPython's test package) or `differs`
(another outcome than on asyncio's loop is right); PATTERN is as in a shell, against
MODULE.CLASS.TEST, or against SUITE:NODEID for other projects' tests. Empty lines and lines that
begin with # are nothing.
"""

from __future__ import annotations

import dataclasses
from fnmatch import fnmatchcase
from pathlib import Path

KINDS = ("skip", "fake", "differs")


@dataclasses.dataclass(frozen=True)
class Exceptional:
    """One line of a list."""

    kind: str
    pattern: str
    reason: str


def parse(text: str) -> list[Exceptional]:
    """Return the lines of a list; a line without a reason is an error."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(maxsplit=2)
        if len(words) != 3 or words[0] not in KINDS:
            raise ValueError(f"line {number} is not KIND PATTERN REASON: {line}")
        found.append(Exceptional(*words))
    return found


class ExceptionsList:
    """The lines of one file, asked by the name of a test."""

    def __init__(self, path: Path) -> None:
        self._lines = parse(path.read_text(encoding="utf-8"))

    def reason(self, kind: str, test: str) -> str | None:
        """Return why the test is on the list for this, or None when it is not."""
        for line in self._lines:
            if line.kind == kind and fnmatchcase(test, line.pattern):
                return line.reason
        return None

    def unmatched(self, tests: list[str]) -> list[str]:
        """Return the patterns that fit none of the tests."""
        return [
            line.pattern
            for line in self._lines
            if not any(fnmatchcase(test, line.pattern) for test in tests)
        ]
