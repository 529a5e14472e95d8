"""What the tests of sock_recv() and its like share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

from tests.epoll.twins import turn, turn_until

Loop = asyncio.SelectorEventLoop
Pair = tuple[socket.socket, socket.socket]
#: 4 MiB: more than any socket holds.
MUCH = b"0123456789abcdef" * (1 << 18)


def started(loop: Loop, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that has run until it waits."""
    task = loop.create_task(coroutine)
    turn(loop, 2)
    return task


def finished(loop: Loop, task: asyncio.Task[Any]) -> Any:  # noqa: ANN401
    turn_until(loop, task.done)
    return task.result()


def cancelled(loop: Loop, task: asyncio.Task[Any]) -> None:
    task.cancel()
    turn_until(loop, task.done)
    assert task.cancelled()
