"""epoll.servers.native: handlers, connections and what no peer can do to the others."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from epoll.servers import native
from tests.servers.dialects import read_exactly, read_to_end
from tests.servers.running import PATIENCE, WINDOW, reset


@contextlib.contextmanager
def connected(server: native.Server) -> Iterator[socket.socket]:
    address = server.address
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        yield client


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.001)


def upper(message: bytes) -> bytes:
    return message.upper()


class Failing:
    """A handler that raises when it is told to."""

    def __call__(self, message: bytes) -> bytes:
        if message == b"fail":
            raise ValueError("as you wish")
        return message


@pytest.mark.parametrize(
    ("framing", "sent", "received"),
    [
        ("raw", b"abc", b"ABC"),
        ("line", b"a\r\nb\n\nlast", b"A\nB\n\n"),
        ("null", b"a\0b\0", b"A\0B\0"),
        ("length16", b"\0\1a\0\0\0\2bc", b"\0\1A\0\0\0\2BC"),
        ("length32", b"\0\0\0\1a\0\0\0\2bc", b"\0\0\0\1A\0\0\0\2BC"),
    ],
)
def test_framings_apply_both_ways(framing: str, sent: bytes, received: bytes) -> None:
    with native.Server(upper, port=0, framing=framing) as server, connected(server) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == received


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 70_000, 1 << 20])
def test_messages_of_any_size_come_back(size: int) -> None:
    message = struct.pack(">I", size) + os.urandom(size)
    with (
        native.Server(lambda m: m, port=0, framing="length32") as server,
        connected(server) as client,
    ):
        sender = threading.Thread(target=client.sendall, args=(message * 3,))
        sender.start()
        assert read_exactly(client, len(message) * 3) == message * 3
        sender.join(PATIENCE)


def test_none_is_no_answer() -> None:
    with (
        native.Server(lambda m: m if m != b"hush" else None, port=0, framing="line") as server,
        connected(server) as client,
    ):
        client.sendall(b"hush\nspeak\n")
        assert read_exactly(client, 6) == b"speak\n"


@pytest.mark.parametrize("answer", [bytearray(b"x"), memoryview(b"x")])
def test_answers_may_be_any_bytes(answer: bytes) -> None:
    with (
        native.Server(lambda _: answer, port=0, framing="line") as server,
        connected(server) as client,
    ):
        client.sendall(b"?\n")
        assert read_exactly(client, 2) == b"x\n"


def test_handler_that_raises_loses_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.ERROR, "epoll.servers"),
        native.Server(Failing(), port=0, framing="line") as server,
        connected(server) as other,
        connected(server) as client,
    ):
        client.sendall(b"one\nfail\nnever\n")
        assert read_to_end(client) == b"one\n"
        other.sendall(b"still here\n")
        assert read_exactly(other, 11) == b"still here\n"
        assert server.statistics().handler_errors == 1
    assert "as you wish" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("answer", ["text", 1, object()])
def test_wrong_answer_is_a_type_error_in_the_log(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        native.Server(lambda _: answer, port=0, framing="line") as server,  # type: ignore[arg-type,return-value]
        connected(server) as client,
    ):
        client.sendall(b"?\n")
        assert read_to_end(client) == b""
    assert "a handler returns bytes or None" in caplog.text


def test_answer_too_large_for_the_framing_closes(caplog: pytest.LogCaptureFixture) -> None:
    with (
        native.Server(lambda _: bytes(65536), port=0, framing="length16") as server,
        connected(server) as client,
    ):
        client.sendall(b"\0\0")
        assert read_to_end(client) == b""
    assert "does not fit the framing" in caplog.text


def test_system_exit_in_a_handler_ends_the_server() -> None:
    def leave(_: bytes) -> None:
        raise SystemExit(3)

    server = native.Server(leave, port=0, framing="line")
    server.start()
    with connected(server) as client:
        client.sendall(b"?\n")
        with pytest.raises(SystemExit, match="3"):
            server.join()


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ("line", b"x" * 101 + b"\n"),
        ("line", b"x" * 5000),
        ("null", b"x" * 101 + b"\0"),
        ("length16", struct.pack(">H", 101)),
        ("length32", struct.pack(">I", 0xFFFFFFFF)),
    ],
)
def test_too_long_a_message_closes_after_earlier_answers(framing: str, sent: bytes) -> None:
    good = {"line": b"ok\n", "null": b"ok\0", "length16": b"\0\2ok", "length32": b"\0\0\0\2ok"}
    with (
        native.Server("echo", port=0, framing=framing, max_message=100) as server,
        connected(server) as client,
    ):
        client.sendall(good[framing] + sent)
        assert read_to_end(client) == good[framing]
        wait_until(lambda: server.statistics().open == 0)
        assert server.statistics().too_long == 1


def test_message_of_exactly_the_limit_is_answered() -> None:
    with (
        native.Server("echo", port=0, framing="line", max_message=100) as server,
        connected(server) as client,
    ):
        client.sendall(b"x" * 100 + b"\r\n")
        assert read_exactly(client, 101) == b"x" * 100 + b"\n"


def test_slow_reader_is_held_back_and_loses_nothing() -> None:
    seen = 0

    def count(_: bytes) -> bytes:
        nonlocal seen
        seen += 1
        return bytes(1 << 16)

    asked = 2000
    with (
        native.Server(count, port=0, framing="line", high_water=1 << 16) as server,
        connected(server) as client,
        connected(server) as other,
    ):
        client.sendall(b"\n" * asked)
        other.sendall(b"\n")
        assert len(read_exactly(other, (1 << 16) + 1)) == (1 << 16) + 1
        assert seen < asked
        assert len(read_exactly(client, asked * ((1 << 16) + 1))) == asked * ((1 << 16) + 1)


def test_idle_connection_is_closed_and_an_active_one_is_not() -> None:
    with (
        native.Server("echo", port=0, idle_timeout=0.15) as server,
        connected(server) as silent,
        connected(server) as active,
    ):
        silent.settimeout(0.01)
        closed = False
        deadline = time.monotonic() + PATIENCE
        while not closed and time.monotonic() < deadline:
            active.sendall(b"x")
            assert active.recv(1) == b"x"
            with contextlib.suppress(TimeoutError):
                closed = silent.recv(1) == b""
        assert closed
        assert server.statistics().idle == 1


def test_slow_but_steady_reader_is_not_idle() -> None:
    size = 4 << 20
    with (
        native.Server(lambda _: bytes(size), port=0, framing="line", idle_timeout=0.3) as server,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        client.settimeout(PATIENCE)
        client.connect(server.address)
        client.sendall(b"\n")
        received = 0
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            received += len(client.recv(8192))
            threading.Event().wait(0.02)
        received += len(read_exactly(client, size + 1 - received))
        assert received == size + 1
        assert server.statistics().idle == 0


def test_half_closed_peer_gets_its_answers_and_costs_no_turns() -> None:
    def never_close(message: bytes) -> bytes:
        return message

    with native.Server(never_close, port=0, framing="line") as server, connected(server) as client:
        client.sendall(b"a\nb\nincomplete")
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"a\nb\n"
        turns = server.statistics().turns
        threading.Event().wait(WINDOW)
        assert server.statistics().turns - turns < 5


def test_reset_connection_is_forgotten() -> None:
    with native.Server("echo", port=0) as server:
        with connected(server) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            reset(client)
        wait_until(lambda: server.statistics().open == 0)
        assert server.statistics().failed == 1


def test_unix_socket_is_served_and_its_file_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with native.Server("echo", unix=str(path)) as server, connected(server) as client:
        assert server.address == str(path)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    assert not path.exists()


def test_unix_socket_of_a_dead_server_is_replaced_and_of_a_living_one_not(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    with native.Server("echo", unix=str(path)):
        with pytest.raises(OSError, match="in use") as raised:
            native.Server("echo", unix=str(path))
        assert raised.value.errno == errno.EADDRINUSE
        assert path.exists()


def test_abstract_unix_name_works() -> None:
    name = f"\0pyepoll-{os.getpid()}-{time.monotonic_ns()}"
    with native.Server("echo", unix=name) as server, connected(server) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"


def test_port_in_use_is_an_oserror_that_names_the_address() -> None:
    with native.Server("echo", port=0) as server:
        host, port = server.address
        with pytest.raises(OSError, match=f"{host}:{port}"):
            native.Server("echo", host=host, port=port)


def test_given_socket_is_taken_over() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    with native.Server("echo", sock=sock) as server:
        assert server.address == address
        assert sock.fileno() == -1
        with connected(server) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"framing": "morse"}, ValueError),
        ({"framing": "http_head"}, ValueError),
        ({"max_message": 0}, ValueError),
        ({"max_message": -5}, ValueError),
        ({"max_message": 1 << 70}, OverflowError),
        ({"max_message": "many"}, TypeError),
        ({"idle_timeout": -1}, ValueError),
        ({"idle_timeout": float("nan")}, ValueError),
        ({"high_water": 0}, ValueError),
        ({"on_open": 3}, TypeError),
        ({"unknown": 3}, TypeError),
        ({"port": 65536}, ValueError),
        ({"port": -1}, ValueError),
        ({"port": "http"}, TypeError),
        ({"host": "name.invalid"}, OSError),
        ({"unix": ""}, ValueError),
        ({"unix": "x" * 200}, OSError),
    ],
)
def test_senseless_options_are_refused(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        native.Server("echo", **{"port": 0, **options})


@pytest.mark.parametrize("handler", [None, 3, "unknown", b"echo"])
def test_senseless_handlers_are_refused(handler: object) -> None:
    with pytest.raises((TypeError, ValueError), match="handler must be"):
        native.Server(handler, port=0)  # type: ignore[arg-type]


def test_server_serves_once() -> None:
    server = native.Server("echo", port=0)
    with server:
        with pytest.raises(RuntimeError, match="started already"):
            server.start()
        wait_until(lambda: server.statistics().turns >= 0)
    with pytest.raises(RuntimeError, match="has ended"):
        server.run()


def test_stop_before_run_is_honoured() -> None:
    server = native.Server("echo", port=0)
    server.stop()
    server.run()
    assert server.statistics().accepted == 0


def test_stop_answers_who_has_sent_and_closes_who_is_idle() -> None:
    entered = threading.Event()
    release = threading.Event()

    def slow(message: bytes) -> bytes:
        entered.set()
        assert release.wait(PATIENCE)
        return message

    with native.Server(slow, port=0, framing="line") as server:
        with connected(server) as idle, connected(server) as first, connected(server) as second:
            wait_until(lambda: server.statistics().open == 3)
            first.sendall(b"first\n")
            assert entered.wait(PATIENCE)
            second.sendall(b"second\n")  # waits in the kernel while the handler is busy
            with connected(server) as late:  # waits in the backlog
                late.sendall(b"late\n")
                server.stop()
                release.set()
                assert read_to_end(first) == b"first\n"
                assert read_to_end(second) == b"second\n"
                assert read_to_end(late) == b"late\n"
                assert read_to_end(idle) == b""
        server.join()


def test_stop_cuts_off_an_unfinished_message_after_the_grace() -> None:
    with native.Server("echo", port=0, framing="line") as server, connected(server) as client:
        client.sendall(b"a\nunfinished")
        assert read_exactly(client, 2) == b"a\n"
        server.stop(grace=0.05)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
        server.join()


def test_descriptors_are_all_given_back() -> None:
    def count() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(20):
        with native.Server(upper, port=0, framing="line") as server, connected(server) as client:
            client.sendall(b"x\n")
            assert read_exactly(client, 2) == b"X\n"
    native.Server("echo", port=0)  # never run
    del server
    assert count() == before


def test_statistics_count_what_happened() -> None:
    with native.Server(upper, port=0, framing="line") as server:
        with connected(server) as client:
            client.sendall(b"one\ntwo\n")
            assert read_exactly(client, 8) == b"ONE\nTWO\n"
            now = server.statistics()
            assert (now.accepted, now.open, now.messages, now.bytes_in) == (1, 1, 2, 8)
        wait_until(lambda: server.statistics().open == 0)
        assert server.statistics().bytes_out == 8
