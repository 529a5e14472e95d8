"""Objects attached to descriptors: whose they are, how long they live, what wait() reports."""

from __future__ import annotations

import gc
import os
import select
import weakref
from collections.abc import Callable

import pytest

import epoll

IN, OUT = epoll.EPOLLIN, epoll.EPOLLOUT

MakePipe = Callable[[], tuple[int, int]]


class Thing:
    """An object whose end can be watched."""


def test_wait_reports_the_object_or_the_descriptor(ep: epoll.Epoll, make_pipe: MakePipe) -> None:
    with_data, without = make_pipe(), make_pipe()
    for _, writer in (with_data, without):
        os.write(writer, b"x")
    thing = Thing()
    ep.register(with_data[0], IN, thing)
    ep.register(without[0], IN, data=None)
    assert ep.wait(0) == [(thing, IN), (without[0], IN)]
    assert ep.poll(0) == [(with_data[0], IN), (without[0], IN)]


def test_wait_takes_nanoseconds_and_maxevents(ep: epoll.Epoll, make_pipe: MakePipe) -> None:
    assert ep.wait(1_000) == []
    for number in range(3):
        reader, writer = make_pipe()
        os.write(writer, b"x")
        ep.register(reader, IN, data=number)
    assert len(ep.wait(timeout_ns=None, maxevents=2)) == 2
    assert len(ep.wait(-1)) == 3


def test_false_objects_are_objects(ep: epoll.Epoll, ready_fd: int) -> None:
    ep.register(ready_fd, IN, data=())
    assert ep.wait(0) == [((), IN)]


def test_modify_keeps_replaces_or_detaches(ep: epoll.Epoll, ready_fd: int) -> None:
    ep.register(ready_fd, IN, data="first")
    assert ep.wait(0) == [("first", IN)]
    ep.modify(ready_fd, IN)
    assert ep.wait(0) == [("first", IN)]
    ep.modify(ready_fd, IN, ...)
    assert ep.wait(0) == [("first", IN)]
    ep.modify(ready_fd, IN, data="second")
    assert ep.wait(0) == [("second", IN)]
    ep.modify(ready_fd, IN, data=None)
    assert ep.wait(0) == [(ready_fd, IN)]


@pytest.mark.parametrize("end", ["unregister", "modify", "close", "del"])
def test_object_lives_as_long_as_its_registration(ready_fd: int, end: str) -> None:
    ep = epoll.Epoll()
    thing = Thing()
    watch = weakref.ref(thing)
    ep.register(ready_fd, IN, thing)
    del thing
    assert ep.wait(0)[0][0] is watch()
    assert ep.registrations()[ready_fd][1] is watch()
    if end == "unregister":
        ep.unregister(ready_fd)
    elif end == "modify":
        ep.modify(ready_fd, IN, None)
    elif end == "close":
        ep.close()
    else:
        del ep
    assert watch() is None


def test_close_leaves_an_empty_table(ready_fd: int) -> None:
    ep = epoll.Epoll()
    ep.register(ready_fd, IN, "data")
    ep.close()
    assert (len(ep), ready_fd in ep, ep.registrations()) == (0, False, {})


# Descriptors are numbers, and numbers are used again.


def test_reused_number_gets_its_own_object(ep: epoll.Epoll, make_pipe: MakePipe) -> None:
    reader, _ = make_pipe()
    ep.register(reader, IN, data="old")
    os.close(reader)
    new_reader, new_writer = make_pipe()
    assert new_reader == reader
    os.write(new_writer, b"x")
    ep.register(new_reader, IN, data="new")
    assert ep.wait(0) == [("new", IN)]
    assert len(ep) == 1


def test_report_of_a_file_that_lives_on_never_has_the_object_of_a_stranger(
    ep: epoll.Epoll, make_pipe: MakePipe
) -> None:
    reader, writer = make_pipe()
    os.write(writer, b"x")
    ep.register(reader, IN, data="old")
    copy = os.dup(reader)  # keeps the open file, and its registration, alive
    os.close(reader)
    new_reader, _ = make_pipe()
    assert new_reader == reader
    ep.register(new_reader, IN, data="new")  # not readable
    assert ep.wait(0) == [(reader, IN)]
    assert ep.poll(0) == [(reader, IN)]
    os.close(copy)
    assert ep.wait(0) == []


