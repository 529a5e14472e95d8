"""Hundreds of children and pipes leave nothing behind, and neither does a lack of room."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import epoll

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.epoll.children import CAT, TRUE, children

ROUNDS, AT_ONCE = 20, 5
NEEDED = 16  # descriptors of a child with three pipes, for the moment that it takes to start it


async def talk() -> None:
    process = await asyncio.create_subprocess_exec(*CAT, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    assert await process.communicate(b"hello") == (b"hello", b"")


async def kill() -> None:
    process = await asyncio.create_subprocess_exec(*CAT, stdin=PIPE, stdout=PIPE)
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    await process.communicate()


async def end() -> None:
    process = await asyncio.create_subprocess_exec(*TRUE)
    assert await process.wait() == 0


async def cancel() -> None:
    start = asyncio.create_subprocess_exec(*CAT, stdin=PIPE, stdout=PIPE)
    task = asyncio.ensure_future(start)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def fail() -> None:
    try:
        await asyncio.create_subprocess_exec("no-such-program", stdin=PIPE, stdout=PIPE)
    except FileNotFoundError:
        return
    raise AssertionError("there is such a program")


async def pipe() -> None:
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    source, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
    )
    target, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0))
    target.write(bytes(200_000))
    target.close()
    assert len(await reader.read()) == 200_000
    source.close()


async def rounds(count: int) -> None:
    for _ in range(count):
        for work in (talk, kill, end, cancel, fail, pipe):
            await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    for _ in range(20):
        await asyncio.sleep(0.001)
    gc.collect()


def count() -> tuple[int, int, int]:
    """Return how many objects, tasks and descriptors there are."""
    tasks = len(asyncio.all_tasks())
    return len(gc.get_objects()), tasks, len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def without_room() -> None:
    """Start children with fewer and fewer descriptors free: it works or says why not."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    outcomes = []
    for room in range(NEEDED):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + room, limits[1]))
        try:
            await talk()
        except OSError as failure:
            outcomes.append(type(failure))
        else:
            outcomes.append(None)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for _ in range(5):
            await asyncio.sleep(0.001)
        gc.collect()
        after = os.listdir("/proc/self/fd")  # noqa: PTH208
        assert after == before, f"descriptors with room for {room}: {before} -> {after}"
        assert children() == [], f"children with room for {room}"
    works = outcomes.index(None)
    assert outcomes == [OSError] * works + [None] * (NEEDED - works), outcomes


async def main() -> None:
    asyncio.get_running_loop().set_debug(False)
    await rounds(3)
    before = count()
    await rounds(ROUNDS)
    after = count()
    assert after[0] <= before[0] + 50, f"objects: {before[0]} -> {after[0]}"
    assert after[1:] == before[1:], f"tasks and descriptors: {before[1:]} -> {after[1:]}"
    assert children() == []
    await without_room()


epoll.run(main())
