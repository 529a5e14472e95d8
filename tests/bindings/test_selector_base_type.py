"""SelectorBase, the compiled half of EpollSelector; the whole is tested in tests/epoll."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator

import pytest

import epoll
from epoll import _core

IN, OUT, ET = epoll.EPOLLIN, epoll.EPOLLOUT, epoll.EPOLLET
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@pytest.fixture
def base() -> Iterator[_core.SelectorBase]:
    made = _core.SelectorBase()
    yield made
    made.close()


def test_select_reports_what_was_given_as_key(base: _core.SelectorBase, ready_fd: int) -> None:
    key = object()
    base._add(ready_fd, IN, key)
    assert base.select(0) == [(key, READ)]
    assert base.select(0)[0] is base.select(0)[0]


@pytest.mark.parametrize("wanted", [READ, WRITE, READ | WRITE])
def test_hang_up_counts_as_all_that_was_asked_for(base: _core.SelectorBase, wanted: int) -> None:
    mask = (IN if wanted & READ else 0) | (OUT if wanted & WRITE else 0)
    one, other = socket.socketpair()
    base._add(one.fileno(), mask, "key")
    other.close()
    assert base.select(0) == [("key", wanted)]
    one.close()


def test_change_of_the_events_changes_the_report(
    base: _core.SelectorBase, pair: tuple[socket.socket, socket.socket]
) -> None:
    one, other = pair
    other.send(b"x")
    base._add(one.fileno(), IN | OUT, "key")
    assert base.select(0) == [("key", READ | WRITE)]
    base._change(one.fileno(), OUT, "key")
    assert base.select(0) == [("key", WRITE)]
    base._change(one.fileno(), OUT, "other key")
    assert base.select(0) == [("other key", WRITE)]


def test_change_without_a_difference_is_no_system_call(
    base: _core.SelectorBase, ready_fd: int
) -> None:
    base._add(ready_fd, IN, "key")
    # Removed behind its back: a MOD would fail now.
    epoll.ctl(base.fileno(), ready_fd, epoll.EPOLL_CTL_DEL)
    base._change(ready_fd, IN, "new")
    with pytest.raises(FileNotFoundError):
        base._change(ready_fd, IN | OUT, "new")


@pytest.mark.parametrize("option", [ET, epoll.EPOLLONESHOT])
def test_change_arms_again(base: _core.SelectorBase, ready_fd: int, option: int) -> None:
    base._add(ready_fd, IN | option, "key")
    assert base.select(0) == [("key", READ)]
    assert base.select(0) == []
    base._change(ready_fd, IN | option, "key")
    assert base.select(0) == [("key", READ)]


def test_change_to_and_from_exclusive(base: _core.SelectorBase, ready_fd: int) -> None:
    base._add(ready_fd, IN, "plain")
    base._change(ready_fd, IN | epoll.EPOLLEXCLUSIVE, "exclusive")
    assert base.select(0) == [("exclusive", READ)]
    base._change(ready_fd, IN, "plain")
    assert base.select(0) == [("plain", READ)]


def test_unknown_descriptor(base: _core.SelectorBase, ready_fd: int) -> None:
    with pytest.raises(FileNotFoundError):
        base._change(ready_fd, IN, "key")
    with pytest.raises(FileNotFoundError):
        base._remove(ready_fd)


def test_what_others_registered_is_left_out(base: _core.SelectorBase, ready_fd: int) -> None:
    epoll.ctl(base.fileno(), ready_fd, epoll.EPOLL_CTL_ADD, IN)
    assert base.select(0) == []


def test_report_without_a_key_does_not_hide_the_others(
    base: _core.SelectorBase, ready_fd: int
) -> None:
    copies = [os.dup(ready_fd) for _ in range(3)]
    for fd in copies:
        base._add(fd, IN, fd)
    base._change(copies[1], IN | OUT, copies[1])
    epoll.ctl(base.fileno(), copies[0], epoll.EPOLL_CTL_MOD, IN)  # takes its token away
    assert sorted(base.select(0)) == [(fd, READ) for fd in sorted(copies[1:])]
    for fd in copies:
        os.close(fd)


def test_closed(base: _core.SelectorBase, ready_fd: int) -> None:
    base.close()
    for call in (
        lambda: base.select(0),
        lambda: base._add(ready_fd, IN, "key"),
        lambda: base._change(ready_fd, IN, "key"),
        lambda: base._remove(ready_fd),
        base.fileno,
    ):
        with pytest.raises(ValueError, match="closed epoll"):
            call()
