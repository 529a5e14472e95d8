"""Servers on our acceptors, and on asyncio's: the same, down to the reports."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import epoll
from tests.epoll.twins import LOOPS, Loop, Recorder, run, turn, turn_until

TIME = 10.0


@pytest.fixture
def reports(loop: Loop) -> list[dict[str, Any]]:
    taken: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: taken.append(context))
    return taken


class Serving:
    """A server that keeps its protocols, and the clients that were made for it."""

    def __init__(self, loop: Loop, factory: Callable[[], Recorder] = Recorder) -> None:
        self.loop = loop
        self.factory = factory
        self.protocols: list[Recorder] = []
        self.clients = contextlib.ExitStack()
        self.server = run(loop, loop.create_server(self.make_protocol, "127.0.0.1", 0))
        self.address = self.server.sockets[0].getsockname()

    def make_protocol(self) -> Recorder:
        protocol = self.factory()
        self.protocols.append(protocol)
        return protocol

    def connect(self) -> socket.socket:
        return self.clients.enter_context(socket.create_connection(self.address, timeout=TIME))

    def close(self) -> None:
        self.clients.close()
        self.server.close()
        turn_until(self.loop, lambda: all(protocol.is_lost for protocol in self.protocols))


@contextlib.contextmanager
def serving(loop: Loop, factory: Callable[[], Recorder] = Recorder) -> Iterator[Serving]:
    made = Serving(loop, factory)
    try:
        yield made
    finally:
        made.close()


def test_connections_are_accepted(loop: Loop) -> None:
    with serving(loop) as served:
        clients = [served.connect() for _ in range(90)]
        turn_until(loop, lambda: len(served.protocols) == len(clients))
        names = {client.getsockname() for client in clients}
        turn(loop, 3)
        assert {p.transport.get_extra_info("peername") for p in served.protocols} == names


def test_the_server_knows_its_connections(loop: Loop) -> None:
    with serving(loop) as served:
        served.connect()
        turn_until(loop, lambda: served.protocols and served.protocols[0].events)
        assert served.protocols[0].transport._server is served.server
        served.server.close()
        closed = loop.create_task(served.server.wait_closed())
        served.clients.close()
        turn_until(loop, lambda: closed.done() and served.protocols[0].is_lost)
        turn(loop)
        assert served.protocols[0].transport._server is None


def test_a_closed_server_accepts_no_more(loop: Loop) -> None:
    with serving(loop) as served:
        served.server.close()
        with pytest.raises(ConnectionRefusedError):
            served.connect()


def test_who_waits_in_the_backlog_of_a_closed_server_is_reset(loop: Loop) -> None:
    with serving(loop) as served:
        waiting = served.connect()
        served.server.close()
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)


def test_a_server_may_be_closed_by_its_own_factory(ours: Loop) -> None:
    class Closing(Recorder):
        def __init__(self) -> None:
            super().__init__()
            served.server.close()

    with serving(ours, Closing) as served:
        client = served.connect()
        turn_until(ours, lambda: served.protocols)
        assert client.recv(1) == b""
        served.protocols.clear()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # asyncio's socket
@pytest.mark.parametrize("debug", [False, True])
def test_a_failing_factory(loop: Loop, reports: list[dict[str, Any]], debug: bool) -> None:
    calls: list[bool] = []

    def fail() -> Recorder:
        calls.append(True)
        raise ZeroDivisionError

    loop.set_debug(debug)
    with serving(loop, fail) as served:
        client = served.connect()
        turn_until(loop, lambda: calls)
        turn(loop, 3)
        if isinstance(loop, epoll.EventLoop):
            assert client.recv(1) == b""
    gc.collect()
    message = "Error on transport creation for incoming connection"
    assert [report["message"] for report in reports] == [message] * debug
    assert all(isinstance(report["exception"], ZeroDivisionError) for report in reports)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # asyncio's socket
@pytest.mark.parametrize("failure", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_factory_leaves_the_loop(loop: Loop, failure: type[BaseException]) -> None:
    raised: list[bool] = []

    class Once(Recorder):
        def __init__(self) -> None:
            super().__init__()
            if not raised:
                raised.append(True)
                raise failure

    with serving(loop, Once) as served:
        served.connect()
        with pytest.raises(failure):
            turn_until(loop, lambda: False)
        served.connect()
        turn_until(loop, lambda: len(served.protocols) == 1)
    gc.collect()


def test_each_connection_has_a_copy_of_the_servers_context(loop: Loop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    class Marking(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.note(variable.get())
            variable.set("changed by a connection")

    variable.set("of the server")
    with serving(loop, Marking) as served:
        variable.set("changed later")
        for _ in range(3):
            served.connect()
        turn_until(loop, lambda: len(served.protocols) == 3)
        turn(loop, 3)
        assert [protocol.events[0] for protocol in served.protocols] == [("of the server",)] * 3


@pytest.fixture
def no_descriptors() -> Iterator[Callable[[], None]]:
    """Forbid any descriptor above those that are open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def forbid() -> None:
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))

    yield forbid
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_a_lack_of_descriptors_is_reported_and_ends(
    loop: Loop, reports: list[dict[str, Any]], no_descriptors: Callable[[], None]
) -> None:
    """Once; asyncio reports every attempt, as many as the backlog is long."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving(loop) as served:
        clients = [served.connect() for _ in range(3)]
        no_descriptors()
        turn_until(loop, lambda: reports)
        report = reports[0]
        assert len(reports) == 1 or not isinstance(loop, epoll.EventLoop)
        assert report["message"] == "socket.accept() out of system resource"
        assert report["exception"].errno == 24
        assert report["socket"].getsockname() == served.address
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        run(loop, _until(lambda: len(served.protocols) == len(clients)))
        turn(loop, 3)


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_a_socket_that_the_program_closes_is_not_taken_for_a_stranger() -> None:
    """asyncio would accept on whatever gets the number of the closed socket."""
    loop = epoll.new_event_loop()
    with serving(loop) as served:
        (listening,) = served.server._sockets
        number = listening.fileno()
        listening.close()
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            assert stranger.fileno() == number
            with socket.create_connection(stranger.getsockname(), timeout=TIME):
                turn(loop, 5)
                assert served.protocols == []
                stranger.settimeout(TIME)
                stranger.accept()[0].close()
            served.connect()  # ours is still listening
            turn_until(loop, lambda: len(served.protocols) == 1)
        with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
            served.server.close()  # as asyncio has it
    loop.close()


@pytest.mark.parametrize("kind", LOOPS)
def test_no_descriptor_is_left_of_a_server(kind: str) -> None:
    loop = LOOPS[kind]()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with serving(loop) as served:
        for _ in range(10):
            served.connect()
        turn_until(loop, lambda: len(served.protocols) == 10)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    loop.close()


def test_a_server_that_listens_when_its_loop_is_closed() -> None:
    loop = epoll.new_event_loop()
    served = Serving(loop)
    loop.close()
    served.server._sockets[0].close()
    with pytest.raises(ConnectionRefusedError):
        served.connect()
