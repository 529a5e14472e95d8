"""serve_threads() and ThreadedServer: several loops in one process, on one port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest

import epoll
from tests.epoll.twins import PATIENCE

Factory = Callable[[int], Awaitable[asyncio.Server]]


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """Hold a port that others may listen on with SO_REUSEPORT."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def port() -> Iterator[int]:
    with free_port() as port:
        yield port


def lines(port: int, make_answer: Callable[[int, bytes], bytes]) -> Factory:
    """A service that answers each line."""

    async def start(index: int) -> asyncio.Server:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async for line in reader:
                writer.write(make_answer(index, line))
                await writer.drain()
            writer.close()

        return await asyncio.start_server(talk, "127.0.0.1", port, reuse_port=True)

    return start


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def is_refused(port: int) -> bool:
    """Wait until nobody listens on the port any more."""
    for _ in range(10_000):
        try:
            connect(port).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # the listener was closed amid the connection
            continue
    return False


def ask(port: int, line: bytes) -> bytes:
    with connect(port) as client, client.makefile("rb") as answers:
        client.sendall(line)
        return answers.readline()


def serving_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("epoll.serve_threads")]


def test_each_thread_serves_on_a_loop_of_its_own(port: int) -> None:
    threads: set[int] = set()

    def answer(index: int, line: bytes) -> bytes:
        threads.add(threading.get_ident())
        return b"%d: %s" % (index, line)

    with epoll.ThreadedServer(lines(port, answer), 3) as server:
        assert len(server.sockets) == 3
        assert {sock.getsockname()[1] for sock in server.sockets} == {port}
        answers = {ask(port, b"who is it?\n") for _ in range(200)}
        accepted = {n: loop.statistics().connections_accepted for n, loop in server.loops.items()}
    # The kernel deals by a hash of the addresses: 200 times past one of three does not happen.
    assert answers == {b"%d: who is it?\n" % index for index in range(3)}
    assert len(threads) == 3
    assert threading.get_ident() not in threads
    assert sum(accepted.values()) == 200
    assert serving_threads() == []


def test_metrics_of_all_loops(port: int) -> None:
    with epoll.ThreadedServer(lines(port, lambda _, line: line), 2) as server:
        text = epoll.prometheus_text(server.loops)
    assert 'epoll_loop_turns_total{loop="0"} ' in text
    assert 'epoll_loop_turns_total{loop="1"} ' in text


@pytest.mark.parametrize("kind", ["none", "several"])
def test_factory_may_start_none_or_several(kind: str) -> None:
    async def start(index: int) -> list[asyncio.Server] | None:
        if kind == "none":
            return None
        return [await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0) for _ in range(2)]

    with epoll.ThreadedServer(start, 2) as server:
        assert len(server.sockets) == (0 if kind == "none" else 4)
    assert serving_threads() == []


def test_connections_have_the_grace_to_end(port: int) -> None:
    with contextlib.ExitStack() as stack:
        with epoll.ThreadedServer(lines(port, lambda _, line: line), 2, grace=PATIENCE) as server:
            client = stack.enter_context(connect(port))
            answers = stack.enter_context(client.makefile("rb"))
            client.sendall(b"1\n")
            assert answers.readline() == b"1\n"

            def finish_later() -> None:
                while server.sockets:  # they are gone when it has stopped accepting
                    pass
                client.sendall(b"2\n")
                received.append(answers.readline())
                client.close()
                answers.close()

            received: list[bytes] = []
            later = threading.Thread(target=finish_later, daemon=True)
            later.start()
        later.join(PATIENCE)
        assert received == [b"2\n"]


def test_what_is_left_after_the_grace_is_cut_off(port: int) -> None:
    with contextlib.ExitStack() as stack:
        with epoll.ThreadedServer(lines(port, lambda _, line: line), 2, grace=0.05):
            client = stack.enter_context(connect(port))
            client.sendall(b"1\n")
            assert client.recv(10) == b"1\n"
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""


def test_second_stop_cuts_off_at_once(port: int) -> None:
    with contextlib.ExitStack() as stack:
        with epoll.ThreadedServer(lines(port, lambda _, line: line), 2, grace=3600) as server:
            client = stack.enter_context(connect(port))
            client.sendall(b"1\n")
            assert client.recv(10) == b"1\n"
            server.stop()
            server.stop()
            server.wait()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""


def test_failure_of_one_factory_ends_all_and_is_raised(port: int) -> None:
    serve = lines(port, lambda _, line: line)

    async def start(index: int) -> asyncio.Server:
        if index == 1:
            raise ZeroDivisionError
        return await serve(index)

    with pytest.raises(ExceptionGroup) as raised:
        epoll.serve_threads(start, 3)
    (failure,) = raised.value.exceptions
    assert isinstance(failure, ZeroDivisionError)
    assert serving_threads() == []


