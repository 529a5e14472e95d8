"""Signals: who is told of them, and that descriptors for them which are not ours are left alone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import epoll
from tests.epoll.conftest import LoopMaker
from tests.epoll.twins import PATIENCE, Loop, run, run_forever, turn, turn_until

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def theirs() -> Iterator[Pair]:
    """Where a program may have the numbers of signals written to, and where it reads them."""
    reading, writing = socket.socketpair()
    with reading, writing:
        reading.setblocking(False)
        writing.setblocking(False)
        yield reading, writing
        signal.set_wakeup_fd(-1)


@pytest.fixture
def handled() -> Iterator[None]:
    """SIGUSR1 does nothing, instead of ending the process."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield
    signal.signal(signal.SIGUSR1, before)


def wakeup_descriptor() -> int:
    present = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(present)
    return present


@pytest.mark.usefixtures("handled")
def test_a_wakeup_descriptor_of_the_program_is_kept(loop: Loop, theirs: Pair) -> None:
    reading, writing = theirs
    signal.set_wakeup_fd(writing.fileno())
    seen: list[int] = []
    loop.call_soon(lambda: seen.append(wakeup_descriptor()))
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    turn(loop)
    assert seen == [writing.fileno()]
    assert wakeup_descriptor() == writing.fileno()
    assert reading.recv(10) == bytes([signal.SIGUSR1])


def test_a_wakeup_descriptor_that_is_set_while_the_loop_runs_stays(
    loop: Loop, theirs: Pair
) -> None:
    _, writing = theirs
    loop.call_soon(signal.set_wakeup_fd, writing.fileno())
    turn(loop)
    assert wakeup_descriptor() == writing.fileno()
    turn(loop)
    assert wakeup_descriptor() == writing.fileno()


def test_a_handler_takes_the_place_of_a_wakeup_descriptor(loop: Loop, theirs: Pair) -> None:
    _, writing = theirs
    signal.set_wakeup_fd(writing.fileno())
    loop.call_soon(loop.add_signal_handler, signal.SIGUSR1, print)
    turn(loop)
    assert wakeup_descriptor() not in (-1, writing.fileno())
    turn(loop)
    assert wakeup_descriptor() not in (-1, writing.fileno())
    loop.call_soon(loop.remove_signal_handler, signal.SIGUSR1)
    turn(loop)
    assert wakeup_descriptor() == -1


@pytest.mark.parametrize("has_handler", [False, True])
def test_a_loop_inside_another_one_leaves_its_signals_alone(
    make_loop: LoopMaker, has_handler: bool
) -> None:
    outer, inner = make_loop(), make_loop()
    seen: list[int] = []
    if has_handler:
        outer.add_signal_handler(signal.SIGUSR1, seen.append, 1)

    def nest() -> None:
        before = wakeup_descriptor()
        asyncio._set_running_loop(None)
        try:
            inner.run_until_complete(asyncio.sleep(0))
        finally:
            asyncio._set_running_loop(outer)
        assert wakeup_descriptor() == before

    outer.call_soon(nest)
    turn(outer)
    if has_handler:
        os.kill(os.getpid(), signal.SIGUSR1)
        turn_until(outer, lambda: seen)
        assert outer.remove_signal_handler(signal.SIGUSR1)
    assert wakeup_descriptor() == -1


def in_thread(loop: Loop, act: Callable[[], object]) -> list[BaseException | None]:
    """Run a loop in another thread while `act` is called here; return what has left the loop."""
    ends: list[BaseException | None] = []
    runs = threading.Event()

    def run_loop() -> None:
        loop.call_soon(runs.set)
        try:
            run_forever(loop)
        except BaseException as failure:
            ends.append(failure)
        else:
            ends.append(None)

    thread = threading.Thread(target=run_loop)
    thread.start()
    try:
        assert runs.wait(PATIENCE)
        act()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
    assert not thread.is_alive()
    return ends


def test_the_handlers_of_a_loop_in_another_thread(loop: Loop) -> None:
    """They are added and removed in the main thread, and called in that of the loop."""
    seen: list[int] = []
    called = threading.Event()

    def note() -> None:
        seen.append(threading.get_ident())
        called.set()

    def act() -> None:
        loop.add_signal_handler(signal.SIGUSR1, note)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert called.wait(PATIENCE)
        assert loop.remove_signal_handler(signal.SIGUSR1)
        assert wakeup_descriptor() == -1

    assert in_thread(loop, act) == [None]
    assert len(seen) == 1
    assert seen[0] != threading.get_ident()


def test_an_interrupt_of_the_main_thread_leaves_a_loop_in_another_one_alone(loop: Loop) -> None:
    answered = threading.Event()

    def act() -> None:
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012
            os.kill(os.getpid(), signal.SIGINT)
            threading.Event().wait(PATIENCE)
        loop.call_soon_threadsafe(answered.set)
        assert answered.wait(PATIENCE)

    assert in_thread(loop, act) == [None]


def test_handlers_are_for_the_main_thread(loop: Loop) -> None:
    failures: list[type] = []

    def add() -> None:
        for call in (
            lambda: loop.add_signal_handler(signal.SIGUSR1, print),
            lambda: loop.remove_signal_handler(signal.SIGUSR1),
        ):
            try:
                failures.append(type(call()))
            except (RuntimeError, ValueError) as failure:
                failures.append(type(failure))

    thread = threading.Thread(target=add)
    thread.start()
    thread.join(PATIENCE)
    assert failures == [RuntimeError, bool]
    assert wakeup_descriptor() == -1


@pytest.mark.usefixtures("handled")
def test_more_signals_than_a_pipe_holds_are_no_failure(
    loop: Loop, capfd: pytest.CaptureFixture[str]
) -> None:
    def flood() -> None:
        for _ in range(2000):
            signal.raise_signal(signal.SIGUSR1)

    loop.call_soon(flood)
    turn(loop, 3)
    assert capfd.readouterr().err == ""


def test_an_interrupt_in_a_task_leaves_the_loop_and_the_other_tasks_go_on(loop: Loop) -> None:
    async def other() -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        return "done"

    async def fail() -> None:
        signal.raise_signal(signal.SIGINT)

    going_on = loop.create_task(other())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(fail())
    assert run(loop, going_on) == "done"
    assert wakeup_descriptor() == -1


@pytest.mark.parametrize("step", ["set_asyncgen_hooks", "get_asyncgen_hooks"])
def test_an_interrupt_while_the_loop_begins_to_run_leaves_it_fit_to_run(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    # Ours alone: asyncio 3.13.1 and newer go on taking themselves for running.
    loop = epoll.EventLoop()
    original = getattr(sys, step)
    left = ["once"]

    def interrupted(*arguments: object, **named: object) -> object:
        if left:
            left.clear()
            raise KeyboardInterrupt
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(sys, step, interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_forever(loop)
    assert not loop.is_running()
    turn(loop)
    loop.close()


def test_a_signal_descriptor_does_not_outlive_an_interrupted_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Ours alone: asyncio has none. The number would soon be another file's.
    loop = epoll.EventLoop()
    original = signal.set_wakeup_fd

    def interrupted(*arguments: int, **named: bool) -> int:
        original(*arguments, **named)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(signal, "set_wakeup_fd", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
    turn(loop)
    loop.close()
    assert wakeup_descriptor() == -1
