"""Loops with a time() of their own: what they say about time holds for their timers, too."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

from tests.epoll.conftest import LoopMaker
from tests.epoll.twins import Loop, finish, run, run_forever, turn

SHIFTS = [-1e6, 1e6]


def shifted(kind: type[Loop], seconds: float) -> Loop:
    """A loop whose clock is so many seconds ahead."""

    class Clock:
        def time(self) -> float:
            return super().time() + seconds  # type: ignore[misc, no-any-return]

    class Shifted(Clock, kind):  # type: ignore[misc, valid-type]
        pass

    return Shifted()


@pytest.fixture(params=SHIFTS)
def moved(request: pytest.FixtureRequest, make_loop: LoopMaker) -> Any:  # noqa: ANN401
    loop = shifted(type(make_loop()), request.param)
    yield loop
    finish(loop)


@pytest.mark.parametrize("call", ["call_later", "call_at"])
def test_timers_go_by_the_time_of_the_loop(moved: Loop, call: str) -> None:
    seen: list[float] = []

    def note() -> None:
        seen.append(moved.time())
        moved.stop()

    before = moved.time()
    if call == "call_later":
        handle = moved.call_later(0.02, note)
    else:
        handle = moved.call_at(moved.time() + 0.02, note)
    assert before + 0.02 <= handle.when() < before + 5
    turn(moved)
    assert seen == []
    run_forever(moved)
    # asyncio runs a timer within the resolution of its clock; a large number has fewer digits.
    assert seen[0] >= handle.when() - 1e-8
    assert seen[0] < handle.when() + 5


def test_timeouts_and_sleeps_take_their_time(moved: Loop) -> None:
    async def main() -> None:
        before = moved.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await asyncio.sleep(30)
        await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(moved.create_future(), 0.02)
        async with asyncio.timeout_at(moved.time() + 20):
            await asyncio.sleep(0)
        assert before + 0.06 - 1e-8 <= moved.time() < before + 20

    run(moved, main())


def test_timers_keep_their_order_and_are_cancelled(moved: Loop) -> None:
    seen: list[int] = []
    now = moved.time()
    for number in (3, 1, 2):
        moved.call_at(now - 1 + number / 10, seen.append, number)
    moved.call_later(-1, seen.append, 0)
    cancelled = moved.call_later(0, seen.append, 4)
    cancelled.cancel()
    turn(moved, 2)
    assert seen == [0, 1, 2, 3]
    assert repr(cancelled) == f"<TimerHandle cancelled when={cancelled.when()}>"


@pytest.mark.parametrize("call", ["call_later", "call_at"])
def test_mistakes_are_those_of_other_loops(moved: Loop, call: str) -> None:
    with pytest.raises(TypeError, match="None"):
        getattr(moved, call)(None, print)
    moved.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        getattr(moved, call)(1, print)


@pytest.mark.parametrize("call", ["call_later", "call_at"])
def test_debug_mode_knows_who_has_made_a_timer(moved: Loop, call: str) -> None:
    moved.set_debug(True)
    line = sys._getframe().f_lineno + 1
    handle = getattr(moved, call)(moved.time() + 1, print)
    assert f"created at {__file__}:{line}>" in repr(handle)
    handle.cancel()


def test_a_class_may_have_methods_of_its_own_for_timers(make_loop: LoopMaker) -> None:
    kind: Any = type(make_loop())
    seen: list[float] = []

    class Noting(kind):
        def time(self) -> float:
            return super().time() + 1000  # type: ignore[no-any-return]

        def call_at(self, when: float, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            seen.append(when - self.time())
            return super().call_at(when, *arguments, **named)

    class Later(Noting):
        pass

    for own in Noting, Later:
        loop = own()
        loop.call_later(100, print)
        finish(loop)
    assert [round(delay) for delay in seen if delay > 1] == [100, 100]