def test_failures_of_several_are_all_raised() -> None:
    barrier = threading.Barrier(2)

    async def start(index: int) -> None:
        barrier.wait(PATIENCE)
        raise ValueError(index)

    with pytest.raises(ExceptionGroup) as raised, epoll.ThreadedServer(start, 2):
        pytest.fail("it is not entered")
    assert sorted(failure.args for failure in raised.value.exceptions) == [(0,), (1,)]


def test_thread_that_fails_later_ends_all(port: int) -> None:
    def answer(index: int, line: bytes) -> bytes:
        raise SystemExit(7)

    def serve() -> None:
        with epoll.ThreadedServer(lines(port, answer), 2, grace=1) as server, connect(port) as end:
            end.sendall(b"1\n")
            server.wait()

    with pytest.raises(BaseExceptionGroup) as raised:
        serve()
    assert [type(failure) for failure in raised.value.exceptions] == [SystemExit]
    assert serving_threads() == []


def test_failure_of_the_block_is_what_it_is(port: int) -> None:
    with pytest.raises(KeyError), epoll.ThreadedServer(lines(port, lambda _, line: line), 2):
        raise KeyError
    assert serving_threads() == []


def test_factory_that_waits_is_cancelled_when_the_grace_is_over() -> None:
    waiting = threading.Event()
    ends: list[str] = []

    async def start(index: int) -> None:
        waiting.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    server = epoll.ThreadedServer(start, 1, grace=0.05)

    def stop() -> None:
        waiting.wait(PATIENCE)
        server.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with server:
        server.wait()
    stopping.join()
    assert ends == ["cancelled"]


def test_thread_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epoll.threads._PATIENCE", 0.05)
    release = threading.Event()

    async def start(index: int) -> None: ...

    server = epoll.ThreadedServer(start, 1, grace=0)

    def serve() -> None:
        with server:
            server.loops["0"].call_soon_threadsafe(release.wait, PATIENCE)

    with pytest.raises(ExceptionGroup) as raised:
        serve()
    release.set()
    (failure,) = raised.value.exceptions
    assert isinstance(failure, TimeoutError)
    assert "epoll.serve_threads 0" in str(failure)
    for worker in server._workers:
        worker.thread.join(PATIENCE)
    assert serving_threads() == []


@pytest.mark.parametrize(("n", "grace"), [(0, 1), (-1, 1), (1, -1), (1, float("inf"))])
def test_wrong_numbers_are_refused(n: int, grace: float) -> None:
    async def start(index: int) -> None: ...

    with pytest.raises(ValueError, match="not"):
        epoll.ThreadedServer(start, n, grace=grace)


def test_default_is_a_thread_for_each_processor() -> None:
    async def start(index: int) -> None: ...

    with epoll.ThreadedServer(start) as server:
        assert len(server.loops) == len(os.sched_getaffinity(0))


PROGRAM = """
import asyncio, socket, sys, threading
import epoll
holder = socket.socket()
holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
holder.bind(("127.0.0.1", 0))
port = holder.getsockname()[1]
ready = threading.Barrier(2, lambda: print(port, flush=True))
async def talk(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    await reader.read()
    writer.close()
async def start(index):
    server = await asyncio.start_server(talk, "127.0.0.1", port, reuse_port=True)
    await asyncio.to_thread(ready.wait, 10)
    return server
epoll.serve_threads(start, 2, grace=float(sys.argv[1]))
print("stopped", flush=True)
"""


@contextlib.contextmanager
def program(grace: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(grace)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            yield child, int(child.stdout.readline())
        finally:
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_it_gracefully(number: signal.Signals) -> None:
    with program(grace=PATIENCE) as (child, port):
        assert child.stdout is not None
        with connect(port) as client:
            client.sendall(b"hello\n")
            assert client.recv(10) == b"hello\n"
            child.send_signal(number)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b""
        assert child.stdout.read() == "stopped\n"
        assert child.wait(PATIENCE) == 0


def test_second_signal_does_not_wait_for_the_grace() -> None:
    with program(grace=3600) as (child, port), connect(port) as client:
        assert child.stdout is not None
        client.sendall(b"hello\n")
        assert client.recv(10) == b"hello\n"
        child.send_signal(signal.SIGTERM)
        assert is_refused(port)
        child.send_signal(signal.SIGTERM)
        assert child.stdout.read() == "stopped\n"
        assert child.wait(PATIENCE) == 0


def test_handlers_of_signals_are_restored(port: int) -> None:
    before = signal.getsignal(signal.SIGTERM)

    async def start(index: int) -> None:
        assert signal.getsignal(signal.SIGTERM) is not before
        os.kill(os.getpid(), signal.SIGTERM)

    epoll.serve_threads(start, 1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_not_in_the_main_thread_there_are_no_signals(port: int) -> None:
    failures: list[BaseException] = []

    async def start(index: int) -> None:
        raise ZeroDivisionError

    def work() -> None:
        try:
            epoll.serve_threads(start, 1)
        except ExceptionGroup as failure:
            failures.extend(failure.exceptions)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert [type(failure) for failure in failures] == [ZeroDivisionError]
