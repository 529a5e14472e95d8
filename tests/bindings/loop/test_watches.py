"""add_reader() and its like: asyncio is the oracle, and taken for ours."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import socket
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import epoll
from tests.epoll.twins import turn, turn_until

Loop = asyncio.SelectorEventLoop
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


@pytest.fixture
def calls() -> list[str]:
    return []


def move(sock: socket.socket, number: int) -> None:
    """Close a socket and make its file another one's: the number, not the object, lives on."""
    os.dup2(sock.fileno(), number)


@pytest.mark.parametrize("as_object", [False, True], ids=["fd", "object"])
def test_reader_and_writer_are_called_while_ready(
    loop: Loop, pair: Pair, calls: list[str], as_object: bool
) -> None:
    near, far = pair
    file = near if as_object else near.fileno()
    assert loop.add_reader(file, calls.append, "r") is None
    turn(loop)
    assert calls == []
    far.send(b"x")
    turn_until(loop, lambda: calls)
    turn(loop, 2)
    assert calls == ["r"] * 3
    assert loop.add_writer(file, calls.append, "w") is None
    calls.clear()
    turn(loop)
    assert calls == ["r", "w"]
    assert loop.remove_reader(file) is True
    assert loop.remove_reader(file) is False
    calls.clear()
    turn(loop, 2)
    assert calls == ["w", "w"]
    assert loop.remove_writer(file) is True
    assert loop.remove_writer(file) is False
    turn(loop, 2)
    assert calls == ["w", "w"]


def test_another_callback_replaces_the_former(loop: Loop, pair: Pair, calls: list[str]) -> None:
    near, far = pair
    far.send(b"x")
    former = loop._add_reader(near, calls.append, "former")
    latter = loop._add_reader(near.fileno(), calls.append, "latter")
    assert isinstance(former, asyncio.Handle)
    assert (former.cancelled(), latter.cancelled()) == (True, False)
    turn(loop)
    assert calls == ["latter"]
    assert loop._remove_reader(near) is True
    assert latter.cancelled()
    assert loop._remove_reader(near) is False


def test_a_callback_takes_any_arguments_and_its_context(loop: Loop, pair: Pair) -> None:
    near, _ = pair
    seen: list[Any] = []
    loop.add_writer(fd=near, callback=lambda: seen.append(()))
    turn(loop)
    loop.add_writer(near, lambda *values: seen.append(values), 1, "two", None)
    turn(loop)
    assert seen == [(), (1, "two", None)]


def test_what_is_ready_but_removed_in_the_same_turn_is_not_called(
    loop: Loop, pair: Pair, calls: list[str]
) -> None:
    near, far = pair
    far.send(b"x")
    loop.add_reader(near, calls.append, "r")
    loop.call_soon(loop.remove_reader, near)
    turn(loop)
    assert calls == []


def test_a_reader_may_remove_the_writer_that_is_ready_too(
    loop: Loop, pair: Pair, calls: list[str]
) -> None:
    near, far = pair
    far.send(b"x")

    def read() -> None:
        calls.append("r")
        loop.remove_writer(near)

    loop.add_reader(near, read)
    loop.add_writer(near, calls.append, "w")
    turn(loop)
    assert calls == ["r"]


def test_who_comes_in_a_turn_is_not_called_in_it(loop: Loop, pair: Pair, calls: list[str]) -> None:
    near, far = pair
    far.send(b"x")
    loop.add_reader(near, calls.append, "former")
    loop.call_soon(loop.add_reader, near, calls.append, "latter")
    turn(loop)
    assert calls == []
    turn(loop)
    assert calls == ["latter"]


def test_a_handle_that_its_owner_cancelled_is_removed(
    loop: Loop, pair: Pair, calls: list[str]
) -> None:
    near, far = pair
    far.send(b"x")
    loop._add_reader(near, calls.append, "r").cancel()
    turn(loop, 2)
    assert calls == []
    assert loop.remove_reader(near) is False


def test_order_of_a_turn(loop: Loop, pair: Pair, calls: list[str]) -> None:
    near, far = pair
    far.send(b"x")
    loop.add_writer(near, calls.append, "writer")
    loop.add_reader(near, calls.append, "reader")
    loop.call_later(0, calls.append, "timer")
    loop.call_soon(calls.append, "soon")
    turn(loop)
    assert calls == ["soon", "reader", "writer", "timer"]


def test_a_hang_up_counts_as_both(loop: Loop, pair: Pair, calls: list[str]) -> None:
    near, far = pair
    far.close()
    near.shutdown(socket.SHUT_RDWR)
    loop.add_reader(near, calls.append, "r")
    loop.add_writer(near, calls.append, "w")
    turn(loop)
    assert calls == ["r", "w"]


