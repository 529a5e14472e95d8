"""A program that starts children while its system calls are made to fail; a child of the tests.

    python -m tests.epoll.faulty_parent asyncio|epoll pipes|none

It starts children, one after the other, and prints what has happened as JSON: how each of them has
ended, what was reported, and how many descriptors, children and threads were left.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from asyncio.subprocess import PIPE
from typing import Any

from tests.epoll.children import CAT, children, descriptors
from tests.epoll.twins import LOOPS, Loop, run

COUNT = 4
MESSAGE = b"through the child"


async def start(with_pipes: bool) -> str:
    options: dict[str, Any] = {"stdin": PIPE, "stdout": PIPE} if with_pipes else {"stdin": 0}
    try:
        process = await asyncio.create_subprocess_exec(*CAT, **options)
    except OSError as failure:
        return type(failure).__name__
    output, _ = await process.communicate(MESSAGE if with_pipes else None)
    is_right = process.returncode == 0 and output == (MESSAGE if with_pipes else None)
    return "served" if is_right else f"{process.returncode} {output!r}"


def main(kind: str, with_pipes: bool) -> None:
    loop: Loop = LOOPS[kind]()
    reports: list[str] = []
    loop.set_exception_handler(lambda _, context: reports.append(repr(context)))
    before = descriptors()
    ends = [run(loop, start(with_pipes)) for _ in range(COUNT)]
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(5)
    outcome = {
        "ends": ends,
        "reports": reports,
        "descriptors": sorted(descriptors() - before),
        "children": children(),
        "threads": threading.active_count(),
    }
    loop.close()
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "pipes")
