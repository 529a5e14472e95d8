"""No way to end an epoll, or to fail to make one, leaves a descriptor behind."""

from __future__ import annotations

import contextlib
import os
import threading

import epoll


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def close_it() -> None:
    epoll.Epoll().close()


def drop_it() -> None:
    epoll.Epoll()


def use_as_context() -> None:
    with contextlib.suppress(ZeroDivisionError), epoll.Epoll():
        raise ZeroDivisionError


def functions() -> None:
    epoll.close(epoll.create())


def select() -> None:
    selector = epoll.EpollSelector()
    reader, writer = os.pipe()
    selector.register(reader, 1)
    selector.close()
    os.close(reader)
    os.close(writer)


def fail() -> None:
    for arguments in ((0,), (-1, 1)):
        with contextlib.suppress(ValueError, OSError):
            epoll.Epoll(*arguments)
    with contextlib.suppress(ValueError):
        epoll.Epoll.fromfd(-1)


def close_while_threads_wait() -> None:
    ep = epoll.Epoll()
    started = threading.Barrier(4)

    def wait() -> None:
        started.wait(10)
        with contextlib.suppress(ValueError):
            ep.poll(10)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait(10)
    ep.close()
    for thread in threads:
        thread.join(10)


for act in (close_it, drop_it, use_as_context, functions, select, fail, close_while_threads_wait):
    act()
    before = descriptors()
    for _ in range(50):
        act()
    assert descriptors() == before, act.__name__
