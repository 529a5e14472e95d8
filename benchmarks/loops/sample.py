"""Takes one sample of work on a loop.

``python -m benchmarks.loops.sample LOOP WORK COUNT SECONDS``

WORK is the name of a function, as ``scheduling:sleep_zero``. A tenth of COUNT operations warm up;
then COUNT operations are repeated until SECONDS have passed, once at least. Prints a line of JSON.
With 0 SECONDS there are COUNT operations and nothing else, for who counts instructions.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import resource
import time
from collections.abc import Awaitable, Callable

from benchmarks.loops.choice import run

WARM_UP_SHARE = 10

Work = Callable[[int], Awaitable[None]]


async def take(work: Work, count: int, seconds: float) -> None:
    """Measure and print."""
    if seconds == 0:
        await work(count)
        return
    await work(max(1, count // WARM_UP_SHARE))
    gc.collect()
    operations = 0
    user = _user_seconds()
    begin = time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        await work(count)
        operations += count
    user = _user_seconds() - user
    print(json.dumps({"operations": operations, "seconds": elapsed, "user_seconds": user}))


def _user_seconds() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def main() -> None:
    parser = argparse.ArgumentParser(description="Take one sample of work on a loop.")
    parser.add_argument("loop")
    parser.add_argument("work")
    parser.add_argument("count", type=int)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    module, _, function = options.work.partition(":")
    work: Work = getattr(importlib.import_module(f"benchmarks.loops.{module}"), function)
    run(options.loop, take(work, options.count, options.seconds))


if __name__ == "__main__":
    main()
