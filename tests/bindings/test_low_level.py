"""The functions create, ctl, wait and close."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import epoll

IN, OUT = epoll.EPOLLIN, epoll.EPOLLOUT
ADD, MOD, DEL = epoll.EPOLL_CTL_ADD, epoll.EPOLL_CTL_MOD, epoll.EPOLL_CTL_DEL

MakePipe = Callable[[], tuple[int, int]]


@pytest.fixture
def epfd() -> Iterator[int]:
    fd = epoll.create()
    yield fd
    epoll.close(fd)


def test_create_answers_a_close_on_exec_descriptor(epfd: int) -> None:
    assert isinstance(epfd, int)
    assert os.get_inheritable(epfd) is False


def test_create_takes_the_flag_that_is_always_set() -> None:
    fd = epoll.create(epoll.EPOLL_CLOEXEC)
    assert os.get_inheritable(fd) is False
    epoll.close(fd)
    epoll.close(epoll.create(flags=0))


@pytest.mark.parametrize("flags", [1, -1, epoll.EPOLL_CLOEXEC | 1])
def test_create_refuses_other_flags_as_the_kernel_does(flags: int) -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        epoll.create(flags)
    assert caught.value.errno == errno.EINVAL


def test_program_of_the_three_functions(epfd: int, ready_fd: int) -> None:
    assert epoll.ctl(epfd, ready_fd, 1, 1) is None
    assert epoll.wait(epfd, 10, 1000) == [(ready_fd, IN)]


def test_modify_and_remove(epfd: int, pair: tuple[socket.socket, socket.socket]) -> None:
    one, _ = pair
    epoll.ctl(epfd, one, ADD, IN)
    assert epoll.wait(epfd, timeout_ms=0) == []
    epoll.ctl(epfd, one, MOD, OUT)
    assert epoll.wait(epfd, timeout_ms=0) == [(one.fileno(), OUT)]
    epoll.ctl(epfd, one, DEL)
    assert epoll.wait(epfd, timeout_ms=0) == []


def test_events_are_unsigned(epfd: int, ready_fd: int) -> None:
    epoll.ctl(epfd, ready_fd, ADD, IN | epoll.EPOLLET)
    assert epoll.wait(epfd, timeout_ms=0) == [(ready_fd, IN)]
    assert epoll.wait(epfd, timeout_ms=0) == []


def test_file_objects_stand_for_both_descriptors(
    ep: epoll.Epoll, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    other.send(b"x")
    epoll.ctl(ep, one, ADD, IN)
    assert epoll.wait(ep, timeout_ms=0) == [(one.fileno(), IN)]


def test_reports_of_descriptors_that_an_epoll_object_registered(
    ep: epoll.Epoll, ready_fd: int
) -> None:
    ep.register(ready_fd, IN, data="attached")
    assert epoll.wait(ep, timeout_ms=0) == [(ready_fd, IN)]


def test_maxevents_bounds_the_list(epfd: int, make_pipe: MakePipe) -> None:
    for _ in range(5):
        reader, writer = make_pipe()
        os.write(writer, b"x")
        epoll.ctl(epfd, reader, ADD, IN)
    assert len(epoll.wait(epfd, 2, 0)) == 2
    assert len(epoll.wait(epfd, -1, 0)) == 5


def test_large_maxevents_neither_uses_the_stack_nor_touches_the_memory(
    epfd: int, ready_fd: int
) -> None:
    epoll.ctl(epfd, ready_fd, ADD, IN)
    before = _resident_bytes()
    # 12 bytes for each: more than any stack, less than this machine's address space.
    assert epoll.wait(epfd, 20_000_000, 0) == [(ready_fd, IN)]
    assert _resident_bytes() - before < 50_000_000


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_wait_waits_for_its_milliseconds(epfd: int) -> None:
    start = time.monotonic()
    assert epoll.wait(epfd, 1, 30) == []
    assert time.monotonic() - start >= 0.03


@pytest.mark.parametrize("timeout", [-1, -5, None])
def test_negative_timeout_waits_without_end(
    epfd: int, pipe: tuple[int, int], timeout: int | None
) -> None:
    epoll.ctl(epfd, pipe[0], ADD, IN)
    writer = threading.Timer(0.02, os.write, (pipe[1], b"x"))
    writer.start()
    assert epoll.wait(epfd, 1, timeout) == [(pipe[0], IN)]
    writer.join()


def test_errors_of_the_kernel(epfd: int, ready_fd: int) -> None:
    epoll.ctl(epfd, ready_fd, ADD, IN)
    with pytest.raises(FileExistsError):
        epoll.ctl(epfd, ready_fd, ADD, IN)
    epoll.ctl(epfd, ready_fd, DEL)
    with pytest.raises(FileNotFoundError):
        epoll.ctl(epfd, ready_fd, DEL)
    with pytest.raises(FileNotFoundError):
        epoll.ctl(epfd, ready_fd, MOD, IN)
    with pytest.raises(OSError, match="Invalid argument"):
        epoll.ctl(epfd, ready_fd, 77, IN)
    with pytest.raises(OSError, match="Invalid argument"):
        epoll.wait(ready_fd, 1, 0)
    with pytest.raises(PermissionError), open(__file__, "rb") as regular:  # noqa: PTH123
        epoll.ctl(epfd, regular, ADD, IN)


def test_closed_descriptor_is_an_error() -> None:
    fd = epoll.create()
    epoll.close(fd)
    for call in (
        lambda: epoll.close(fd),
        lambda: epoll.wait(fd, 1, 0),
        lambda: epoll.ctl(fd, 0, ADD, IN),
    ):
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            call()
        assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("wrong", ["1", 1.0, None, b"1"])
def test_wrong_types(epfd: int, ready_fd: int, wrong: object) -> None:
    for call in (
        lambda: epoll.create(wrong),
        lambda: epoll.ctl(wrong, ready_fd, ADD, IN),
        lambda: epoll.ctl(epfd, wrong, ADD, IN),
        lambda: epoll.ctl(epfd, ready_fd, wrong, IN),
        lambda: epoll.ctl(epfd, ready_fd, ADD, wrong),
        lambda: epoll.wait(wrong, 1, 0),
        lambda: epoll.wait(epfd, wrong, 0),
        lambda: epoll.close(wrong),
    ):
        with pytest.raises(TypeError):
            call()
    if wrong is not None:
        with pytest.raises(TypeError):
            epoll.wait(epfd, 1, wrong)


def test_only_an_int_is_closed(ep: epoll.Epoll) -> None:
    with pytest.raises(TypeError):
        epoll.close(ep)
    assert not ep.closed


@pytest.mark.parametrize("events", [-1, 2**32, 2**100])
def test_event_mask_out_of_range(epfd: int, ready_fd: int, events: int) -> None:
    with pytest.raises(OverflowError):
        epoll.ctl(epfd, ready_fd, ADD, events)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 2**80])
def test_numbers_beyond_an_int(epfd: int, ready_fd: int, number: int) -> None:
    for call in (
        lambda: epoll.create(number),
        lambda: epoll.ctl(epfd, number, ADD, IN),
        lambda: epoll.ctl(epfd, ready_fd, number, IN),
        lambda: epoll.wait(epfd, number, 0),
        lambda: epoll.wait(epfd, 1, number),
        lambda: epoll.close(number),
    ):
        with pytest.raises(OverflowError):
            call()


@pytest.mark.parametrize("maxevents", [0, -2])
def test_maxevents_must_be_positive(epfd: int, maxevents: int) -> None:
    with pytest.raises(ValueError, match=f"maxevents must be greater than 0, got {maxevents}"):
        epoll.wait(epfd, maxevents, 0)


def test_negative_descriptors(epfd: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        epoll.ctl(epfd, -1, ADD, IN)
    with pytest.raises(OSError, match="Bad file descriptor"):
        epoll.close(-1)


def test_call_that_does_not_fit(epfd: int) -> None:
    with pytest.raises(TypeError, match=r"missing required argument 'op' \(pos 3\)"):
        epoll.ctl(epfd, 0)
    with pytest.raises(TypeError, match=r"takes at most 4 positional arguments \(5 given\)"):
        epoll.ctl(epfd, 0, 1, 1, 1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'timeout'"):
        epoll.wait(epfd, timeout=0)
    with pytest.raises(TypeError, match="multiple values for argument 'epfd'"):
        epoll.wait(epfd, epfd=epfd)


@pytest.mark.parametrize("name", [name for name in dir(select) if name.startswith("EPOLL")])
def test_constants_are_those_of_the_select_module(name: str) -> None:
    assert getattr(epoll, name) == getattr(select, name)


def test_constants_that_the_select_module_lacks() -> None:
    assert (ADD, DEL, MOD) == (1, 2, 3)
    assert epoll.EPOLLWAKEUP == 1 << 29