class NotAFile:
    def fileno(self) -> str:
        return "three"


@pytest.mark.parametrize("file", ["no", None, NotAFile(), 3.0], ids=lambda file: repr(file)[:10])
@pytest.mark.parametrize("name", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
def test_what_is_no_file_is_a_value_error(loop: Loop, name: str, file: object) -> None:
    arguments = (file, print) if name.startswith("add") else (file,)
    for prefix in "", "_":
        with pytest.raises(ValueError, match=r"^Invalid file object: "):
            getattr(loop, prefix + name)(*arguments)


class Interrupted:
    error: type[BaseException] = OSError

    def fileno(self) -> int:
        raise self.error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("name", ["_add_reader", "_remove_reader"])
def test_the_failure_of_a_file_is_its_own(
    loop: Loop, pair: Pair, name: str, error: type[BaseException]
) -> None:
    near, _ = pair
    file = Interrupted()
    file.fileno = near.fileno  # type: ignore[method-assign]
    loop.add_reader(file, print)
    del file.fileno  # type: ignore[method-assign]
    file.error = error
    with pytest.raises(error):
        getattr(loop, name)(*((file, print) if name == "_add_reader" else (file,)))
    assert loop.remove_reader(near) is True


@pytest.mark.parametrize("name", ["add_reader", "remove_reader"])
def test_negative_number(loop: Loop, name: str) -> None:
    arguments = (-7, print) if name.startswith("add") else (-7,)
    with pytest.raises(ValueError, match=r"^Invalid file descriptor: -7$"):
        getattr(loop, name)(*arguments)


def test_numbers_that_no_descriptor_has(loop: Loop) -> None:
    assert loop.remove_reader(2**80) is False
    assert loop.remove_writer(2**31 - 1) is False
    for number in 2**40, 2**80:
        with pytest.raises(OverflowError):
            loop.add_reader(number, print)
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_reader(2**31 - 1, print)


@pytest.mark.parametrize("name", ["add_reader", "_add_reader"])
def test_arguments_are_required(loop: Loop, name: str) -> None:
    add = getattr(loop, name)
    for arguments, named in [
        ((), {}),
        ((1,), {}),
        ((), {"callback": print}),
        ((1, print), {"fd": 1}),
    ]:
        with pytest.raises(TypeError):
            add(*arguments, **named)
    with pytest.raises(TypeError):
        add(1, print, unknown=1)
    with pytest.raises(TypeError):
        loop.remove_reader()


def test_a_regular_file_cannot_be_watched(loop: Loop) -> None:
    with tempfile.TemporaryFile() as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
        assert loop.remove_reader(file) is False


def test_a_closed_number_cannot_be_watched(loop: Loop, pair: Pair) -> None:
    near, _ = pair
    number = near.fileno()
    near.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_reader(number, print)
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.add_reader(near, print)


def test_a_closed_loop(pair: Pair, loop: Loop) -> None:
    near, _ = pair
    handle = loop._add_reader(near, print)
    loop.close()
    assert loop.remove_reader(near) is False
    assert loop._remove_writer(near) is False
    for name in "add_reader", "add_writer", "_add_reader", "_add_writer":
        with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
            getattr(loop, name)(near, print)
    del handle


def test_a_file_object_closed_while_registered_is_removed_by_itself(loop: Loop) -> None:
    near, far = socket.socketpair()
    with near, far:
        loop.add_reader(near, print)
        near.close()
        assert loop.remove_reader(near) is True
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            loop.remove_reader(near)


def test_a_descriptor_closed_under_its_reader_neither_spins_nor_stops_the_loop(
    loop: Loop, pair: Pair, calls: list[str]
) -> None:
    near, far = pair
    loop.add_reader(near, calls.append, "r")
    near.close()
    far.close()
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert calls == []


def test_a_reused_number_is_another_file(ours: Loop, calls: list[str]) -> None:
    # asyncio takes the stale entry for the new file, and hears nothing of it.
    former, former_far = socket.socketpair()
    fresh, fresh_far = socket.socketpair()
    with former, former_far, fresh, fresh_far:
        ours.add_reader(former, calls.append, "former")
        ours.add_writer(former, calls.append, "former writer")
        number = former.fileno()
        move(fresh, number)
        ours.add_reader(number, calls.append, "fresh")
        turn(ours)
        assert calls == [], "who waited for the closed file is not called for the new one"
        fresh_far.send(b"x")
        turn_until(ours, lambda: calls)
        assert set(calls) == {"fresh"}
        assert ours.remove_writer(number) is False


def test_a_file_that_a_duplicate_keeps_open_is_not_heard_of_any_more(
    ours: Loop, calls: list[str]
) -> None:
    former, former_far = socket.socketpair()
    fresh, fresh_far = socket.socketpair()
    with former, former_far, fresh, fresh_far, former.dup():
        ours.add_reader(former, calls.append, "former")
        number = former.fileno()
        move(fresh, number)
        ours.add_reader(number, calls.append, "fresh")
        former_far.send(b"x")
        turn(ours, 3)
        assert calls == []
        fresh_far.send(b"x")
        turn_until(ours, lambda: calls)


def test_removing_and_adding_again_works_in_any_rhythm(
    loop: Loop, pair: Pair, calls: list[str]
) -> None:
    near, far = pair
    far.send(b"x")
    for count in range(1, 4):
        loop.add_reader(near, calls.append, "r")
        turn(loop)
        assert len(calls) == count
        loop.remove_reader(near)
        turn(loop, count)
        assert len(calls) == count


def test_failing_callbacks_are_reported_and_stay(loop: Loop, pair: Pair) -> None:
    near, far = pair
    far.send(b"x")
    reports: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reports.append(context))
    loop.add_reader(near, lambda: 1 / 0)
    turn(loop, 2)
    assert [type(report["exception"]) for report in reports] == [ZeroDivisionError] * 2
    assert isinstance(reports[0]["handle"], asyncio.Handle)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_must_leave_the_loop_leaves_it(
    loop: Loop, pair: Pair, kind: type[BaseException]
) -> None:
    near, far = pair
    far.send(b"x")

    def leave() -> None:
        loop.remove_reader(near)
        raise kind

    loop.add_reader(near, leave)
    with pytest.raises(kind):
        loop.run_forever()
    turn(loop)


