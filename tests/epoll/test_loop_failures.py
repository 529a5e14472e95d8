"""What becomes of exceptions: which are reported, which leave the loop; nothing is lost."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

import pytest

from tests.epoll.twins import PATIENCE, Loop, Report, Reports, run, run_forever, turn

LEAVING = [KeyboardInterrupt, SystemExit]
REPORTED = [ValueError, asyncio.CancelledError, GeneratorExit, BaseException]


def failing(kind: type[BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise kind("as the test wishes")

    return fail


@pytest.mark.parametrize("kind", REPORTED)
def test_a_failure_of_a_callback_is_reported(
    loop: Loop, reports: Reports, kind: type[BaseException]
) -> None:
    seen: list[str] = []
    handle = loop.call_soon(failing(kind))
    loop.call_soon(seen.append, "next")
    turn(loop)
    assert seen == ["next"]
    report = reports.take_one()
    assert set(report) == {"message", "exception", "handle"}
    assert type(report["exception"]) is kind
    assert report["handle"] is handle
    assert report["message"].startswith("Exception in callback failing.<locals>.fail")


@pytest.mark.parametrize("kind", REPORTED)
def test_a_failure_of_a_timer_a_reader_and_a_writer_is_reported(
    loop: Loop, reports: Reports, ready: int, kind: type[BaseException]
) -> None:
    timer = loop.call_later(0, failing(kind))
    loop.add_reader(ready, failing(kind))
    loop.add_writer(ready, failing(kind))
    turn(loop)
    assert loop.remove_reader(ready)
    assert loop.remove_writer(ready)
    taken = reports.take()
    assert [type(report["exception"]) for report in taken] == [kind] * 3
    assert taken[2]["handle"] is timer
    assert all(isinstance(report["handle"], asyncio.Handle) for report in taken)


def test_a_failing_reader_is_called_again(loop: Loop, reports: Reports, ready: int) -> None:
    loop.add_reader(ready, failing(ValueError))
    turn(loop, 3)
    loop.remove_reader(ready)
    assert len(reports.take()) == 3


def test_debug_mode_reports_where_the_handle_was_made(loop: Loop, reports: Reports) -> None:
    loop.set_debug(True)
    loop.call_soon(failing(ValueError))
    turn(loop)
    report = reports.take_one()
    assert set(report) == {"message", "exception", "handle", "source_traceback"}
    assert report["source_traceback"][-1].name.startswith("test_debug_mode")


def leave(loop: Loop, kind: type[BaseException]) -> None:
    with pytest.raises(kind, match="as the test wishes"):
        run_forever(loop)
    assert not loop.is_running()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


@pytest.mark.parametrize("kind", LEAVING)
def test_nothing_is_lost_when_a_callback_ends_the_run(
    loop: Loop, ready: int, kind: type[BaseException]
) -> None:
    seen: list[str] = []

    def read() -> None:
        seen.append("reader")
        loop.remove_reader(ready)

    loop.add_reader(ready, read)
    loop.call_at(loop.time(), seen.append, "timer")
    loop.call_soon(seen.append, "before")
    loop.call_soon(failing(kind))
    for number in range(3):
        loop.call_soon(seen.append, f"after {number}")
    leave(loop, kind)
    assert seen == ["before"]
    turn(loop)
    assert seen == ["before", "after 0", "after 1", "after 2", "reader", "timer"]


@pytest.mark.parametrize("kind", LEAVING)
def test_nothing_is_lost_when_a_reader_ends_the_run(
    loop: Loop, ready: int, kind: type[BaseException]
) -> None:
    seen: list[str] = []
    loop.add_reader(ready, failing(kind))
    loop.add_writer(ready, seen.append, "writer")
    loop.call_at(loop.time(), seen.append, "timer")
    loop.call_soon(loop.call_soon, seen.append, "soon")
    leave(loop, kind)
    assert seen == []
    loop.remove_reader(ready)
    turn(loop)
    loop.remove_writer(ready)
    # In which order is nobody's promise: asyncio runs the rest of the turn first; ours, what was
    # scheduled.
    assert sorted(set(seen)) == ["soon", "timer", "writer"]


@pytest.mark.parametrize("kind", LEAVING)
def test_nothing_is_lost_when_a_timer_ends_the_run(loop: Loop, kind: type[BaseException]) -> None:
    seen: list[str] = []
    now = loop.time()
    loop.call_at(now - 3, seen.append, "before")
    loop.call_at(now - 2, failing(kind))
    loop.call_at(now - 1, seen.append, "after")
    loop.call_soon(loop.call_soon, seen.append, "soon")
    leave(loop, kind)
    assert seen == ["before"]
    turn(loop)
    assert sorted(seen) == ["after", "before", "soon"]


@pytest.mark.parametrize("kind", LEAVING)
def test_the_end_of_a_task_leaves_the_run(loop: Loop, kind: type[BaseException]) -> None:
    seen: list[str] = []

    async def main() -> None:
        loop.call_soon(seen.append, "soon")
        raise kind("as the test wishes")

    with pytest.raises(kind, match="as the test wishes"):
        loop.run_until_complete(main())
    turn(loop)
    assert seen == ["soon"]


@pytest.mark.parametrize("kind", LEAVING)
def test_an_exception_handler_may_end_the_run(loop: Loop, kind: type[BaseException]) -> None:
    seen: list[str] = []
    loop.set_exception_handler(lambda _, __: failing(kind)())
    loop.call_soon(failing(ValueError))
    loop.call_soon(seen.append, "after")
    leave(loop, kind)
    assert seen == []
    turn(loop)
    assert seen == ["after"]


def test_an_interrupt_ends_a_wait(loop: Loop) -> None:
    thread = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_forever(loop)
    thread.join(PATIENCE)
    turn(loop)


def test_an_interrupt_ends_a_loop_that_never_waits(loop: Loop) -> None:
    seen: list[str] = []

    def again() -> None:
        loop.call_soon(again)

    loop.call_soon(again)
    thread = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_forever(loop)
    thread.join(PATIENCE)
    loop.call_soon(seen.append, "still there")
    turn(loop)
    assert seen == ["still there"]


def test_a_failing_exception_handler_is_reported(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_exception_handler(lambda _, __: failing(ZeroDivisionError)())
    loop.call_soon(failing(ValueError))
    turn(loop)
    (record,) = caplog.records
    assert record.name == "asyncio"
    assert record.getMessage().startswith("Unhandled error in exception handler\ncontext: {")
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_without_a_handler_failures_are_logged(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    loop.call_soon(failing(ValueError))
    turn(loop)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asyncio", logging.ERROR)
    assert "Exception in callback failing.<locals>.fail()" in record.getMessage()
    assert "\nhandle: <Handle failing.<locals>.fail()" in record.getMessage()


def test_an_overridden_default_handler_is_called(loop: Loop) -> None:
    seen: list[Report] = []
    loop.set_exception_handler(None)
    loop.default_exception_handler = seen.append  # type: ignore[method-assign, assignment]
    loop.call_soon(failing(ValueError))
    turn(loop)
    assert [type(context["exception"]) for context in seen] == [ValueError]


def test_an_exception_handler_must_be_callable(loop: Loop) -> None:
    with pytest.raises(TypeError, match="A callable object or None is expected, got 5"):
        loop.set_exception_handler(5)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="handlers ran in no context before 3.12")
def test_the_handler_runs_in_the_context_of_the_callback(loop: Loop) -> None:
    variable = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    loop.set_exception_handler(lambda _, __: seen.append(variable.get()))
    loop.call_soon(failing(ValueError), context=context)
    turn(loop)
    assert seen == ["inside"]


def test_the_failure_of_a_forgotten_task_is_reported(loop: Loop, reports: Reports) -> None:
    async def fail() -> None:
        raise ValueError

    async def main() -> None:
        task = loop.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    run(loop, main())
    report = reports.take_one()
    assert report["message"] == "Task exception was never retrieved"
    assert isinstance(report["future"], asyncio.Task)


def test_a_stop_before_the_end_is_an_error(loop: Loop) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"Event loop stopped before Future completed\."):
        loop.run_until_complete(future)


def test_a_reader_whose_descriptor_was_closed_is_no_abort(loop: Loop) -> None:
    one, other = socket.socketpair()
    with other:
        fd = one.fileno()
        loop.add_reader(fd, pytest.fail, "the descriptor is closed")
        one.close()
        turn(loop, 2)
        loop.remove_reader(fd)
        turn(loop)


@pytest.mark.parametrize("add", ["add_reader", "add_writer"])
def test_descriptors_that_cannot_be_watched_are_refused(loop: Loop, add: str) -> None:
    with socket.socket() as closed:
        fd = closed.fileno()
    with pytest.raises(OSError, match="Bad file descriptor"):
        getattr(loop, add)(fd, print)
    with pytest.raises(ValueError, match="Invalid file object"):
        getattr(loop, add)(object(), print)
    with open(__file__) as regular, pytest.raises(PermissionError):  # noqa: PTH123
        getattr(loop, add)(regular, print)
