"""EventBatch, and Epoll.wait_into that fills it."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import epoll

IN, OUT = epoll.EPOLLIN, epoll.EPOLLOUT

MakePipe = Callable[[], tuple[int, int]]


class Thing:
    """An object whose end can be watched."""


@pytest.fixture
def three(ep: epoll.Epoll, make_pipe: MakePipe) -> list[int]:
    """Three readable descriptors, registered with "0", "1" and nothing attached."""
    fds = []
    for number in range(3):
        reader, writer = make_pipe()
        os.write(writer, b"x")
        ep.register(reader, IN, data=str(number) if number < 2 else None)
        fds.append(reader)
    return fds


def test_new_batch_is_empty() -> None:
    batch = epoll.EventBatch(8)
    assert (len(batch), batch.capacity, list(batch), list(batch.objects())) == (0, 8, [], [])
    assert repr(batch) == "<epoll.EventBatch 0 of 8>"


def test_filling(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(capacity=8)
    assert ep.wait_into(batch) == 3
    assert len(batch) == 3
    assert list(batch) == [(fd, IN) for fd in three]
    assert list(batch.objects()) == [("0", IN), ("1", IN), (three[2], IN)]
    assert (batch[0], batch[-1]) == ((three[0], IN), (three[2], IN))
    assert repr(batch) == "<epoll.EventBatch 3 of 8>"


def test_capacity_bounds_a_filling(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(2)
    assert ep.wait_into(batch=batch, timeout_ns=0) == 2
    assert len({fd for fd, _ in batch}) == 2


def test_filling_again_replaces(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    for fd in three[:2]:
        ep.unregister(fd)
    assert ep.wait_into(batch, 0) == 1
    assert list(batch.objects()) == [(three[2], IN)]


def test_nothing_ready_leaves_it_empty(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    for fd in three:
        os.read(fd, 1)
    assert ep.wait_into(batch, 100_000) == 0
    assert list(batch) == []


def test_failed_wait_leaves_it_empty_and_free(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    ep.close()
    for _ in range(2):
        with pytest.raises(ValueError, match="closed epoll"):
            ep.wait_into(batch, 0)
    assert len(batch) == 0


def test_index(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    for index in (3, -4, 2**62):
        with pytest.raises(IndexError, match="EventBatch index out of range"):
            batch[index]
    with pytest.raises(TypeError):
        batch["0"]


@pytest.mark.parametrize(
    ("capacity", "failure"),
    [
        (0, ValueError),
        (-1, ValueError),
        ("x", TypeError),
        (1.0, TypeError),
        (None, TypeError),
        (2**80, OverflowError),
        (sys.maxsize, MemoryError),
        (sys.maxsize // 16, MemoryError),
    ],
)
def test_capacity_that_is_none(capacity: int, failure: type[Exception]) -> None:
    with pytest.raises(failure):
        epoll.EventBatch(capacity)


@pytest.mark.parametrize("wrong", [None, [], object(), 5])
def test_only_a_batch_is_filled(ep: epoll.Epoll, wrong: object) -> None:
    with pytest.raises(TypeError, match="must be EventBatch, not"):
        ep.wait_into(wrong, 0)


def test_batch_cannot_be_subclassed() -> None:
    with pytest.raises(TypeError):
        type("Derived", (epoll.EventBatch,), {})


# Tuples that are used again must not be noticed.


def test_kept_tuples_keep_their_contents(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    first, *others = iter(batch)
    assert [first, *others] == [(fd, IN) for fd in three]
    by_hash = {item: None for item in batch}
    assert [hash(item) for item in batch] == [hash((fd, IN)) for fd in three]
    assert list(by_hash) == [(fd, IN) for fd in three]


def test_hash_of_a_dropped_tuple_is_not_inherited(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    hashes = []
    iterator = iter(batch)
    hashes.append(hash(next(iterator)))
    hashes.append(hash(next(iterator)))
    assert hashes == [hash((three[0], IN)), hash((three[1], IN))]


def test_reused_tuple_is_seen_by_the_collector(ep: epoll.Epoll, make_pipe: MakePipe) -> None:
    """A collection stops watching a tuple of numbers; an object that is put in later must count."""
    for data in (None, Thing()):
        reader, writer = make_pipe()
        os.write(writer, b"x")
        ep.register(reader, IN, data)
    del data
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    iterator = batch.objects()
    next(iterator)
    gc.collect()
    pair = next(iterator)
    watch = weakref.ref(pair[0])
    pair[0].cycle = pair
    del pair, iterator
    batch.clear()
    ep.close()
    gc.collect()
    assert watch() is None


def test_iterators_are_independent_and_end(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    one, other = iter(batch), iter(batch)
    assert next(one) == next(other)
    assert len(list(one)) == 2
    assert list(one) == []
    assert next(other) == (three[1], IN)
    assert iter(other) is other


def test_iterator_keeps_the_batch_alive(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    iterator = batch.objects()
    del batch
    assert [data for data, _ in iterator] == ["0", "1", three[2]]


def test_clearing_during_an_iteration_ends_it(ep: epoll.Epoll, three: list[int]) -> None:
    batch = epoll.EventBatch(8)
    ep.wait_into(batch, 0)
    seen = []
    for item in batch:
        seen.append(item)
        batch.clear()
    assert seen == [(three[0], IN)]


def test_iterator_type_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        type(iter(epoll.EventBatch(1)))()


# What a batch keeps alive.


@pytest.mark.parametrize("end", ["clear", "fill again", "del"])
def test_attached_objects_live_as_long_as_the_batch_holds_them(
    ep: epoll.Epoll, ready_fd: int, end: str
) -> None:
    thing = Thing()
    watch = weakref.ref(thing)
    ep.register(ready_fd, IN, thing)
    del thing
    batch = epoll.EventBatch(4)
    ep.wait_into(batch, 0)
    ep.unregister(ready_fd)
    assert [data for data, _ in batch.objects()] == [watch()]
    if end == "clear":
        batch.clear()
    elif end == "fill again":
        ep.wait_into(batch, 0)
    else:
        del batch
    assert watch() is None


def test_cycle_through_a_batch_is_collected(ep: epoll.Epoll, ready_fd: int) -> None:
    thing = Thing()
    thing.batch = epoll.EventBatch(4)
    ep.register(ready_fd, IN, thing)
    ep.wait_into(thing.batch, 0)
    ep.unregister(ready_fd)
    watch = weakref.ref(thing)
    del thing
    gc.collect()
    assert watch() is None


def test_finalizer_may_not_fill_the_batch_that_is_dropping_it(
    ep: epoll.Epoll, ready_fd: int
) -> None:
    outcomes: list[str] = []

    class Filler:
        def __del__(self) -> None:
            assert list(batch) == []
            try:
                ep.wait_into(batch, 0)
            except RuntimeError as failure:
                outcomes.append(str(failure))

    batch = epoll.EventBatch(4)
    ep.register(ready_fd, IN, Filler())
    ep.wait_into(batch, 0)
    ep.modify(ready_fd, IN, None)
    assert outcomes == []
    assert ep.wait_into(batch, 0) == 1
    assert outcomes == ["the EventBatch is in use by another wait"]
    assert list(batch.objects()) == [(ready_fd, IN)]


@pytest.mark.parametrize(
    "use",
    [lambda ep, batch: ep.wait_into(batch, 0), lambda ep, batch: batch.clear()],
    ids=["wait_into", "clear"],
)
def test_batch_of_a_waiting_thread_is_not_to_be_touched(
    ep: epoll.Epoll, pipe: tuple[int, int], use: Callable[[epoll.Epoll, epoll.EventBatch], Any]
) -> None:
    batch = epoll.EventBatch(4)
    ep.register(pipe[0], IN)
    counts: list[int] = []
    waiter = threading.Thread(target=lambda: counts.append(ep.wait_into(batch)))
    waiter.start()
    try:
        with pytest.raises(RuntimeError, match="in use by another wait"):
            until_it_fails(lambda: use(epoll.Epoll(), batch))
        assert (len(batch), list(batch)) == (0, [])
    finally:
        os.write(pipe[1], b"x")
        waiter.join(10)
    assert counts == [1]
    assert list(batch) == [(pipe[0], IN)]


def until_it_fails(call: Callable[[], object]) -> None:
    """Call until the other thread is inside; a hang ends with the time limit of the test."""
    while True:
        call()
