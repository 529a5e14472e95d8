"""After a fork the child shares the epoll, and closing its copy disturbs nobody."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import epoll

# Python 3.12 and later warn of a fork while threads run; here that is what is tested.
warnings.simplefilter("ignore", DeprecationWarning)


def in_child(act: Callable[[], None]) -> None:
    """Run a function in a forked child; what it raises is printed and fails this script."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def await_sleep(thread: threading.Thread) -> None:
    """Return when a thread sleeps in epoll_wait(2) or epoll_pwait2(2)."""
    numbers = {"x86_64": ("232", "281", "441"), "aarch64": ("22", "441")}[os.uname().machine]
    state = Path(f"/proc/self/task/{thread.native_id}/syscall")
    deadline = time.monotonic() + 10
    while state.read_text().split()[0] not in numbers:
        assert time.monotonic() < deadline, "the thread does not wait"
        time.sleep(0)


def test_child_shares_the_epoll() -> None:
    reader, writer = os.pipe()
    with epoll.Epoll() as ep:
        ep.register(reader, epoll.EPOLLIN, "data")
        os.write(writer, b"x")

        def use() -> None:
            assert ep.wait(0) == [("data", epoll.EPOLLIN)]
            ep.unregister(reader)
            ep.close()

        in_child(use)
        assert ep.wait(0) == [], "what the child removed is removed"
        assert reader in ep, "but the parent's table is its own"


def test_child_closes_while_threads_of_the_parent_wait() -> None:
    reader, writer = os.pipe()
    ep = epoll.Epoll()
    ep.register(reader, epoll.EPOLLIN)
    answers: list[object] = []
    waiter = threading.Thread(target=lambda: answers.append(ep.poll(10)))
    waiter.start()
    await_sleep(waiter)

    def close() -> None:
        fd = ep.fileno()
        ep.close()
        assert ep.closed
        try:
            os.fstat(fd)
        except OSError:
            return
        raise AssertionError("the child's descriptor is still open")

    in_child(close)
    assert answers == [], "the parent's thread was woken up"
    os.write(writer, b"x")
    waiter.join(10)
    assert answers == [[(reader, epoll.EPOLLIN)]], answers
    ep.close()


def test_child_can_wait_where_the_parent_waits() -> None:
    reader, writer = os.pipe()
    ep = epoll.Epoll()
    waiter = threading.Thread(target=ep.poll, args=(10,))
    waiter.start()
    await_sleep(waiter)

    def wait() -> None:
        assert ep.poll(0.001) == []
        own = epoll.Epoll()
        own.register(reader, epoll.EPOLLIN)
        assert own.poll(0.001) == []
        closer = threading.Timer(0.02, ep.close)
        closer.start()
        try:
            ep.poll(10)
        except ValueError:
            return
        raise AssertionError("close() did not wake the child's own thread")

    in_child(wait)
    ep.register(reader, epoll.EPOLLIN)
    os.write(writer, b"x")
    waiter.join(10)
    assert not waiter.is_alive()


test_child_shares_the_epoll()
test_child_closes_while_threads_of_the_parent_wait()
test_child_can_wait_where_the_parent_waits()
