"""Wrong calls raise the same exceptions as those of select.epoll."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import epoll

BIG = 2**31
HUGE = 2**80


class NoDescriptor:
    def fileno(self) -> str:
        return "no int"


class NegativeDescriptor:
    def fileno(self) -> int:
        return -7


class FailingDescriptor:
    def fileno(self) -> int:
        raise LookupError("no descriptor today")


WRONG_CONSTRUCTIONS = [
    (0,), (-2,), ("x",), (None,), (1.5,), (BIG,), (HUGE,),
    (-1, 1), (-1, "x"), (-1, BIG), (1, 0, 0),
]  # fmt: skip
WRONG_DESCRIPTORS = [
    "x", None, 1.0, b"x", -1, BIG, HUGE, 999_999, NoDescriptor(), NegativeDescriptor(),
    FailingDescriptor(), object(),
]  # fmt: skip
WRONG_TIMEOUTS = ["x", b"x", (), float("nan"), float("inf"), HUGE, 1e30, 1 + 2j]
WRONG_MAXEVENTS = [0, -2, "x", 1.0, None, BIG, HUGE]


def outcome(call: Callable[[], Any]) -> tuple[type[BaseException], int | None] | None:
    """Return the kind of exception that a call raises, and its errno; None when it raises none."""
    try:
        call()
    except Exception as failure:
        return type(failure), getattr(failure, "errno", None)
    return None


def assert_same_failure(call: Callable[[Any], Any]) -> None:
    expected = outcome(lambda: call(select.epoll))
    got = outcome(lambda: call(epoll.Epoll))
    assert expected is not None, "the oracle accepts this"
    assert got == expected


@pytest.mark.parametrize("arguments", WRONG_CONSTRUCTIONS)
def test_construction(arguments: tuple[Any, ...]) -> None:
    assert_same_failure(lambda cls: cls(*arguments))


@pytest.mark.parametrize("fd", WRONG_DESCRIPTORS)
@pytest.mark.parametrize("method", ["register", "modify", "unregister"])
def test_descriptor(method: str, fd: object) -> None:
    arguments = () if method == "unregister" else (epoll.EPOLLIN,)
    assert_same_failure(lambda cls: getattr(cls(), method)(fd, *arguments))


@pytest.mark.parametrize("mask", ["x", None, 1.5])
@pytest.mark.parametrize("method", ["register", "modify"])
def test_event_mask(method: str, mask: object, ready_fd: int) -> None:
    assert_same_failure(lambda cls: getattr(cls(), method)(ready_fd, mask))


@pytest.mark.parametrize("timeout", WRONG_TIMEOUTS)
def test_timeout(timeout: object) -> None:
    assert_same_failure(lambda cls: cls().poll(timeout))


@pytest.mark.parametrize("maxevents", WRONG_MAXEVENTS)
def test_maxevents(maxevents: object) -> None:
    assert_same_failure(lambda cls: cls().poll(0, maxevents))


@pytest.mark.parametrize("fd", ["x", None, 1.0, BIG, HUGE])
def test_fromfd(fd: object) -> None:
    assert_same_failure(lambda cls: cls.fromfd(fd))


def test_registration_errors_of_the_kernel(ready_fd: int, tmp_path: Path) -> None:
    regular = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)

    def register_twice(cls: type[epoll.Epoll]) -> None:
        opened = cls()
        opened.register(ready_fd)
        opened.register(ready_fd)

    def register_itself(cls: type[epoll.Epoll]) -> None:
        opened = cls()
        opened.register(opened)

    def change_exclusive(cls: type[epoll.Epoll]) -> None:
        opened = cls()
        opened.register(ready_fd, epoll.EPOLLIN | epoll.EPOLLEXCLUSIVE)
        opened.modify(ready_fd, epoll.EPOLLIN)

    assert_same_failure(register_twice)
    assert_same_failure(register_itself)
    assert_same_failure(change_exclusive)
    assert_same_failure(lambda cls: cls().register(regular))
    assert_same_failure(lambda cls: cls().modify(ready_fd, 1))
    assert_same_failure(lambda cls: cls().unregister(ready_fd))
    os.close(regular)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("register", (0, 1)),
        ("modify", (0, 1)),
        ("unregister", (0,)),
        ("poll", (0,)),
        ("fileno", ()),
        ("__enter__", ()),
    ],
)
def test_use_after_close(twin: type[epoll.Epoll], method: str, arguments: tuple[Any, ...]) -> None:
    opened = twin()
    opened.close()
    with pytest.raises(ValueError, match="I/O operation on closed epoll object"):
        getattr(opened, method)(*arguments)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda ep: ep.poll(0, 0), "maxevents must be greater than 0, got 0"),
        (lambda ep: ep.poll(float("nan")), "Invalid value NaN (not a number)"),
        (lambda ep: ep.register(), "register() missing required argument 'fd' (pos 1)"),
        (lambda ep: ep.register(-1), "file descriptor cannot be a negative integer (-1)"),
        (lambda ep: ep.poll(0, BIG), "Python int too large to convert to C int"),
        (lambda ep: ep.register("x"), "argument must be an int, or have a fileno() method"),
    ],
)
def test_texts(twin: type[epoll.Epoll], call: Callable[[Any], Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError, OverflowError)) as caught:
        call(twin())
    assert text in str(caught.value)


def test_flags_and_size_hint_have_the_texts_of_the_oracle(twin: type[epoll.Epoll]) -> None:
    with pytest.raises(ValueError, match="negative sizehint"):
        twin(0)
    with pytest.raises(OSError, match="invalid flags"):
        twin(-1, 1)


# Differences that are meant.


@pytest.mark.parametrize("mask", [-1, 2**32, 2**32 + 1, HUGE, -HUGE])
@pytest.mark.parametrize("method", ["register", "modify"])
def test_mask_out_of_range_is_not_cut(method: str, mask: int, ready_fd: int) -> None:
    """select.epoll takes the low 32 bits, so that 2**32 + 1 means EPOLLIN."""
    opened = epoll.Epoll()
    if method == "modify":
        opened.register(ready_fd)
    with pytest.raises(OverflowError, match="must be between 0 and 4294967295"):
        getattr(opened, method)(ready_fd, mask)


def test_fromfd_of_a_negative_number_opens_nothing() -> None:
    """select.epoll.fromfd(-1) opens a new epoll, and fromfd(-2) is closed from the start."""
    with pytest.raises(ValueError, match="negative"):
        epoll.Epoll.fromfd(-1)


def test_text_of_a_timeout_of_the_wrong_type(ep: epoll.Epoll) -> None:
    with pytest.raises(TypeError, match="timeout must be a real number or None, not str"):
        ep.poll("soon")


@pytest.mark.parametrize("timeout", [2**63, HUGE])
def test_timeout_in_nanoseconds_out_of_range(ep: epoll.Epoll, timeout: int) -> None:
    with pytest.raises(OverflowError, match="timeout is too large"):
        ep.wait(timeout)


@pytest.mark.parametrize("timeout", ["x", 1.5])
def test_timeout_in_nanoseconds_of_the_wrong_type(ep: epoll.Epoll, timeout: object) -> None:
    with pytest.raises(TypeError):
        ep.wait(timeout)


def test_number_too_long_to_be_printed(ep: epoll.Epoll, ready_fd: int) -> None:
    for call in (
        lambda: ep.register(ready_fd, 10**5000),
        lambda: ep.poll(10**5000),
        lambda: ep.poll(0, 10**5000),
        lambda: ep.wait(10**5000),
        lambda: ep.register(10**5000),
    ):
        with pytest.raises(OverflowError):
            call()
