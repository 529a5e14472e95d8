"""Every callback does everything that it might do, with the same outcome as on asyncio."""

from __future__ import annotations

import functools
import gc
import sys
from typing import Any

import pytest

from tests.epoll.reentrancy import ACTIONS, TRIGGERS, play
from tests.epoll.twins import LOOPS

#: Actions after which the order between what is ready at the same time is nobody's promise: why.
UNORDERED = {
    "stop": "a run of several turns need not poll in each of them while callbacks are scheduled",
    "raise KeyboardInterrupt": "asyncio runs the rest of the turn first; ours, what was scheduled",
    "raise SystemExit": "as after KeyboardInterrupt",
    "pause and resume": "asyncio registers the descriptor anew, which puts it last in the kernel",
}


#: asyncio before 3.14 tells the end twice when a connection is aborted in resume_writing(): the
#: second time it fails at a protocol that it has let go.
TWICE_LOST = ("report", "Exception in callback", "AttributeError")


def comparable(trace: list[Any], action: str) -> list[Any]:
    trace = [event for event in trace if event != TWICE_LOST]
    return sorted(trace, key=repr) if action in UNORDERED else trace


@functools.cache
def expected(callback: str, action: str) -> list[Any]:
    return play(LOOPS["asyncio"], callback, action)


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("callback", TRIGGERS)
def test_action_in_callback(kind: str, callback: str, action: str) -> None:
    trace = play(LOOPS[kind], callback, action)
    assert comparable(trace, action) == comparable(expected(callback, action), action)
    assert ("action", action) in trace, "the callback was not called"
    assert ("nobody has stopped the loop",) not in trace
    assert sum(1 for event in trace if isinstance(event, tuple) and event[0] == "lost") <= 1


def test_nothing_is_left() -> None:
    gc.collect()
    assert sys.exc_info() == (None, None, None)
