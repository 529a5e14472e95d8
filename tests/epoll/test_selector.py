"""EpollSelector; what every selector does is tested by CPython's suite in tests/conformance."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import epoll

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.fixture
def selector() -> Iterator[epoll.EpollSelector]:
    with epoll.EpollSelector() as opened:
        yield opened


@pytest.fixture(params=[selectors.EpollSelector, epoll.EpollSelector], ids=["selectors", "epoll"])
def twin(request: pytest.FixtureRequest) -> Iterator[epoll.EpollSelector]:
    """The selector of the standard library, which is the oracle, and ours."""
    with request.param() as opened:
        yield opened


def error_of(call: Callable[[], object]) -> type[BaseException] | None:
    try:
        call()
    except Exception as failure:
        return type(failure)
    return None


def test_it_is_a_selector(selector: epoll.EpollSelector) -> None:
    assert isinstance(selector, selectors.BaseSelector)


def test_register_and_select(twin: epoll.EpollSelector, pair: Pair) -> None:
    one, other = pair
    key = twin.register(one, READ, "data")
    assert key == selectors.SelectorKey(one, one.fileno(), READ, "data")
    assert twin.select(0) == []
    other.send(b"x")
    assert twin.select(0) == twin.select() == twin.select(timeout=5) == [(key, READ)]


def test_modify_reports_the_new_key(twin: epoll.EpollSelector, pair: Pair) -> None:
    one, other = pair
    other.send(b"x")
    twin.register(one, READ, "old")
    twin.select(0)
    for events, data in [(READ | WRITE, "new"), (WRITE, "new"), (WRITE, "newer")]:
        key = twin.modify(one, events, data)
        assert key == selectors.SelectorKey(one, one.fileno(), events, data)
        assert twin.select(0) == [(key, events)]
        assert twin.get_key(one) == key


def test_list_is_the_callers_own(twin: epoll.EpollSelector, pair: Pair) -> None:
    twin.register(pair[0], WRITE)
    twin.select(0).clear()
    assert len(twin.select(0)) == 1


@pytest.mark.parametrize("use", ["register", "modify"])
@pytest.mark.parametrize("events", [0, 4, -1, READ | 8])
def test_events_that_are_none(
    selector: epoll.EpollSelector, pair: Pair, use: str, events: int
) -> None:
    """The standard library checks them in register() only."""
    if use == "modify":
        selector.register(pair[0], READ)
    with pytest.raises(ValueError, match="Invalid events"):
        getattr(selector, use)(pair[0], events)


@pytest.mark.parametrize("wrong", [-1, "x", None, object(), 1.5])
@pytest.mark.parametrize("use", ["register", "unregister", "modify"])
def test_file_objects_that_are_none(use: str, wrong: object) -> None:
    arguments = () if use == "unregister" else (READ,)
    kinds = {
        error_of(lambda made=made: getattr(made(), use)(wrong, *arguments))
        for made in (selectors.EpollSelector, epoll.EpollSelector)
    }
    assert kinds == {ValueError}


def test_registering_twice_and_unregistering_what_is_not(
    twin: epoll.EpollSelector, pair: Pair
) -> None:
    one, other = pair
    twin.register(one, READ)
    with pytest.raises(KeyError):
        twin.register(one, WRITE)
    with pytest.raises(KeyError):
        twin.register(one.fileno(), READ)
    for call in (twin.unregister, twin.get_key, lambda file: twin.modify(file, READ)):
        with pytest.raises(KeyError):
            call(other)


def test_failed_registration_leaves_no_key(twin: epoll.EpollSelector) -> None:
    with open(__file__, "rb") as regular:  # noqa: PTH123
        with pytest.raises(PermissionError):
            twin.register(regular, READ)
        with pytest.raises(KeyError):
            twin.get_key(regular)
    assert len(twin.get_map()) == 0


def test_failed_modification_unregisters(twin: epoll.EpollSelector, pair: Pair) -> None:
    one, _ = pair
    twin.register(one, READ)
    epoll.ctl(twin, one, epoll.EPOLL_CTL_DEL)
    with pytest.raises(FileNotFoundError):
        twin.modify(one, WRITE)
    assert len(twin.get_map()) == 0
    twin.register(one, WRITE)
    assert len(twin.select(0)) == 1


def test_closed_file_object_can_be_unregistered(twin: epoll.EpollSelector) -> None:
    one, other = socket.socketpair()
    key = twin.register(one, READ)
    one.close()
    assert twin.unregister(one) == key
    assert len(twin.get_map()) == 0
    other.close()


def test_number_that_is_used_again(twin: epoll.EpollSelector) -> None:
    reader, writer = os.pipe()
    twin.register(reader, READ, "old")
    twin.unregister(reader)
    os.close(reader)
    os.close(writer)
    reader, writer = os.pipe()
    os.write(writer, b"x")
    key = twin.register(reader, READ, "new")
    assert twin.select(0) == [(key, READ)]
    os.close(reader)
    os.close(writer)


def test_file_that_lives_on_is_not_reported_under_a_strangers_key(
    selector: epoll.EpollSelector,
) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    selector.register(reader, READ, "old")
    copy = os.dup(reader)
    os.close(reader)
    selector.unregister(reader)  # too late: the kernel watches the copy's file
    one, other = socket.socketpair()
    assert one.fileno() == reader
    selector.register(one, READ, "stranger")
    assert selector.select(0) == []
    for fd in (copy, writer):
        os.close(fd)
    one.close()
    other.close()


def test_map(twin: epoll.EpollSelector, pair: Pair) -> None:
    one, other = pair
    key = twin.register(one, READ, "data")
    keys = twin.get_map()
    assert len(keys) == 1
    assert (keys[one], keys[one.fileno()], keys.get(one), keys.get(other)) == (key, key, key, None)
    assert (list(keys), list(keys.values()), list(keys.items())) == (
        [one.fileno()],
        [key],
        [(one.fileno(), key)],
    )
    assert one in keys
    assert other not in keys
    with pytest.raises(KeyError):
        keys[other]
    with pytest.raises(TypeError):
        keys[one] = key


def test_closed_selector(twin: epoll.EpollSelector, pair: Pair) -> None:
    twin.register(pair[0], READ)
    keys = twin.get_map()
    twin.close()
    twin.close()
    assert twin.get_map() is None
    assert len(keys) == 0
    with pytest.raises(RuntimeError, match="Selector is closed"):
        twin.get_key(pair[0])
    with pytest.raises(ValueError, match="closed epoll"):
        twin.select(0)
    with pytest.raises(ValueError, match="closed epoll"):
        twin.register(pair[0], READ)


@pytest.mark.parametrize("timeout", [0, -1, -0.5, 0.0])
def test_timeout_up_to_zero_returns_at_once(twin: epoll.EpollSelector, timeout: float) -> None:
    start = time.monotonic()
    assert twin.select(timeout) == []
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("timeout", ["x", b"1", float("nan"), float("inf"), [], 1e30])
def test_timeout_that_is_none(timeout: object) -> None:
    kinds = [
        error_of(lambda made=made: made().select(timeout))
        for made in (selectors.EpollSelector, epoll.EpollSelector)
    ]
    assert kinds[1] in (TypeError, ValueError, OverflowError)
    assert kinds[0] == kinds[1] or timeout == float("nan")


def test_timeouts_below_a_millisecond_are_honoured(selector: epoll.EpollSelector) -> None:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        assert selector.select(0.0001) == []
        times.append(time.perf_counter() - start)
    assert min(times) >= 0.0001
    if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (5, 11):
        assert min(times) < 0.0009


def test_more_ready_files_than_a_default_wait_takes(selector: epoll.EpollSelector) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x")
    copies = [os.dup(reader) for _ in range(200)]
    for fd in copies:
        selector.register(fd, READ)
    assert sorted(key.fd for key, _ in selector.select(0)) == copies
    for fd in (*copies, reader, writer):
        os.close(fd)


def test_wait_that_began_with_nothing_registered(selector: epoll.EpollSelector) -> None:
    """Registering from another thread wakes select(), as it does in the standard library."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    timer = threading.Timer(0.02, selector.register, (reader, READ))
    timer.start()
    assert [key.fd for key, _ in selector.select(10)] == [reader]
    timer.join()
    os.close(reader)
    os.close(writer)


