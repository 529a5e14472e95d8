"""The class Epoll: first what it shares with select.epoll, then what it has of its own."""

from __future__ import annotations

import decimal
import errno
import fractions
import inspect
import os
import select
import socket
import threading
import time
from collections.abc import Callable

import pytest

import epoll

IN, OUT, PRI = epoll.EPOLLIN, epoll.EPOLLOUT, epoll.EPOLLPRI

Pair = tuple[socket.socket, socket.socket]
MakePipe = Callable[[], tuple[int, int]]


def test_life(twin: type[epoll.Epoll]) -> None:
    opened = twin()
    fd = opened.fileno()
    assert os.get_inheritable(fd) is False
    assert opened.closed is False
    assert opened.close() is None
    assert opened.closed is True
    opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("arguments", [(), (1,), (-1,), (16, 0), (-1, epoll.EPOLL_CLOEXEC)])
def test_construction(twin: type[epoll.Epoll], arguments: tuple[int, ...]) -> None:
    twin(*arguments).close()
    twin(sizehint=2, flags=0).close()


def test_context_manager_closes(twin: type[epoll.Epoll]) -> None:
    opened = twin()
    with opened as same:
        assert same is opened
        assert opened.poll(0) == []
    assert opened.closed


def test_exit_takes_up_to_three_arguments(twin: type[epoll.Epoll]) -> None:
    assert twin().__exit__() is None
    assert twin().__exit__(None, None, None) is None
    with pytest.raises(TypeError):
        twin().__exit__(1, 2, 3, 4)


def test_dropped_object_closes_its_descriptor(twin: type[epoll.Epoll]) -> None:
    opened = twin()
    fd = opened.fileno()
    del opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_register_modify_unregister(twin: type[epoll.Epoll], pair: Pair) -> None:
    one, other = pair
    with twin() as ep:
        assert ep.register(one, IN) is None
        assert ep.poll(0) == []
        other.send(b"x")
        assert ep.poll(0) == [(one.fileno(), IN)]
        assert ep.modify(fd=one, eventmask=IN | OUT) is None
        assert ep.poll(timeout=0, maxevents=1) == [(one.fileno(), IN | OUT)]
        assert ep.unregister(fd=one) is None
        assert ep.poll(0) == []


def test_default_mask(twin: type[epoll.Epoll], pair: Pair) -> None:
    one, other = pair
    with twin() as ep:
        ep.register(one)
        other.send(b"x")
        assert ep.poll(0) == [(one.fileno(), IN | OUT)]


def test_fromfd_shares_the_epoll(twin: type[epoll.Epoll], ready_fd: int) -> None:
    with twin() as ep:
        same = twin.fromfd(os.dup(ep.fileno()))
        same.register(ready_fd, IN)
        assert ep.poll(0) == same.poll(0) == [(ready_fd, IN)]
        assert isinstance(same, twin)
        same.close()
        assert ep.poll(0) == [(ready_fd, IN)]


