"""Loops that were not made to the end, or are ended while they run: errors, and nothing worse."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import epoll
from epoll import _loop
from tests.epoll.test_loop_rules import USES
from tests.epoll.twins import turn


class Forgetful(epoll.EventLoop):
    def __init__(self) -> None:
        """Call no __init__() of a base class."""


class Failing(epoll.EventLoop):
    def _make_self_pipe(self) -> None:
        self.call_soon(pytest.fail, "the loop does not exist")
        raise OSError("as the test wishes")


def failed() -> epoll.EventLoop:
    """A loop whose __init__() has failed in asyncio's part."""
    loop: epoll.EventLoop = Failing.__new__(Failing)
    with pytest.raises(OSError, match="as the test wishes"):
        loop.__init__()  # type: ignore[misc]
    return loop


MAKERS: dict[str, Callable[[], epoll.EventLoop]] = {
    "__new__": lambda: epoll.EventLoop.__new__(epoll.EventLoop),
    "no __init__": Forgetful,
}


@pytest.fixture(params=list(MAKERS))
def never_opened(request: pytest.FixtureRequest) -> epoll.EventLoop:
    return MAKERS[request.param]()


@pytest.mark.parametrize("use", USES)
def test_a_loop_that_was_never_opened_says_so(never_opened: epoll.EventLoop, use: str) -> None:
    # asyncio's are AttributeErrors of private names.
    with pytest.raises(RuntimeError, match=r"__init__\(\) was not called"):
        USES[use](never_opened)


@pytest.mark.parametrize("make", [*MAKERS.values(), failed], ids=[*MAKERS, "failed __init__"])
def test_a_loop_that_was_never_opened_is_closed(make: Callable[[], epoll.EventLoop]) -> None:
    loop = make()
    assert loop.is_closed()
    assert not loop.is_running()
    assert "closed=True" in repr(loop)
    assert not loop.remove_reader(0)
    loop.stop()
    loop.close()
    loop.close()
    del loop
    gc.collect()  # no warning of an open loop


def test_a_loop_whose_making_fails_leaves_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    loop = failed()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)


@pytest.mark.parametrize("name", sorted(set(vars(_loop.Loop)) - {"__new__", "__doc__"}))
def test_no_native_method_of_a_loop_that_was_never_opened_crashes(name: str) -> None:
    loop = epoll.EventLoop.__new__(epoll.EventLoop)
    reading, writing = socket.socketpair()
    with reading, writing:
        for arguments in [(), (reading,), (reading, 1), (reading, print), (1.0, print)]:
            try:
                answer = getattr(loop, name)(*arguments)
            except Exception:
                continue
            if asyncio.iscoroutine(answer):
                answer.close()


def test_a_loop_that_makes_a_turn_is_not_closed_natively() -> None:
    # is_running() is false, as run_forever() has no part in it.
    loop = epoll.EventLoop()
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    reading, writing = os.pipe()
    os.write(writing, b"x")
    loop.add_reader(reading, loop.close)
    loop._run_once()
    (report,) = reports
    assert str(report["exception"]) == "Cannot close a running event loop"
    loop.close()
    os.close(reading)
    os.close(writing)


def test_a_loop_may_be_closed_by_a_finalizer(recwarn: pytest.WarningsRecorder) -> None:
    class Closing(epoll.EventLoop):
        def __del__(self) -> None:
            self.close()

    loop = Closing()
    turn(loop)
    del loop
    gc.collect()
    Closing.__new__(Closing)
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []
