"""Several threads with one Epoll."""

from __future__ import annotations

import errno
import gc
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import epoll

IN, OUT = epoll.EPOLLIN, epoll.EPOLLOUT
LIMIT = 10  # seconds, after which a wait counts as a hang

MakePipe = Callable[[], tuple[int, int]]

WAITS: list[Callable[[epoll.Epoll], Any]] = [
    lambda ep: ep.poll(),
    lambda ep: ep.poll(LIMIT),
    lambda ep: ep.wait(),
    lambda ep: ep.wait_into(epoll.EventBatch(4)),
]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def sleeping_threads() -> int:
    """Count the threads of this process that sleep in epoll_wait(2) or epoll_pwait2(2)."""
    numbers = {"x86_64": {"232", "281", "441"}, "aarch64": {"22", "441"}}.get(os.uname().machine)
    if numbers is None:
        pytest.skip("the numbers of the system calls are known on x86-64 and aarch64 only")
    count = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            count += task.joinpath("syscall").read_text().split()[0] in numbers
        except (OSError, IndexError):
            continue  # the thread has ended
    return count


def await_sleepers(count: int) -> None:
    """Return when that many threads sleep in the kernel."""
    deadline = time.monotonic() + LIMIT
    while sleeping_threads() < count:
        assert time.monotonic() < deadline, "the threads do not wait"
        time.sleep(0)


@pytest.fixture(autouse=True)
def _needs_proc() -> None:
    try:
        Path("/proc/self/syscall").read_text()
    except OSError:
        pytest.skip("/proc/self/task/*/syscall cannot be read here")


def test_registering_while_another_thread_waits(
    ep: epoll.Epoll, ready_fd: int, threads: ThreadPoolExecutor
) -> None:
    waiting = threads.submit(ep.wait)
    await_sleepers(1)
    ep.register(ready_fd, IN, data="found")
    assert waiting.result(LIMIT) == [("found", IN)]


def test_other_threads_run_while_one_waits(ep: epoll.Epoll, threads: ThreadPoolExecutor) -> None:
    waiting = threads.submit(ep.poll, 0.05)
    await_sleepers(1)
    assert waiting.result(LIMIT) == []


def test_waiters_have_buffers_of_their_own(
    ep: epoll.Epoll, make_pipe: MakePipe, threads: ThreadPoolExecutor
) -> None:
    waiting = [threads.submit(ep.poll, LIMIT, 1) for _ in range(4)]
    await_sleepers(4)
    expected = set()
    for _ in range(4):
        reader, writer = make_pipe()
        ep.register(reader, IN | epoll.EPOLLONESHOT)
        os.write(writer, b"x")
        expected.add((reader, IN))
    assert {item for future in waiting for item in future.result(LIMIT)} == expected


@pytest.mark.parametrize("wait", WAITS)
def test_close_wakes_the_thread_that_waits(
    wait: Callable[[epoll.Epoll], Any], pipe: tuple[int, int], threads: ThreadPoolExecutor
) -> None:
    ep = epoll.Epoll()
    ep.register(pipe[0], IN)
    fd = ep.fileno()
    waiting = threads.submit(wait, ep)
    await_sleepers(1)
    ep.close()
    assert_closed(waiting)
    assert ep.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_close_wakes_all_threads_that_wait(threads: ThreadPoolExecutor) -> None:
    descriptors = open_descriptors()
    ep = epoll.Epoll()
    waiting = [threads.submit(WAITS[number % len(WAITS)], ep) for number in range(20)]
    await_sleepers(20)
    ep.close()
    ep.close()
    for future in waiting:
        assert_closed(future)
    assert open_descriptors() == descriptors


def assert_closed(future: Future[Any]) -> None:
    with pytest.raises(ValueError, match="I/O operation on closed epoll object"):
        future.result(LIMIT)


def open_descriptors() -> set[str]:
    gc.collect()  # what earlier tests left in cycles
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without a GIL the waiting thread cannot be kept from closing it meanwhile",
)
def test_number_of_a_closed_epoll_is_not_given_away_while_a_thread_waits(
    threads: ThreadPoolExecutor,
) -> None:
    """A thread that is about to wait again must not wait on somebody else's descriptor."""
    ep = epoll.Epoll()
    fd = ep.fileno()
    waiting = threads.submit(ep.poll)
    await_sleepers(1)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(LIMIT)
    try:
        ep.close()
        os.get_inheritable(fd)  # OSError when it is closed; keeps the GIL
    finally:
        sys.setswitchinterval(interval)
    assert_closed(waiting)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.get_inheritable(fd)


def test_use_after_a_close_that_waits_for_threads(
    pipe: tuple[int, int], threads: ThreadPoolExecutor
) -> None:
    ep = epoll.Epoll()
    ep.register(pipe[0], IN)
    waiting = threads.submit(ep.poll)
    await_sleepers(1)
    ep.close()
    for call in (ep.fileno, lambda: ep.register(pipe[0]), lambda: ep.poll(0)):
        with pytest.raises(ValueError, match="closed epoll"):
            call()
    assert repr(ep) == "<epoll.Epoll closed>"
    assert_closed(waiting)


def test_close_that_cannot_wake_the_waiters_leaves_it_open(
    pipe: tuple[int, int], threads: ThreadPoolExecutor
) -> None:
    ep = epoll.Epoll()
    ep.register(pipe[0], IN, data="data")
    waiting = threads.submit(ep.wait)
    await_sleepers(1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)) as caught:
            ep.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.errno == errno.EMFILE
    assert not ep.closed
    assert ep.registrations() == {pipe[0]: (IN, "data")}
    os.write(pipe[1], b"x")
    assert waiting.result(LIMIT) == [("data", IN)]
    ep.close()


def test_waiters_of_another_object_on_the_same_epoll_are_left_alone(
    pipe: tuple[int, int], threads: ThreadPoolExecutor
) -> None:
    ep = epoll.Epoll()
    other = epoll.Epoll.fromfd(os.dup(ep.fileno()))
    ep.register(pipe[0], IN)
    waiting = threads.submit(ep.poll)
    await_sleepers(1)
    other.close()  # nobody waits on this one
    os.write(pipe[1], b"x")
    assert waiting.result(LIMIT) == [(pipe[0], IN)]
    ep.close()


@pytest.mark.slow
def test_everything_at_once(make_pipe: MakePipe, threads: ThreadPoolExecutor) -> None:
    """Threads that register, modify, wait and drop; what counts is that every answer is sound."""
    ep = epoll.Epoll()
    pipes = [make_pipe() for _ in range(8)]
    for _, writer in pipes:
        os.write(writer, b"x")
    stop = threading.Event()
    own = [f"data of {reader}" for reader, _ in pipes]

    def churn(reader: int, data: str) -> int:
        rounds = 0
        while not stop.is_set():
            ep.register(reader, IN, data)
            ep.modify(reader, IN | OUT)
            assert ep.registrations()[reader] == (IN | OUT, data)
            ep.unregister(reader)
            rounds += 1
        return rounds

    def watch() -> int:
        rounds = 0
        batch = epoll.EventBatch(8)
        by_fd = dict(zip([reader for reader, _ in pipes], own, strict=True))
        while not stop.is_set():
            assert all(fd in by_fd and mask & IN for fd, mask in ep.poll(0))
            assert all(data in own or data in by_fd for data, _ in ep.wait(1000))
            ep.wait_into(batch, 0)
            assert all(data in own or data in by_fd for data, _ in batch.objects())
            rounds += 1
        return rounds

    working = [
        threads.submit(churn, reader, data) for (reader, _), data in zip(pipes, own, strict=True)
    ]
    working += [threads.submit(watch) for _ in range(3)]
    stop.wait(0.3)
    stop.set()
    assert all(future.result(LIMIT) > 0 for future in working)
    ep.close()


@pytest.mark.parametrize("attempt", range(20))
def test_close_races_with_waits(attempt: int, threads: ThreadPoolExecutor) -> None:
    ep = epoll.Epoll()
    start = threading.Barrier(5)

    def wait_until_closed() -> None:
        start.wait(LIMIT)
        with pytest.raises(ValueError, match="closed epoll"):
            poll_for_ever(ep)

    waiting = [threads.submit(wait_until_closed) for _ in range(4)]
    start.wait(LIMIT)
    ep.close()
    for future in waiting:
        future.result(LIMIT)


def poll_for_ever(ep: epoll.Epoll) -> None:
    while True:
        ep.poll(LIMIT)


def test_one_batch_for_several_threads_is_refused_not_mixed_up(
    ep: epoll.Epoll, ready_fd: int, threads: ThreadPoolExecutor
) -> None:
    ep.register(ready_fd, IN, "data")
    batch = epoll.EventBatch(4)
    start = threading.Barrier(4)

    def fill() -> None:
        start.wait(LIMIT)
        for _ in range(300):
            try:
                assert ep.wait_into(batch, 0) == 1
            except RuntimeError:
                continue
            assert all(item == ("data", IN) for item in batch.objects())

    for future in [threads.submit(fill) for _ in range(4)]:
        future.result(LIMIT)