def test_close_wakes_a_thread_in_select(pair: Pair) -> None:
    selector = epoll.EpollSelector()
    selector.register(pair[0], READ)
    timer = threading.Timer(0.02, selector.close)
    timer.start()
    with pytest.raises(ValueError, match="closed epoll"):
        selector.select(10)
    timer.join()


# Options that the standard library does not have.


def test_edge_triggered(selector: epoll.EpollSelector, pair: Pair) -> None:
    one, other = pair
    key = selector.register(one, READ, edge_triggered=True)
    other.send(b"x")
    assert selector.select(0) == [(key, READ)]
    assert selector.select(0) == []
    other.send(b"x")
    assert selector.select(0) == [(key, READ)]


def test_one_shot(selector: epoll.EpollSelector, pair: Pair) -> None:
    one, other = pair
    other.send(b"x")
    key = selector.register(one, READ, one_shot=True)
    assert selector.select(0) == [(key, READ)]
    assert selector.select(0) == []
    key = selector.modify(one, READ, one_shot=True)
    assert selector.select(0) == [(key, READ)]
    assert selector.select(0) == []
    key = selector.modify(one, READ)
    assert selector.select(0) == selector.select(0) == [(key, READ)]


def test_exclusive_wakes_one_of_two(pair: Pair) -> None:
    one, other = pair
    with epoll.EpollSelector() as first, epoll.EpollSelector() as second:
        awake: list[epoll.EpollSelector] = []
        threads = []
        for selector in (first, second):
            selector.register(one, READ, exclusive=True)

            def wait(selector: epoll.EpollSelector = selector) -> None:
                if selector.select(0.2):
                    awake.append(selector)
                    one.recv(1)

            threads.append(threading.Thread(target=wait))
        for thread in threads:
            thread.start()
        other.send(b"x")
        for thread in threads:
            thread.join(10)
        assert len(awake) == 1