def test_edge_triggered_and_one_shot(twin: type[epoll.Epoll], pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with twin() as ep:
        ep.register(reader, IN | epoll.EPOLLET)
        os.write(writer, b"x")
        assert ep.poll(0) == [(reader, IN)]
        assert ep.poll(0) == []
        ep.modify(reader, IN | epoll.EPOLLONESHOT)
        assert ep.poll(0) == [(reader, IN)]
        assert ep.poll(0) == []
        ep.modify(reader, IN | epoll.EPOLLONESHOT)
        assert ep.poll(0) == [(reader, IN)]


def test_maxevents_bounds_the_list(twin: type[epoll.Epoll], make_pipe: MakePipe) -> None:
    with twin() as ep:
        for _ in range(4):
            reader, writer = make_pipe()
            os.write(writer, b"x")
            ep.register(reader, IN)
        assert len(ep.poll(0, 3)) == 3
        assert len(ep.poll(0, -1)) == 4


@pytest.mark.parametrize("timeout", [0, 0.0, -0.0, -0.0005, -1e-12, True * 0])
def test_timeout_of_nothing_returns_at_once(
    twin: type[epoll.Epoll], timeout: float, alarm: Callable[..., None]
) -> None:
    alarm(_fail, 5)
    with twin() as ep:
        assert ep.poll(timeout) == []


@pytest.mark.parametrize("timeout", [None, -1, -1.0, -0.001])
def test_timeout_without_end(
    twin: type[epoll.Epoll], timeout: float | None, pipe: tuple[int, int]
) -> None:
    with twin() as ep:
        ep.register(pipe[0], IN)
        writer = threading.Timer(0.02, os.write, (pipe[1], b"x"))
        writer.start()
        assert ep.poll(timeout) == [(pipe[0], IN)]
        writer.join()


def test_poll_waits_for_its_seconds(twin: type[epoll.Epoll]) -> None:
    with twin() as ep:
        start = time.monotonic()
        assert ep.poll(0.02) == []
        assert time.monotonic() - start >= 0.02


def test_closing_the_file_ends_its_registration(
    twin: type[epoll.Epoll], make_pipe: MakePipe
) -> None:
    reader, writer = make_pipe()
    os.write(writer, b"x")
    with twin() as ep:
        ep.register(reader, IN)
        os.close(reader)
        assert ep.poll(0) == []
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            ep.unregister(reader)
        assert caught.value.errno == errno.EBADF


def test_it_is_true_even_when_it_is_empty(twin: type[epoll.Epoll]) -> None:
    assert twin()


def test_every_name_of_the_oracle_is_there() -> None:
    assert set(dir(select.epoll)) <= set(dir(epoll.Epoll))
    assert epoll.epoll is epoll.Epoll


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("register", "(self, /, fd, eventmask=7"),
        ("modify", "(self, /, fd, eventmask"),
        ("unregister", "(self, /, fd)"),
        ("poll", "(self, /, timeout=None, maxevents=-1)"),
        ("close", "(self, /)"),
        ("fileno", "(self, /)"),
        ("__enter__", "(self, /)"),
        ("__exit__", "(self, exc_type=None, exc_value=None, exc_tb=None, /)"),
    ],
)
def test_parameters_begin_with_those_of_the_oracle(name: str, parameters: str) -> None:
    """Spelt out: inspect cannot read those of select.epoll.register on Python 3.13.0."""
    assert str(inspect.signature(getattr(epoll.Epoll, name))).startswith(parameters)


# What it has of its own.


@pytest.mark.parametrize("timeout", [decimal.Decimal("0.01"), fractions.Fraction(1, 100)])
def test_every_real_number_is_a_timeout(ep: epoll.Epoll, timeout: float) -> None:
    start = time.monotonic()
    assert ep.poll(timeout) == []
    assert time.monotonic() - start >= 0.01


def test_timeouts_below_a_millisecond_are_honoured(ep: epoll.Epoll) -> None:
    def shortest(call: Callable[[], object]) -> float:
        times = []
        for _ in range(20):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    if kernel_version() < (5, 11):
        pytest.skip("epoll_pwait2(2) came with Linux 5.11")
    assert 0.0001 <= shortest(lambda: ep.poll(0.0001)) < 0.0009
    assert 0.0001 <= shortest(lambda: ep.wait(100_000)) < 0.0009


def test_subclass(ready_fd: int) -> None:
    class Counting(epoll.Epoll):
        def __new__(cls, start: int) -> Counting:
            return super().__new__(cls)

        def __init__(self, start: int) -> None:
            self.closings = start

        def close(self) -> None:
            self.closings += 1
            super().close()

    ep = Counting(5)
    with ep:
        ep.register(ready_fd, IN, data=ep)
        assert ep.wait(0) == [(ep, IN)]
    assert ep.closings == 6
    assert isinstance(epoll.Epoll.fromfd(epoll.create()), epoll.Epoll)
    assert repr(ep).endswith("closed>")


def test_repr(ep: epoll.Epoll, ready_fd: int) -> None:
    ep.register(ready_fd)
    assert repr(ep) == f"<epoll.Epoll fd={ep.fileno()} registered=1>"
    ep.close()
    assert repr(ep) == "<epoll.Epoll closed>"


