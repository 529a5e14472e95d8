"""add_signal_handler() and remove_signal_handler(): what asyncio promises of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import epoll
from tests.epoll.conftest import LoopMaker
from tests.epoll.twins import PATIENCE, Loop, Reports, run, turn, turn_until

USED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN)


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    """Every handler that a loop has set is gone when it is closed."""
    before = {number: signal.getsignal(number) for number in (*USED, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert signal.set_wakeup_fd(-1) == -1


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", USED)
def test_a_handler_is_called_with_its_arguments(loop: Loop, number: int) -> None:
    seen: list[Any] = []
    loop.add_signal_handler(number, seen.append, "called")
    send(number)
    assert seen == []
    turn_until(loop, lambda: seen)
    assert seen == ["called"]
    assert loop.remove_signal_handler(number)
    assert not loop.remove_signal_handler(number)


def test_a_handler_takes_the_place_of_another(loop: Loop) -> None:
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 2)
    send(signal.SIGUSR1)
    turn_until(loop, lambda: seen)
    assert seen == [2]


async def coroutine_function() -> None:
    pass


@pytest.mark.parametrize(
    ("number", "callback", "error"),
    [
        (signal.SIGKILL, print, RuntimeError),
        (signal.SIGSTOP, print, RuntimeError),
        (0, print, ValueError),
        (1000, print, ValueError),
        (-1, print, ValueError),
        ("SIGINT", print, TypeError),
        (signal.SIGUSR1, coroutine_function, TypeError),
    ],
)
def test_what_cannot_be_handled(
    loop: Loop,
    number: Any,  # noqa: ANN401
    callback: Callable[[], object],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        loop.add_signal_handler(number, callback)
    if error is not RuntimeError and callback is print:
        with pytest.raises(error):
            loop.remove_signal_handler(number)


def test_a_closed_loop_takes_no_handler(loop: Loop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    with pytest.raises(RuntimeError, match="closed"):
        loop.add_signal_handler(signal.SIGUSR1, print)


def test_what_stands_there_afterwards(loop: Loop) -> None:
    for number in (signal.SIGINT, signal.SIGUSR1):
        loop.add_signal_handler(number, print)
        assert loop.remove_signal_handler(number)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_handler_that_fails_is_reported(loop: Loop, reports: Reports) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    loop.add_signal_handler(signal.SIGUSR1, fail)
    send(signal.SIGUSR1)
    turn_until(loop, lambda: reports)
    assert reports.take_one().summary[0] == "ZeroDivisionError"


def test_a_handler_may_remove_itself(loop: Loop) -> None:
    seen: list[bool] = []
    loop.add_signal_handler(
        signal.SIGUSR1, lambda: seen.append(loop.remove_signal_handler(signal.SIGUSR1))
    )
    send(signal.SIGUSR1)
    turn_until(loop, lambda: seen)
    assert seen == [True]


def test_a_signal_of_before_its_handler_was_removed_is_dropped(loop: Loop) -> None:
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
    send(signal.SIGUSR1)
    send(signal.SIGUSR2)
    loop.remove_signal_handler(signal.SIGUSR1)
    turn_until(loop, lambda: seen)
    assert seen == [2]


def test_each_signal_counts(loop: Loop) -> None:
    """As many calls as signals, in their order, as long as the kernel does not merge them."""
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
    for _ in range(100):
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGUSR2)
    turn_until(loop, lambda: len(seen) == 200)
    assert seen == [1, 2] * 100


def test_a_waiting_loop_is_woken(loop: Loop) -> None:
    async def main() -> None:
        done = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, done.set)
        command = f"import os; os.kill({os.getpid()}, {int(signal.SIGUSR1)})"
        process = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", command)
        await done.wait()
        await process.wait()

    run(loop, main())


def test_one_loop_after_the_other(make_loop: LoopMaker) -> None:
    seen: list[int] = []
    for number in range(3):
        loop = make_loop()
        loop.add_signal_handler(signal.SIGUSR1, seen.append, number)
        send(signal.SIGUSR1)
        turn_until(loop, lambda number=number: len(seen) > number)  # type: ignore[misc]
        loop.close()
    assert seen == [0, 1, 2]


def test_a_handler_for_interrupts_takes_the_place_of_the_exception(loop: Loop) -> None:
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGINT, seen.append, 1)
    send(signal.SIGINT)
    turn_until(loop, lambda: seen)
    assert loop.remove_signal_handler(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        send(signal.SIGINT)
        turn(loop, 100)


# Ours alone.


def test_a_flood_of_one_signal_does_not_hide_another() -> None:
    """asyncio's socket is full after 278; of a signal after that it never hears."""
    loop = epoll.EventLoop()
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    loop.add_signal_handler(signal.SIGUSR2, seen.append, 2)
    for _ in range(10_000):
        signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)
    turn_until(loop, lambda: seen[-1:] == [2])
    assert seen == [1] * 10_000 + [2]
    loop.close()


def test_a_program_that_is_interrupted_ends_as_with_asyncio() -> None:
    program = (
        "import asyncio, epoll, sys\n"
        "async def main():\n"
        "    print('ready', flush=True)\n"
        "    try:\n"
        "        await asyncio.sleep(60)\n"
        "    finally:\n"
        "        print('cleaned up', flush=True)\n"
        "run = epoll.run if sys.argv[1] == 'epoll' else asyncio.run\n"
        "run(main())\n"
    )
    ends = []
    for kind in ("asyncio", "epoll"):
        with subprocess.Popen(
            [sys.executable, "-c", program, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            child.send_signal(signal.SIGINT)
            output, errors = child.communicate(timeout=PATIENCE)
        ends.append((output, errors.splitlines()[-1], child.returncode))
    assert ends[0] == ends[1] == (b"cleaned up\n", b"KeyboardInterrupt", -signal.SIGINT)
