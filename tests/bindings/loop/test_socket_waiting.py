"""How sock_recv() and its like wait: asyncio is the oracle, and taken for ours."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import os
import socket
import struct
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

import epoll
from tests.bindings.loop.socket_twins import MUCH, Loop, Pair, cancelled, finished, started
from tests.epoll.twins import run, run_forever, turn, turn_until


def test_the_protocol_of_coroutines(loop: Loop, pair: Pair) -> None:
    near, far = pair
    coroutine = loop.sock_recv(near, 10)
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        coroutine.send(1)
    future = coroutine.send(None)
    assert isinstance(future, asyncio.Future)
    assert coroutine.cr_await is not None
    far.send(b"x")
    turn_until(loop, future.done)
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    assert caught.value.value == b"x"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)


def test_a_tuple_is_returned_whole(loop: Loop, datagrams: Pair) -> None:
    near, far = datagrams
    far.sendto(b"x", near.getsockname())
    with pytest.raises(StopIteration) as caught:
        loop.sock_recvfrom(near, 10).send(None)
    assert caught.value.value == (b"x", far.getsockname() or None)


def test_an_exception_is_thrown_in(loop: Loop, pair: Pair) -> None:
    near, _ = pair
    fresh = loop.sock_recv(near, 10)
    with pytest.raises(KeyError):
        fresh.throw(KeyError("k"))
    waiting = loop.sock_recv(near, 10)
    waiting.send(None)
    with pytest.raises(KeyError, match="k"):
        waiting.throw(KeyError("k"))
    with pytest.raises(RuntimeError):
        waiting.send(None)
    unharmed = loop.sock_recv(near, 10)
    with pytest.raises(TypeError):
        unharmed.throw(7)
    unharmed.close()


def test_awaited_by_everything_that_awaits(loop: Loop, pair: Pair) -> None:
    near, far = pair

    async def main() -> list[bytes]:
        for _ in range(5):
            await loop.sock_sendall(far, b"x")
        results = [
            await loop.sock_recv(near, 1),
            await asyncio.wait_for(loop.sock_recv(near, 1), 5),
            *await asyncio.gather(loop.sock_recv(near, 1)),
            await asyncio.create_task(loop.sock_recv(near, 1)),
            await asyncio.ensure_future(loop.sock_recv(near, 1)),
        ]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(near, 1), 0.001)
        return results

    assert run(loop, main()) == [b"x"] * 5


def test_the_task_of_one_has_a_text(ours: Loop, pair: Pair) -> None:
    near, _ = pair
    task = started(ours, ours.sock_recv(near, 1))
    assert "sock_recv" in repr(task)
    cancelled(ours, task)


def test_who_looks_at_a_coroutine_sees_that_it_waits(loop: Loop, pair: Pair) -> None:
    near, far = pair
    coroutine = loop.sock_recv(near, 10)
    assert (coroutine.cr_running, coroutine.cr_suspended) == (False, False)
    assert getattr(coroutine, "cr_state", inspect.CORO_CREATED) == inspect.CORO_CREATED  # 3.15
    task = started(loop, coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
    assert len(task.get_stack()) <= 1
    task.print_stack(file=io.StringIO())
    far.send(b"x")
    assert finished(loop, task) == b"x"
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.skipif(not hasattr(asyncio, "format_call_graph"), reason="new in Python 3.14")
def test_a_task_that_waits_has_a_call_graph(loop: Loop, pair: Pair) -> None:
    near, far = pair

    async def wait_for_a_byte() -> bytes:
        return await loop.sock_recv(near, 10)  # type: ignore[no-any-return]

    task = started(loop, wait_for_a_byte())
    assert "wait_for_a_byte" in asyncio.format_call_graph(task)
    far.send(b"x")
    assert finished(loop, task) == b"x"


def test_a_cancelled_operation_has_consumed_nothing(loop: Loop, pair: Pair) -> None:
    near, far = pair
    task = started(loop, loop.sock_recv(near, 10))
    task.cancel()
    far.send(b"kept")
    turn_until(loop, task.done)
    assert task.cancelled()
    turn(loop, 3)
    assert run(loop, loop.sock_recv(near, 10)) == b"kept"
    assert loop.remove_reader(near) is False


def test_nothing_is_lost_when_it_is_cancelled_after_its_socket_became_ready(
    ours: Loop, pair: Pair
) -> None:
    # asyncio has read the bytes by then, and drops them.
    near, far = pair
    coroutine = ours.sock_recv(near, 10)
    future = coroutine.send(None)
    far.send(b"kept")
    turn_until(ours, future.done)
    with pytest.raises(asyncio.CancelledError):
        coroutine.throw(asyncio.CancelledError())
    assert run(ours, ours.sock_recv(near, 10)) == b"kept"


def test_an_accept_that_is_cancelled_late_leaves_the_connection(
    ours: Loop, listening: socket.socket
) -> None:
    coroutine = ours.sock_accept(listening)
    future = coroutine.send(None)
    with socket.create_connection(listening.getsockname()) as client:
        turn_until(ours, future.done)
        coroutine.close()
        connection, peer = run(ours, ours.sock_accept(listening))
        with connection:
            assert peer == client.getsockname()


@pytest.mark.parametrize("name", ["sock_connect", "sock_accept", "sock_sendall"])
def test_cancelling_cleans_up(
    loop: Loop, listening: socket.socket, sockets: Callable[..., socket.socket], name: str
) -> None:
    near, _ = (sockets(end) for end in socket.socketpair())
    operations: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "sock_accept": lambda: loop.sock_accept(listening),
        "sock_sendall": lambda: loop.sock_sendall(near, MUCH),
        "sock_connect": lambda: loop.sock_connect(connecting, listening.getsockname()),
    }
    connecting = sockets()
    task = loop.create_task(operations[name]())
    turn(loop)
    if not task.done():
        cancelled(loop, task)
    turn(loop, 2)
    for sock in listening, near, connecting:
        assert loop.remove_reader(sock) is False
        assert loop.remove_writer(sock) is False


def test_the_second_of_two_receivers_puts_the_first_out(loop: Loop, pair: Pair) -> None:
    near, far = pair
    first = started(loop, loop.sock_recv(near, 10))
    second = started(loop, loop.sock_recv(near, 10))
    far.send(b"x")
    assert finished(loop, second) == b"x"
    far.send(b"y")
    turn(loop, 3)
    assert not first.done()
    third = started(loop, loop.sock_recv(near, 10))
    assert finished(loop, third) == b"y"
    cancelled(loop, first)


def test_a_receiver_that_was_put_out_does_not_put_out_its_successor(loop: Loop, pair: Pair) -> None:
    near, far = pair
    first = started(loop, loop.sock_recv(near, 10))
    second = started(loop, loop.sock_recv(near, 10))
    cancelled(loop, first)
    turn(loop, 2)
    far.send(b"x")
    assert finished(loop, second) == b"x"


def test_a_reader_and_a_receiver_take_the_same_place(loop: Loop, pair: Pair) -> None:
    near, far = pair
    calls: list[str] = []
    handle = loop._add_reader(near, calls.append, "reader")
    task = started(loop, loop.sock_recv(near, 10))
    assert handle.cancelled()
    far.send(b"x")
    assert finished(loop, task) == b"x"
    assert calls == []


def test_a_writer_stays_while_a_receiver_waits(loop: Loop, pair: Pair) -> None:
    near, far = pair
    calls: list[str] = []
    loop.add_writer(near, calls.append, "w")
    task = started(loop, loop.sock_recv(near, 10))
    far.send(b"x")
    assert finished(loop, task) == b"x"
    calls.clear()
    turn(loop)
    assert calls == ["w"]
    assert loop.remove_writer(near) is True


def test_a_socket_closed_while_one_waits(loop: Loop, pair: Pair) -> None:
    near, _ = pair
    task = started(loop, loop.sock_recv(near, 10))
    near.close()
    turn(loop, 3)
    assert not task.done()
    cancelled(loop, task)
    turn(loop, 2)


def test_a_number_that_is_given_away_again_belongs_to_the_new_socket(
    loop: Loop, sockets: Callable[..., socket.socket]
) -> None:
    for _ in range(3):
        former, former_far = socket.socketpair()
        former.setblocking(False)
        number = former.fileno()
        with former, former_far:
            task = started(loop, loop.sock_recv(former, 10))
            former_far.send(b"x")
            assert finished(loop, task) == b"x"
        fresh, fresh_far = socket.socketpair()
        assert fresh.fileno() == number
        fresh.setblocking(False)
        with fresh, fresh_far:
            task = started(loop, loop.sock_recv(fresh, 10))
            fresh_far.send(b"y")
            assert finished(loop, task) == b"y"


def test_who_waits_for_a_closed_socket_does_not_wake_for_the_new_one(
    ours: Loop, sockets: Callable[..., socket.socket]
) -> None:
    former, former_far = socket.socketpair()
    former.setblocking(False)
    waiting = started(ours, ours.sock_recv(former, 10))
    fresh, fresh_far = (sockets(end) for end in socket.socketpair())
    os.dup2(fresh.fileno(), former.fileno())
    third = sockets(socket.socket(fileno=former.detach()))
    task = started(ours, ours.sock_recv(third, 10))
    fresh_far.send(b"new")
    assert finished(ours, task) == b"new"
    assert not waiting.done()
    cancelled(ours, waiting)
    former_far.close()


def test_errors_while_it_waits(loop: Loop, sockets: Callable[..., socket.socket]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near = sockets(server.accept()[0])
    receiving = started(loop, loop.sock_recv(near, 10))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with pytest.raises(ConnectionResetError):
        finished(loop, receiving)
    with pytest.raises(BrokenPipeError):
        run(loop, loop.sock_sendall(near, b"x"))


def test_a_peer_that_goes_away_ends_a_sendall(loop: Loop, pair: Pair) -> None:
    near, far = pair
    sending = started(loop, loop.sock_sendall(near, MUCH))
    far.close()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        finished(loop, sending)


def test_closing_the_loop_with_operations_pending(loop: Loop, pair: Pair) -> None:
    near, _ = pair
    receiving = loop.sock_recv(near, 10)
    sending = loop.sock_sendall(near, MUCH)
    receiving.send(None)
    sending.send(None)
    loop.close()
    receiving.close()
    with pytest.raises(asyncio.CancelledError):
        sending.throw(asyncio.CancelledError())


def test_nothing_keeps_a_socket_alive_after_its_operations(ours: Loop) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    task = started(ours, ours.sock_recv(near, 10))
    far.send(b"x")
    assert finished(ours, task) == b"x"
    gone = weakref.ref(near)
    near.close()
    far.close()
    del near, task
    gc.collect()
    assert gone() is None


def test_a_pending_operation_in_a_cycle_is_collected(pair: Pair) -> None:
    near, _ = pair
    loop = epoll.EventLoop()
    task = started(loop, loop.sock_recv(near, 10))
    gone = weakref.ref(loop)
    task._log_destroy_pending = False
    loop.close()
    del loop, task
    gc.collect()
    assert gone() is None


class Data(bytearray):
    """Bytes that may know somebody."""


def test_a_pending_sendall_that_its_data_lead_to_is_collected(loop: Loop, pair: Pair) -> None:
    near, _ = pair
    data = Data(MUCH)
    data.task = started(loop, loop.sock_sendall(near, data))
    data.task._log_destroy_pending = False
    gone = weakref.ref(data)
    loop.close()
    del data
    gc.collect()
    assert gone() is None or type(loop) is not epoll.EventLoop  # asyncio's loop still has it


def test_an_operation_that_runs_is_not_run_again(
    loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = pair
    failures: list[str] = []

    class Nosy(asyncio.Future[Any]):
        def __await__(self) -> Generator[Any, None, Any]:
            for _ in range(2):
                for use in (coroutine.close, lambda: coroutine.send(None)):
                    with pytest.raises(ValueError, match="coroutine already executing") as caught:
                        use()
                    failures.append(str(caught.value))
                if not self.done():
                    yield from super().__await__()
            return self.result()

    monkeypatch.setattr(loop, "create_future", lambda: Nosy(loop=loop))
    coroutine = loop.sock_recv(near, 10)
    future = coroutine.send(None)
    far.send(b"x")
    turn_until(loop, future.done)
    with pytest.raises(StopIteration) as caught:
        coroutine.send(None)
    assert caught.value.value == b"x"
    assert len(failures) == 4


def test_an_interrupt_in_the_future_of_an_operation_leaves_the_loop(
    loop: Loop, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = pair

    class Interrupted(asyncio.Future[None]):
        def done(self) -> bool:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "create_future", lambda: Interrupted(loop=loop))
    coroutine = loop.sock_recv(near, 10)
    coroutine.send(None)
    far.send(b"x")
    with pytest.raises(KeyboardInterrupt):
        run_forever(loop)
    loop.remove_reader(near)
    coroutine.close()
