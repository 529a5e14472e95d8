"""Work without sockets. Each function does ``count`` operations on the running loop."""

from __future__ import annotations

import asyncio
import threading

GATHERED = 100
CANCELLED_AT_ONCE = 1000
IN_EXECUTOR = 50
# Timers that are due within two milliseconds, in no order. uvloop knows whole milliseconds only,
# and takes less than half of one for call_soon.
DELAYS = [0.001 + (number * 7919 % 1000) * 1e-6 for number in range(1000)]
AFTER_ALL = 0.003


def nothing() -> None:
    """Be called."""


async def call_soon_chain(count: int) -> None:
    """Each callback schedules the next one."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    loop.call_soon(step)
    await done


async def call_soon_at_once(count: int) -> None:
    """All callbacks are scheduled before the first one runs."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    for _ in range(count):
        loop.call_soon(nothing)
    loop.call_soon(done.set_result, None)
    await done


async def call_later_due(count: int) -> None:
    """All timers are set before the first one is due."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    for number in range(count):
        loop.call_later(DELAYS[number % 1000], nothing)
    loop.call_later(AFTER_ALL, done.set_result, None)
    await done


async def call_later_cancel(count: int) -> None:
    """Each timer is cancelled at once, as that of a time-out that is not reached."""
    loop = asyncio.get_running_loop()
    for _ in range(count // CANCELLED_AT_ONCE):
        for _ in range(CANCELLED_AT_ONCE):
            loop.call_later(10, nothing).cancel()
        await asyncio.sleep(0)


async def sleep_zero(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def gather(count: int) -> None:
    """Count tasks; a hundred of them are gathered at once."""

    async def step() -> None:
        await asyncio.sleep(0)

    for _ in range(count // GATHERED):
        await asyncio.gather(*(step() for _ in range(GATHERED)))


async def future(count: int) -> None:
    """Await a future whose result a callback sets."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        waiter = loop.create_future()
        loop.call_soon(waiter.set_result, None)
        await waiter


async def call_soon_threadsafe(count: int) -> None:
    """Another thread schedules all callbacks."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def schedule() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(nothing)
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=schedule)
    thread.start()
    await done
    thread.join()


async def run_in_executor(count: int) -> None:
    """Call functions in threads, one after the other and then fifty under way."""
    loop = asyncio.get_running_loop()
    for _ in range(count // 2):
        await loop.run_in_executor(None, nothing)
    for _ in range(count // 2 // IN_EXECUTOR):
        await asyncio.gather(*(loop.run_in_executor(None, nothing) for _ in range(IN_EXECUTOR)))
