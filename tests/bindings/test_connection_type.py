"""The connection object: what a handler and the callbacks can do with it."""

from __future__ import annotations

import gc
import logging
import threading
import weakref

import pytest

from epoll.servers import native
from epoll.servers.native import Connection
from tests.servers.dialects import read_exactly, read_to_end
from tests.servers.running import PATIENCE
from tests.servers.test_native import connected, reset, wait_until


def test_handler_with_two_parameters_gets_the_connection() -> None:
    def handler(message: bytes, connection: Connection) -> bytes:
        connection.state = (connection.state or 0) + 1
        return b"%d %s" % (connection.state, message)

    with native.Server(handler, port=0, framing="line") as server, connected(server) as client:
        client.sendall(b"a\nb\n")
        assert read_exactly(client, 8) == b"1 a\n2 b\n"


def test_optional_second_parameter_is_not_the_connection() -> None:
    def handler(message: bytes, suffix: bytes = b"!") -> bytes:
        return message + suffix

    with native.Server(handler, port=0, framing="line") as server, connected(server) as client:
        client.sendall(b"a\n")
        assert read_exactly(client, 3) == b"a!\n"


def test_builtin_without_a_signature_can_be_the_handler() -> None:
    with native.Server(bytes.upper, port=0, framing="line") as server:  # noqa: SIM117
        with connected(server) as client:
            client.sendall(b"a\n")
            assert read_exactly(client, 2) == b"A\n"


def test_peer_is_the_clients_address() -> None:
    def handler(_: bytes, connection: Connection) -> bytes:
        return repr(connection.peer).encode()

    with native.Server(handler, port=0, framing="line") as server, connected(server) as client:
        client.sendall(b"\n")
        assert read_to_end_of_line(client) == repr(client.getsockname()).encode()


def read_to_end_of_line(client: object) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        line += client.recv(1)  # type: ignore[attr-defined]
    return line[:-1]


def test_what_is_sent_comes_before_what_is_returned() -> None:
    def handler(message: bytes, connection: Connection) -> bytes:
        assert connection.send(b"sent")
        assert connection.unsent == 5
        return message

    with native.Server(handler, port=0, framing="line") as server, connected(server) as client:
        client.sendall(b"returned\n")
        assert read_exactly(client, 14) == b"sent\nreturned\n"


def test_close_sends_what_is_queued_and_handles_no_more() -> None:
    def handler(message: bytes, connection: Connection) -> bytes:
        connection.close()
        assert connection.is_closing
        assert not connection.send(b"too late")
        return message

    with native.Server(handler, port=0, framing="line") as server, connected(server) as client:
        client.sendall(b"a\nb\n")
        assert read_to_end(client) == b""


def test_abort_loses_what_is_queued() -> None:
    def handler(_: bytes, connection: Connection) -> None:
        connection.send(b"lost")
        connection.abort()

    with native.Server(handler, port=0, framing="line") as server, connected(server) as client:
        client.sendall(b"a\n")
        assert read_to_end(client) == b""


def test_open_and_close_are_told_in_order_and_once() -> None:
    told: list[tuple[object, ...]] = []

    def on_open(connection: Connection) -> None:
        connection.state = len(told)
        told.append(("open", connection.state))
        connection.send(b"welcome")

    def on_close(connection: Connection, reason: str, error: int) -> None:
        told.append(("close", connection.state, reason, error, connection.is_closing))

    with native.Server(
        "echo", port=0, framing="line", on_open=on_open, on_close=on_close
    ) as server:
        with connected(server) as client:
            assert read_exactly(client, 8) == b"welcome\n"
        wait_until(lambda: len(told) == 2)
        with connected(server) as client:
            assert read_exactly(client, 8) == b"welcome\n"
            reset(client)
        wait_until(lambda: len(told) == 4)
        with connected(server) as client:
            assert read_exactly(client, 8) == b"welcome\n"
            server.stop()
            server.join()
    assert told[0:2] == [("open", 0), ("close", 0, "peer finished", 0, True)]
    assert told[2][0] == "open"
    assert told[3][2] == "failed"
    assert told[3][3] != 0
    assert told[5][2] == "stopped"
    assert len(told) == 6


@pytest.mark.parametrize("callback", ["on_open", "on_close"])
def test_failing_callback_is_logged(callback: str, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise ValueError("as you wish")

    with caplog.at_level(logging.ERROR, "epoll.servers"):  # noqa: SIM117
        with native.Server("echo", port=0, **{callback: fail}) as server:
            with connected(server) as client:
                client.sendall(b"x")
                assert client.recv(1) == (b"" if callback == "on_open" else b"x")
            wait_until(lambda: server.statistics().open == 0)
    assert f"{callback} failed" in caplog.text


def test_connection_belongs_to_the_servers_thread() -> None:
    kept: list[Connection] = []

    with native.Server("echo", port=0, on_open=kept.append) as server, connected(server) as client:
        wait_until(lambda: len(kept) == 1)
        for use in (
            lambda: kept[0].send(b"x"),
            kept[0].close,
            kept[0].abort,
            lambda: kept[0].unsent,
            lambda: kept[0].is_closing,
        ):
            with pytest.raises(RuntimeError, match="server's thread"):
                use()
        assert server.call_soon_threadsafe(kept[0].send, b"pushed")
        assert read_exactly(client, 6) == b"pushed"
    assert not server.call_soon_threadsafe(print)


def test_failing_call_soon_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    with native.Server("echo", port=0) as server:
        server.call_soon_threadsafe(divmod, 1, 0)
        server.call_soon_threadsafe(done.set)
        assert done.wait(PATIENCE)
    assert "ZeroDivisionError" in caplog.text


def test_objects_of_gone_connections_are_harmless() -> None:
    kept: list[Connection] = []
    answers: list[object] = []

    def use() -> None:
        answers.extend([kept[0].send(b"x"), kept[0].unsent, kept[0].is_closing])
        kept[0].close()
        kept[0].abort()

    with native.Server("echo", port=0, on_open=kept.append) as server:
        with connected(server):
            wait_until(lambda: len(kept) == 1)
        wait_until(lambda: server.statistics().open == 0)
        server.call_soon_threadsafe(use)
        wait_until(lambda: len(answers) == 3)
    assert answers == [False, 0, True]
    assert "127.0.0.1" in repr(kept[0])


def test_chat_between_connections() -> None:
    members: set[Connection] = set()

    def handler(message: bytes, connection: Connection) -> None:
        for member in members:
            if member is not connection:
                member.send(message)

    with (
        native.Server(
            handler,
            port=0,
            framing="line",
            on_open=members.add,
            on_close=lambda connection, *_: members.discard(connection),
        ) as server,
        connected(server) as a,
        connected(server) as b,
    ):
        wait_until(lambda: len(members) == 2)
        a.sendall(b"hello b\n")
        assert read_exactly(b, 8) == b"hello b\n"
        b.sendall(b"hello a\n")
        assert read_exactly(a, 8) == b"hello a\n"
    assert not members


def test_server_handler_and_state_are_collected() -> None:
    class Handler:
        def __call__(self, message: bytes, connection: Connection) -> bytes:
            connection.state = self
            return message

    handler = Handler()
    gone = weakref.ref(handler)
    server = native.Server(handler, port=0, framing="line")
    handler.server = server  # type: ignore[attr-defined]
    with server, connected(server) as client:
        client.sendall(b"x\n")
        assert read_exactly(client, 2) == b"x\n"
    del server, handler
    gc.collect()
    assert gone() is None