def test_what_is_registered_elsewhere_is_reported_by_number(ep: epoll.Epoll, ready_fd: int) -> None:
    for kind in (epoll.Epoll, select.epoll):
        other = kind.fromfd(os.dup(ep.fileno()))
        other.register(ready_fd, IN)
        assert ep.wait(0) == [(ready_fd, IN)]
        assert len(ep) == 0
        other.unregister(ready_fd)
        other.close()


def test_modifying_what_is_registered_elsewhere_adopts_it(ep: epoll.Epoll, ready_fd: int) -> None:
    other = select.epoll.fromfd(os.dup(ep.fileno()))
    other.register(ready_fd, IN)
    ep.modify(ready_fd, IN, data="mine")
    assert ep.wait(0) == [("mine", IN)]
    assert ready_fd in ep


@pytest.mark.parametrize("closed", [False, True], ids=["ENOENT", "EBADF"])
def test_unregistering_what_is_gone_drops_the_object(
    ep: epoll.Epoll, make_pipe: MakePipe, closed: bool
) -> None:
    reader, _ = make_pipe()
    thing = Thing()
    watch = weakref.ref(thing)
    ep.register(reader, IN, thing)
    del thing
    os.close(reader)
    if not closed:
        make_pipe()
    with pytest.raises(OSError, match=r"Bad file descriptor|No such file") as caught:
        ep.unregister(reader)
    del caught
    assert watch() is None
    assert len(ep) == 0


# The garbage collector, and finalizers that come back.


def test_cycle_through_the_object_is_collected(ready_fd: int) -> None:
    ep = epoll.Epoll()
    fd = ep.fileno()
    thing = Thing()
    thing.ep = ep
    ep.register(ready_fd, IN, thing)
    ep.wait(0)
    watch = weakref.ref(thing)
    del ep, thing
    gc.collect()
    assert watch() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


class Meddler:
    """An object whose finalizer uses the epoll that it was attached to."""

    def __init__(self, ep: epoll.Epoll, fd: int) -> None:
        self.ep, self.fd = ep, fd
        self.log: list[object] = []

    def __del__(self) -> None:
        self.log.append(len(self.ep))
        if self.ep.closed:
            return
        self.log.append(self.ep.registrations())
        self.ep.poll(0)
        if self.fd in self.ep:
            self.ep.modify(self.fd, OUT, data=None)
            self.ep.unregister(self.fd)
        else:
            self.ep.register(self.fd, IN)
        self.ep.close()


@pytest.mark.parametrize("act", ["unregister", "modify", "close"])
def test_finalizer_finds_the_epoll_after_the_change(ready_fd: int, act: str) -> None:
    ep = epoll.Epoll()
    meddler = Meddler(ep, ready_fd)
    log = meddler.log
    ep.register(ready_fd, IN, meddler)
    del meddler
    if act == "unregister":
        ep.unregister(ready_fd)
        assert log == [0, {}]
    elif act == "modify":
        ep.modify(ready_fd, IN, "next")
        assert log == [1, {ready_fd: (IN, "next")}]
    else:
        ep.close()
        assert log == [0]
    assert ep.closed


def test_finalizer_during_the_making_of_a_list(ready_fd: int) -> None:
    """A collection in the middle of poll() may close the epoll that is being reported."""

    class Closer:
        def __del__(self) -> None:
            ep.unregister(ready_fd)
            ep.close()

    ep = epoll.Epoll()
    ep.register(ready_fd, IN, data="data")
    cycle = Closer()
    cycle.itself = cycle
    del cycle
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        seen = ep.wait(0)
    finally:
        gc.set_threshold(*threshold)
    assert seen in ([("data", IN)], [(ready_fd, IN)])
    gc.collect()
    assert ep.closed
