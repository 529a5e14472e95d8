"""Who puts another Task or Future into asyncio gets it from our loop, as from asyncio's."""

from __future__ import annotations

import asyncio
from asyncio import futures, tasks
from collections.abc import Iterator
from typing import Any

import pytest

import epoll


class OtherFuture(asyncio.Future[Any]):
    """What a tool puts in the place of Future."""


class OtherTask(asyncio.Task[Any]):
    """What a tool puts in the place of Task."""


@pytest.fixture(params=[asyncio.SelectorEventLoop, epoll.EventLoop])
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    made: asyncio.AbstractEventLoop = request.param()
    yield made
    made.close()


async def answer() -> int:
    return 42


def test_a_replaced_future_is_made(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert type(loop.create_future()) is asyncio.Future
    monkeypatch.setattr(futures, "Future", OtherFuture)
    assert type(loop.create_future()) is OtherFuture
    monkeypatch.undo()
    assert type(loop.create_future()) is asyncio.Future


def test_a_replaced_task_is_made(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "Task", OtherTask)
    task = loop.create_task(answer(), name="other")
    assert (type(task), task.get_name()) == (OtherTask, "other")
    assert loop.run_until_complete(task) == 42
    monkeypatch.undo()
    task = loop.create_task(answer())
    assert type(task) is asyncio.Task
    assert loop.run_until_complete(task) == 42


def test_a_deleted_task_is_asyncios_error(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tasks, "Task")
    coroutine = answer()
    with pytest.raises(AttributeError, match="Task"):
        loop.create_task(coroutine)
    coroutine.close()
