"""What asyncio.wrap_future() does for run_in_executor(), with half the work.

A future of concurrent.futures takes a lock for each question; asyncio asks five where two will do.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any

__all__ = ["wrap"]

# What an exception of a thread becomes in a task: asyncio has its own classes of these names.
_ASYNCIO_CLASSES: dict[type, type[BaseException]] = {
    concurrent.futures.CancelledError: asyncio.CancelledError,
    concurrent.futures.InvalidStateError: asyncio.InvalidStateError,
}


def wrap(source: Any, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:  # noqa: ANN401
    """Return a future of `loop` that ends as `source`, the answer of an executor's submit(), does.

    Cancelling it cancels `source`, which helps as long as no thread has begun with it. In the
    thread of the loop.

    Raises AssertionError when `source` is neither a future of concurrent.futures nor of asyncio.
    """
    if type(source) is not concurrent.futures.Future:
        return asyncio.wrap_future(source, loop=loop)
    future = loop.create_future()

    def on_done(_: asyncio.Future[Any]) -> None:
        if future.cancelled():
            source.cancel()

    def on_source_done(_: concurrent.futures.Future[Any]) -> None:  # in any thread
        if loop is asyncio._get_running_loop():
            _settle(future, source)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(_settle, future, source)

    future.add_done_callback(on_done)
    source.add_done_callback(on_source_done)
    return future


def _settle(future: asyncio.Future[Any], source: concurrent.futures.Future[Any]) -> None:
    if future.cancelled():
        return
    try:
        exception = source.exception()
    except concurrent.futures.CancelledError:
        future.cancel()
        return
    if exception is None:
        future.set_result(source.result())
        return
    other = _ASYNCIO_CLASSES.get(type(exception))
    if other is not None:
        exception = other(*exception.args).with_traceback(exception.__traceback__)
    future.set_exception(exception)
