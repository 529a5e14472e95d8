"""loop.statistics(): what a loop counts of itself."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import epoll
from tests.epoll.twins import finish, run, turn, turn_until


@pytest.fixture
def loop() -> Iterator[epoll.EventLoop]:
    loop = epoll.EventLoop()
    yield loop
    finish(loop)


def test_new_loop_has_done_nothing_but_watch_its_self_pipe(loop: epoll.EventLoop) -> None:
    statistics = loop.statistics()
    assert statistics.turns == statistics.callbacks_run == statistics.running_ns == 0
    assert statistics.descriptors_watched == 1
    assert statistics.connections_open == 0
    assert statistics.timer_lag == statistics.run_time
    assert statistics.timer_lag.count == 0


def test_statistics_do_not_change(loop: epoll.EventLoop) -> None:
    before = loop.statistics()
    turn(loop)
    assert before.turns == 0
    assert loop.statistics().turns == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.turns = 5  # type: ignore[misc]


def test_repr_names_all(loop: epoll.EventLoop) -> None:
    text = repr(loop.statistics())
    fields = [field.name for field in dataclasses.fields(epoll.LoopStatistics)]
    assert [name for name in fields if f"{name}=" not in text] == []


def test_callbacks_and_ready_depth(loop: epoll.EventLoop) -> None:
    for _ in range(4):
        loop.call_soon(int)
    turn(loop)  # one more
    assert loop.statistics().callbacks_run == 5
    assert loop.statistics().ready == 5
    turn(loop)
    assert loop.statistics().ready == 1
    assert loop.statistics().most_ready == 5


def test_timers_and_how_late_they_are(loop: epoll.EventLoop) -> None:
    fired: list[int] = []
    loop.call_at(loop.time() - 5, fired.append, 1)
    loop.call_later(3600, fired.append, 2).cancel()
    turn(loop)
    statistics = loop.statistics()
    assert statistics.timers_fired == statistics.timer_lag.count == 1
    assert 5 <= statistics.timer_lag.total_ns / 1e9 < 15
    assert statistics.timer_lag.quantile_ns(0.5) >= 5e9


def test_timer_is_late_by_what_ran_before_it(loop: epoll.EventLoop) -> None:
    def block() -> None:
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass

    loop.call_later(0, loop.stop)
    loop.call_soon(block)
    loop.run_forever()
    statistics = loop.statistics()
    assert statistics.timer_lag.total_ns >= 0.02e9
    assert statistics.run_time.quantile_ns(1) >= 0.02e9


def test_waiting_and_running_are_all_the_time_there_was(loop: epoll.EventLoop) -> None:
    begin = time.monotonic_ns()
    run(loop, asyncio.sleep(0.01))
    whole = time.monotonic_ns() - begin
    statistics = loop.statistics()
    assert statistics.waiting_ns >= 0.005e9
    assert statistics.running_ns > 0
    assert statistics.waiting_ns + statistics.running_ns <= whole
    assert statistics.run_time.total_ns == statistics.running_ns


def test_connections_and_bytes(loop: epoll.EventLoop) -> None:
    async def talk() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(2 * await reader.readexactly(1000))
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(1000))
        assert loop.statistics().connections_opened >= 1
        assert len(await reader.read(-1)) == 2000
        writer.close()
        await writer.wait_closed()
        server.close()

    run(loop, talk())
    turn_until(loop, lambda: loop.statistics().connections_open == 0)
    statistics = loop.statistics()
    assert statistics.connections_opened == statistics.connections_closed == 2
    assert statistics.connections_accepted == 1
    assert statistics.bytes_received == statistics.bytes_sent == 3000
    assert statistics.accept_errors == 0
    assert statistics.descriptors_watched == 1


def test_bytes_of_datagrams(loop: epoll.EventLoop) -> None:
    async def talk() -> None:
        received = loop.create_future()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: object) -> None:
                received.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
        transport.sendto(bytes(700), transport.get_extra_info("sockname"))
        await received
        transport.close()

    run(loop, talk())
    statistics = loop.statistics()
    assert statistics.bytes_received == statistics.bytes_sent == 700


def test_bytes_of_pipes(loop: epoll.EventLoop) -> None:
    size = 200_000  # more than a pipe takes at once

    async def talk() -> None:
        reading, writing = os.pipe()
        transport, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(writing, "wb", 0)
        )
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
        )
        transport.write(bytes(size))
        transport.close()
        assert len(await reader.read(-1)) == size

    run(loop, talk())
    statistics = loop.statistics()
    assert statistics.bytes_received == statistics.bytes_sent == size


def test_open_connections_are_open(loop: epoll.EventLoop) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        transport, _ = run(loop, loop.connect_accepted_socket(asyncio.Protocol, ours))
        assert loop.statistics().connections_open == 1
        transport.abort()
        turn_until(loop, lambda: loop.statistics().connections_open == 0)


def test_watched_descriptors_events_and_system_calls(loop: epoll.EventLoop) -> None:
    reader, writer = os.pipe()
    before = loop.statistics()
    loop.add_reader(reader, os.read, reader, 1)
    os.write(writer, b"x")
    turn(loop)
    after = loop.statistics()
    assert after.descriptors_watched == before.descriptors_watched + 1
    assert after.epoll_ctl_calls == before.epoll_ctl_calls + 1
    assert (after.events, after.waits, after.callbacks_run) == (1, 1, 2)
    loop.remove_reader(reader)
    os.close(reader)
    os.close(writer)


def test_any_thread_may_ask_while_it_runs_and_sees_no_number_go_back(
    loop: epoll.EventLoop,
) -> None:
    turns: list[int] = []
    open_: list[int] = []

    def ask() -> None:
        for _ in range(200):
            statistics = loop.statistics()
            turns.append(statistics.turns)
            open_.append(statistics.connections_open)
        loop.call_soon_threadsafe(loop.stop)

    async def tick() -> None:
        while True:
            await asyncio.sleep(0)

    ticking = loop.create_task(tick())
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    loop.run_forever()
    thread.join(10)
    ticking.cancel()
    turn(loop, 2)
    assert turns == sorted(turns)
    assert min(open_) == max(open_) == 0


def test_closed_loop_still_answers() -> None:
    loop = epoll.EventLoop()
    turn(loop)
    loop.close()
    assert loop.statistics().turns == 1
    assert loop.statistics().descriptors_watched == 0


@pytest.mark.parametrize(
    ("fraction", "expected"), [(0.0, 1024), (0.5, 1024), (0.75, 4096), (1.0, float("inf"))]
)
def test_quantile_is_the_bound_of_its_bucket(fraction: float, expected: float) -> None:
    durations = epoll.Durations((2, 0, 1, 1), 10_000)
    assert durations.bounds_ns == (1024, 2048, 4096)
    assert durations.quantile_ns(fraction) == expected


def test_quantile_of_nothing_is_zero() -> None:
    assert epoll.Durations((0, 0), 0).quantile_ns(0.99) == 0


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_quantile_of_no_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        epoll.Durations((1,), 0).quantile_ns(fraction)