def test_length_and_membership(ep: epoll.Epoll, pair: Pair) -> None:
    one, other = pair
    assert len(ep) == 0
    ep.register(one)
    assert (len(ep), one in ep, one.fileno() in ep, other in ep) == (1, True, True, False)
    ep.unregister(one)
    assert (len(ep), one in ep) == (0, False)
    with pytest.raises(TypeError):
        _ = "x" in ep


def test_failed_calls_leave_the_table_as_it_was(ep: epoll.Epoll, ready_fd: int) -> None:
    ep.register(ready_fd, IN, data="kept")
    with pytest.raises(FileExistsError):
        ep.register(ready_fd, OUT, data="other")
    with pytest.raises(OSError, match="Invalid argument"):
        ep.modify(ready_fd, epoll.EPOLLEXCLUSIVE | epoll.EPOLLONESHOT, data="other")
    assert ep.registrations() == {ready_fd: (IN, "kept")}


def test_registrations_is_a_copy(ep: epoll.Epoll, ready_fd: int) -> None:
    ep.register(ready_fd, IN)
    ep.registrations().clear()
    assert ep.registrations() == {ready_fd: (IN, None)}


def test_descriptors_of_several_pages(ep: epoll.Epoll, ready_fd: int) -> None:
    copies = {os.dup2(ready_fd, number) for number in (70, 300, 130, 129)}
    for fd in copies:
        ep.register(fd, IN, data=-fd)
    assert list(ep.registrations()) == sorted(copies)
    assert set(ep.wait(0)) == {(-fd, IN) for fd in copies}
    for fd in copies:
        ep.unregister(fd)
        os.close(fd)
    assert len(ep) == 0


def test_same_report_may_be_the_same_tuple(ep: epoll.Epoll, ready_fd: int) -> None:
    """No promise to users, but what makes poll() cheap."""
    ep.register(ready_fd, IN)
    assert ep.poll(0)[0] is ep.poll(0)[0]


def test_report_follows_the_events(ep: epoll.Epoll, pair: Pair) -> None:
    one, other = pair
    fd = one.fileno()
    ep.register(one, IN | OUT)
    seen = [ep.poll(0)]
    other.send(b"x")
    seen.append(ep.poll(0))
    one.recv(1)
    seen.append(ep.poll(0))
    assert seen == [[(fd, OUT)], [(fd, IN | OUT)], [(fd, OUT)]]


def test_busy_polling(ep: epoll.Epoll) -> None:
    if kernel_version() < (6, 9):
        for call in (ep.busy_poll, ep.set_busy_poll):
            with pytest.raises(OSError, match=os.strerror(errno.ENOTTY)) as caught:
                call()
            assert caught.value.errno == errno.ENOTTY
        return
    assert ep.set_busy_poll(usecs=50, budget=8, prefer=True) is None
    parameters = ep.busy_poll()
    assert parameters == (50, 8, True)
    assert parameters.usecs == 50
    ep.set_busy_poll()
    assert ep.busy_poll() == (0, 0, False)


@pytest.mark.parametrize("options", [{"usecs": 2**31}, {"usecs": -1}, {"budget": 2**16}])
def test_busy_polling_out_of_range(ep: epoll.Epoll, options: dict[str, int]) -> None:
    with pytest.raises(OverflowError):
        ep.set_busy_poll(**options)


def test_busy_polling_takes_keywords_only(ep: epoll.Epoll) -> None:
    with pytest.raises(TypeError, match="takes no positional arguments"):
        ep.set_busy_poll(50)


def test_events_members_are_masks(ep: epoll.Epoll, ready_fd: int) -> None:
    ep.register(ready_fd, epoll.Events.IN | epoll.Events.ET)
    assert ep.poll(0) == [(ready_fd, epoll.Events.IN)]


def kernel_version() -> tuple[int, ...]:
    return tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])


def _fail(*_: object) -> None:
    raise AssertionError("the call waits")
