"""What Python 3.14 shows of tasks: call graphs, and `python -m asyncio ps`, on our loop."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

import epoll
from tests.epoll.twins import PATIENCE

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="call graphs of tasks came with Python 3.14"
)


async def innermost(waiting: asyncio.Event, goal: asyncio.Future[None]) -> None:
    waiting.set()
    await goal


async def middle(waiting: asyncio.Event, goal: asyncio.Future[None]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(innermost(waiting, goal), name="the inner one")


def test_call_graph_leads_from_the_inner_task_to_who_awaits_it() -> None:
    async def main() -> tuple[asyncio.FutureCallGraph, str]:
        waiting = asyncio.Event()
        goal = asyncio.get_running_loop().create_future()
        outer = asyncio.create_task(middle(waiting, goal), name="the outer one")
        await waiting.wait()
        (inner,) = (task for task in asyncio.all_tasks() if task.get_name() == "the inner one")
        text = io.StringIO()
        asyncio.print_call_graph(inner, file=text)
        graph = asyncio.capture_call_graph(inner)
        goal.set_result(None)
        await outer
        assert graph is not None
        return graph, text.getvalue()

    graph, text = epoll.run(main())
    assert [entry.frame.f_code.co_name for entry in graph.call_stack] == ["innermost"]
    (awaiter,) = graph.awaited_by
    assert isinstance(awaiter.future, asyncio.Task)
    assert awaiter.future.get_name() == "the outer one"
    assert "middle" in [entry.frame.f_code.co_name for entry in awaiter.call_stack]
    assert "the inner one" in text
    assert "the outer one" in text


def test_call_graph_of_the_current_task_has_the_frames_that_run() -> None:
    async def main() -> asyncio.FutureCallGraph | None:
        return asyncio.capture_call_graph()

    graph = epoll.run(main())
    assert graph is not None
    assert "main" in [entry.frame.f_code.co_name for entry in graph.call_stack]


def test_current_task_is_known_to_other_threads() -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        watched = await asyncio.to_thread(lambda: asyncio.all_tasks(loop))
        return task in watched

    assert epoll.run(main())


PROGRAM = """
import asyncio, epoll
async def inner():
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()
async def outer():
    async with asyncio.TaskGroup() as group:
        group.create_task(inner(), name="the inner one")
async def main():
    await asyncio.create_task(outer(), name="the outer one")
epoll.run(main())
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """A program whose tasks wait for ever."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


@pytest.mark.parametrize("command", ["ps", "pstree"])
def test_tasks_of_another_process_are_shown(process: subprocess.Popen[str], command: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "asyncio", command, str(process.pid)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env={**os.environ, "PYTHON_COLORS": "0"},
    )
    if shown.returncode != 0 and "ermission" in shown.stderr:
        pytest.skip("this system does not let a process look into another one (ptrace)")
    assert shown.returncode == 0, shown.stderr
    for name in ("the inner one", "the outer one", "Task-1"):
        assert name in shown.stdout, shown.stdout
