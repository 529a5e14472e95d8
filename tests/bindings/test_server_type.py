"""epoll._core.Server: the engine below epoll.servers.native, by itself."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import weakref
from collections.abc import Callable

import pytest

from epoll import _core

PATIENCE = 30.0


def listening() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def talk(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, timeout=PATIENCE) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(65536):
            received += piece
        return received


def test_several_listeners_can_be_given() -> None:
    server = _core.Server("echo")
    sockets = [listening(), listening()]
    addresses = [sock.getsockname() for sock in sockets]
    for sock in sockets:
        server.listen(sock.detach())
    thread = threading.Thread(target=server.run)
    thread.start()
    assert [talk(address, b"x") for address in addresses] == [b"x", b"x"]
    server.stop(1)
    thread.join(PATIENCE)
    assert server.statistics()["accepted"] == 2


@pytest.mark.parametrize(
    ("fd", "error"), [(-1, ValueError), ("1", TypeError), (1 << 40, OverflowError)]
)
def test_listen_refuses_what_is_no_descriptor(fd: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        _core.Server("echo").listen(fd)  # type: ignore[arg-type]


def test_listen_closes_what_epoll_cannot_watch(tmp_path: object) -> None:
    fd = os.open(f"{tmp_path}/file", os.O_CREAT | os.O_RDONLY)
    with pytest.raises(PermissionError):
        _core.Server("echo").listen(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize("grace", [-1, float("nan"), float("inf"), 1e300])
def test_stop_refuses_an_absurd_grace(grace: float) -> None:
    with pytest.raises(ValueError, match="grace"):
        _core.Server("echo").stop(grace)


def test_run_while_it_runs_is_refused() -> None:
    started = threading.Event()
    server = _core.Server("echo")
    server.call_soon_threadsafe(started.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert started.wait(PATIENCE)
    with pytest.raises(RuntimeError, match="is running already"):
        server.run()
    server.stop(0)
    thread.join(PATIENCE)
    with pytest.raises(RuntimeError, match="has ended"):
        server.run()


@pytest.mark.parametrize("handler", ["echo", lambda message: message])
def test_signal_handler_ends_run_by_raising(handler: str | Callable[[bytes], bytes]) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    server = _core.Server(handler)
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    old = signal.signal(signal.SIGUSR1, interrupt)
    old_fd = signal.set_wakeup_fd(writable)
    try:
        started = threading.Event()
        server.call_soon_threadsafe(started.set)
        sender = threading.Thread(
            target=lambda: started.wait(PATIENCE) and os.kill(os.getpid(), signal.SIGUSR1)
        )
        sender.start()
        with pytest.raises(Interrupted):
            server.run(readable)
        sender.join(PATIENCE)
    finally:
        signal.set_wakeup_fd(old_fd)
        signal.signal(signal.SIGUSR1, old)
        os.close(readable)
        os.close(writable)


def test_wakeup_descriptor_that_is_closed_does_not_spin() -> None:
    server = _core.Server("echo")
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    os.close(writable)
    done = threading.Event()
    thread = threading.Thread(target=server.run, args=(readable,))
    thread.start()
    server.call_soon_threadsafe(done.set)
    assert done.wait(PATIENCE)
    before = server.statistics()["turns"]
    threading.Event().wait(0.2)
    assert server.statistics()["turns"] - before < 5
    server.stop(0)
    thread.join(PATIENCE)
    os.close(readable)


def test_calls_from_many_threads_all_happen_in_order() -> None:
    server = _core.Server("echo")
    seen: list[tuple[int, int]] = []

    def send(number: int) -> None:
        for i in range(500):
            assert server.call_soon_threadsafe(lambda i=i: seen.append((number, i)))  # type: ignore[misc]

    runner = threading.Thread(target=server.run)
    runner.start()
    threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    done = threading.Event()
    server.call_soon_threadsafe(done.set)
    assert done.wait(PATIENCE)
    server.stop(0)
    runner.join(PATIENCE)
    for number in range(4):
        assert [i for n, i in seen if n == number] == list(range(500))


def test_call_that_never_ran_is_dropped() -> None:
    class Callback:
        def __call__(self) -> None:
            raise AssertionError("nobody runs the server")

    callback = Callback()
    gone = weakref.ref(callback)
    server = _core.Server("echo")
    server.call_soon_threadsafe(callback)
    del server, callback
    gc.collect()
    assert gone() is None


def test_connections_that_are_open_when_run_is_interrupted_are_closed() -> None:
    def leave(_: bytes) -> None:
        raise KeyboardInterrupt

    server = _core.Server(leave)
    sock = listening()
    address = sock.getsockname()
    server.listen(sock.detach())
    with socket.create_connection(address, timeout=PATIENCE) as client:
        client.sendall(b"x")
        with pytest.raises(KeyboardInterrupt):
            server.run()
        del server
        gc.collect()
        assert client.recv(1) == b""


def test_statistics_name_every_counter() -> None:
    assert set(_core.Server("echo").statistics()) == {
        "accepted",
        "open",
        "messages",
        "bytes_in",
        "bytes_out",
        "accept_errors",
        "handler_errors",
        "too_long",
        "idle",
        "failed",
        "turns",
    }
