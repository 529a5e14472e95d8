"""Programs that the tests of subprocesses start: as small and as fast as they can be."""

from __future__ import annotations

import os
import sys

SHELL = "/bin/sh"

#: Ends only when it is told to, by its standard input or a signal.
CAT = ("cat",)
TRUE = ("true",)
FALSE = ("false",)


def script(text: str) -> tuple[str, ...]:
    """Return the command that runs a shell script."""
    return (SHELL, "-c", text)


def python(text: str) -> tuple[str, ...]:
    """Return the command that runs a program in Python; for what a shell cannot do."""
    return (sys.executable, "-I", "-S", "-c", text)


def descriptors() -> set[str]:
    """Return what is open in this process, as far as it is no file of the interpreter's own."""
    found = set()
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")  # noqa: PTH115
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


def children() -> list[str]:
    """Return what /proc says of the children of this process, zombies among them."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        try:
            with open(f"/proc/{number}/stat") as file:  # noqa: PTH123
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == os.getpid():
            found.append(f"{number} {state}")
    return found