def test_exclusive_can_be_modified(selector: epoll.EpollSelector, pair: Pair) -> None:
    one, other = pair
    other.send(b"x")
    selector.register(one, READ, exclusive=True)
    key = selector.modify(one, READ | WRITE, exclusive=True)
    assert selector.select(0) == [(key, READ | WRITE)]
    key = selector.modify(one, WRITE)
    assert selector.select(0) == [(key, WRITE)]


def test_exclusive_and_one_shot_exclude_each_other(
    selector: epoll.EpollSelector, pair: Pair
) -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        selector.register(pair[0], READ, exclusive=True, one_shot=True)
    assert len(selector.get_map()) == 0
    selector.register(pair[0], READ)
    with pytest.raises(OSError, match="Invalid argument"):
        selector.modify(pair[0], READ, exclusive=True, one_shot=True)
    assert len(selector.get_map()) == 0


def test_options_are_keywords(selector: epoll.EpollSelector, pair: Pair) -> None:
    with pytest.raises(TypeError):
        selector.register(pair[0], READ, None, True)


# Under asyncio.


def test_asyncio_runs_on_it() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    async def talk() -> list[bytes]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        answers = []
        async with server:
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*address)
                writer.write(b"hello")
                answers.append(await reader.readexactly(5))
                writer.close()
                await writer.wait_closed()
        assert await asyncio.to_thread(lambda: 42) == 42
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        answers.append((await process.communicate(b"through a pipe"))[0])
        return answers

    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(epoll.EpollSelector())
    ) as runner:
        answers = runner.run(asyncio.wait_for(talk(), 10))
    assert answers == [b"hello"] * 3 + [b"through a pipe"]