class FakeTransport:
    def __init__(self, is_closing: bool) -> None:
        self.closing = is_closing

    def is_closing(self) -> bool:
        return self.closing


def test_a_descriptor_of_an_inherited_transport_is_refused(loop: Loop, pair: Pair) -> None:
    near, _ = pair
    transport = FakeTransport(is_closing=False)
    loop._transports[near.fileno()] = transport
    for name in "add_reader", "add_writer", "remove_reader", "remove_writer":
        arguments = (near, print) if name.startswith("add") else (near,)
        with pytest.raises(
            RuntimeError, match=r"^File descriptor .*socket.* is used by transport <"
        ):
            getattr(loop, name)(*arguments)
    with pytest.raises(RuntimeError, match=f"^File descriptor {near.fileno()} is used"):
        loop.add_reader(near.fileno(), print)
    loop._add_reader(near, print)
    transport.closing = True
    assert loop.remove_reader(near) is True


def test_a_descriptor_of_a_stream_transport_is_refused(loop: Loop, pair: Pair) -> None:
    near, _ = pair

    async def main() -> None:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(near, print)
        transport.abort()
        await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(main(), 5))


def test_a_removed_callback_is_let_go_of(loop: Loop, pair: Pair) -> None:
    near, _ = pair

    class Callback:
        def __call__(self) -> None: ...

    callback = Callback()
    gone = weakref.ref(callback)
    loop.add_reader(near, callback)
    loop.remove_reader(near)
    del callback
    gc.collect()
    assert gone() is None


def test_a_loop_in_a_cycle_with_its_callbacks_is_collected(pair: Pair) -> None:
    near, _ = pair
    loop = epoll.EventLoop()
    gone = weakref.ref(loop)
    loop.add_reader(near, print, loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None


def test_many_descriptors(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(50)]
    calls: list[int] = []
    for index, (near, far) in enumerate(pairs):
        loop.add_reader(near, calls.append, index)
        if index % 2:
            far.send(b"x")
    turn(loop)
    assert sorted(calls) == list(range(1, 50, 2))
    for near, far in pairs:
        loop.remove_reader(near)
        near.close()
        far.close()


def test_signals_still_reach_their_handlers(loop: Loop, calls: list[str]) -> None:
    loop.add_signal_handler(signal.SIGUSR1, calls.append, "signal")
    os.kill(os.getpid(), signal.SIGUSR1)
    turn_until(loop, lambda: calls)
    assert loop.remove_signal_handler(signal.SIGUSR1)


@pytest.mark.parametrize("name", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
def test_signatures_are_those_of_asyncio(ours: Loop, name: str) -> None:
    oracle = asyncio.SelectorEventLoop()
    oracle.close()
    assert inspect.signature(getattr(ours, name)) == inspect.signature(getattr(oracle, name))
