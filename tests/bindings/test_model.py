"""Random sequences of calls answer what select.epoll answers, and what a model of the data says."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import epoll

MASKS = st.sampled_from(
    [
        epoll.EPOLLIN,
        epoll.EPOLLOUT,
        epoll.EPOLLIN | epoll.EPOLLOUT,
        epoll.EPOLLIN | epoll.EPOLLRDHUP,
        epoll.EPOLLIN | epoll.EPOLLONESHOT,
        epoll.EPOLLIN | epoll.EPOLLEXCLUSIVE,
        epoll.EPOLLONESHOT | epoll.EPOLLEXCLUSIVE,
        0,
    ]
)
PLACES = st.integers(0, 5)
DATA = st.one_of(st.none(), st.integers(100, 105).map(str))


def make_pair() -> tuple[socket.socket, socket.socket]:
    pair = socket.socketpair()
    for end in pair:
        end.setblocking(False)
    return pair


def error_of(call: Callable[[], None]) -> int | None:
    try:
        call()
    except OSError as failure:
        return failure.errno
    return None


class Twins(RuleBasedStateMachine):
    """Does everything to a select.epoll and to an epoll.Epoll; their files are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.oracle = select.epoll()
        self.ours = epoll.Epoll()
        self.pairs = [make_pair() for _ in range(6)]
        self.data: dict[int, tuple[int, str | None]] = {}

    def teardown(self) -> None:
        self.oracle.close()
        self.ours.close()
        for pair in self.pairs:
            for end in pair:
                end.close()

    def both(self, oracle: Callable[[], None], ours: Callable[[], None]) -> int | None:
        """Call both and return the error, which must be the same; None when they succeeded."""
        expected, got = (error_of(call) for call in (oracle, ours))
        assert got == expected
        return got

    def fd(self, place: int) -> int:
        return self.pairs[place][0].fileno()

    @rule(place=PLACES, mask=MASKS, data=DATA)
    def register(self, place: int, mask: int, data: str | None) -> None:
        fd = self.fd(place)
        error = self.both(
            lambda: self.oracle.register(fd, mask), lambda: self.ours.register(fd, mask, data)
        )
        if error is None:
            self.data[fd] = (mask, data)

    @rule(place=PLACES, mask=MASKS)
    def modify(self, place: int, mask: int) -> None:
        fd = self.fd(place)
        error = self.both(lambda: self.oracle.modify(fd, mask), lambda: self.ours.modify(fd, mask))
        if error is None:
            self.data[fd] = (mask, self.data[fd][1])

    @rule(place=PLACES, mask=MASKS, data=DATA)
    def attach(self, place: int, mask: int, data: str | None) -> None:
        fd = self.fd(place)
        error = self.both(
            lambda: self.oracle.modify(fd, mask), lambda: self.ours.modify(fd, mask, data)
        )
        if error is None:
            self.data[fd] = (mask, data)

    @rule(place=PLACES)
    def unregister(self, place: int) -> None:
        fd = self.fd(place)
        self.both(lambda: self.oracle.unregister(fd), lambda: self.ours.unregister(fd))
        self.data.pop(fd, None)  # what the kernel does not know is forgotten, too

    @rule(place=PLACES)
    def send(self, place: int) -> None:
        self.pairs[place][1].send(b"x")

    @rule(place=PLACES)
    def receive(self, place: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self.pairs[place][0].recv(100)

    @rule(place=PLACES)
    def finish(self, place: int) -> None:
        self.pairs[place][1].shutdown(socket.SHUT_WR)
        self.renew(place)

    @rule(place=PLACES)
    def renew(self, place: int) -> None:
        """Close both ends without unregistering, and use their numbers again."""
        for end in self.pairs[place]:
            end.close()
        self.pairs[place] = make_pair()

    @invariant()
    def same_reports(self) -> None:
        if any(mask & epoll.EPOLLONESHOT for mask, _ in self.data.values()):
            return  # to ask is to change; the rules below do
        expected = sorted(self.oracle.poll(0))
        assert sorted(self.ours.poll(0)) == expected
        self.assert_same_data(expected, self.ours.wait(0))

    @rule()
    def poll(self) -> None:
        assert sorted(self.ours.poll(0)) == sorted(self.oracle.poll(0))

    @rule()
    def wait(self) -> None:
        self.assert_same_data(self.oracle.poll(0), self.ours.wait(0))

    @rule()
    def wait_into(self) -> None:
        batch = epoll.EventBatch(10)
        expected = self.oracle.poll(0)
        assert self.ours.wait_into(batch, 0) == len(expected)
        assert sorted(batch) == sorted(expected)
        self.assert_same_data(expected, list(batch.objects()))

    def assert_same_data(self, expected: list[tuple[int, int]], got: list[tuple[Any, int]]) -> None:
        wanted = [
            (fd if self.data[fd][1] is None else self.data[fd][1], events)
            for fd, events in expected
        ]
        assert sorted(got, key=repr) == sorted(wanted, key=repr)

    @invariant()
    def same_table(self) -> None:
        assert self.ours.registrations() == self.data
        assert len(self.ours) == len(self.data)
        assert all(fd in self.ours for fd in self.data)


TestTwins = pytest.mark.slow(Twins.TestCase)
TestTwins.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
