"""One suite for all servers of the ladder; which test is asked of which is in rungs.py."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.servers.dialects import Echo, read_to_end
from tests.servers.rungs import RUNGS, Behaviour, Rung, asked_of
from tests.servers.running import PATIENCE, WINDOW, RunningServer, reset

Start = Callable[..., RunningServer]

#: Far above what any test here causes in a loop that only turns when something happens, and far
#: below what a spinning loop reaches in WINDOW.
FEW_TURNS = 200


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def ask(rung: Rung, client: socket.socket, number: int) -> None:
    question = rung.dialect.question(number)
    client.sendall(question)
    rung.dialect.check_answer(client, question)


def hears_nothing(client: socket.socket) -> bool:
    """Watch a client for a while and say whether nothing came."""
    readable, _, _ = select.select([client], [], [], WINDOW)
    return not readable


def flood(client: socket.socket) -> int:
    """Send without reading until the server takes no more; return how much it took."""
    client.setblocking(False)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while select.select([], [client], [], WINDOW)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += client.send(bytes(65536))
            assert sent < 100_000_000, "the server takes whatever it is sent"
    return sent


def assert_quiet(server: RunningServer, rung: Rung) -> None:
    with server.connect() as idle:
        assert hears_nothing(idle)
        server.stop()
    assert server.turns(rung.turns) < FEW_TURNS


@asked_of(Behaviour.SEVERAL)
def test_several_clients_at_once(server: RunningServer, rung: Rung, sockets: ExitStack) -> None:
    clients = [sockets.enter_context(server.connect()) for _ in range(5)]
    questions = [rung.dialect.question(number) for number in range(5)]
    for client, question in zip(clients, questions, strict=True):
        client.sendall(question[:10])
    for client, question in reversed(list(zip(clients, questions, strict=True))):
        client.sendall(question[10:])
        rung.dialect.check_answer(client, question)
    server.stop()


@asked_of(Behaviour.ONE_BY_ONE)
def test_clients_one_after_the_other(server: RunningServer, rung: Rung) -> None:
    for number in range(3):
        with server.connect() as client:
            ask(rung, client, number)
    server.stop()


@pytest.mark.parametrize(
    "rung",
    [rung for rung in RUNGS if rung.name in ("blocking", "http_blocking")],
    ids=lambda rung: rung.name,
)
def test_second_client_waits_for_the_first(server: RunningServer, rung: Rung) -> None:
    with server.connect() as first, server.connect() as second:
        first.sendall(rung.dialect.question(1)[:5])
        question = rung.dialect.question(2)
        second.sendall(question)
        assert hears_nothing(second)
        first.close()
        rung.dialect.check_answer(second, question)
    server.stop()


@asked_of(Behaviour.PARTIAL)
def test_message_byte_by_byte(server: RunningServer, rung: Rung) -> None:
    question = rung.dialect.question(1)
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in question:
            client.sendall(bytes([byte]))
        rung.dialect.check_answer(client, question)
    server.stop()


@asked_of(Behaviour.SLOW_READER)
def test_slow_reader_disturbs_nobody_and_loses_nothing(start: Start, rung: Rung) -> None:
    options = rung.dialect.large_answer_options
    limits = {"send_buffer": 4096} if rung.send_buffer else {}
    server = start(*rung.command, *options, **limits)
    question = rung.dialect.large_question()
    with server.connect(receive_buffer=4096) as slow:
        slow.sendall(question)
        slow.shutdown(socket.SHUT_WR)
        with server.connect() as other:
            other.sendall(question)
            other.shutdown(socket.SHUT_WR)
            rung.dialect.check_large_answer(other, question)
        rung.dialect.check_large_answer(slow, question)
    server.stop()


@asked_of(Behaviour.SLOW_READER)
def test_client_that_only_sends_is_stopped(server: RunningServer, rung: Rung) -> None:
    with server.connect() as flooding, server.connect() as other:
        flooding.sendall(question := rung.dialect.question(1))
        sent = flood(flooding)
        ask(rung, other, 2)
        if isinstance(rung.dialect, Echo):  # an HTTP server has cut the connection
            flooding.settimeout(PATIENCE)
            flooding.shutdown(socket.SHUT_WR)
            assert len(read_to_end(flooding)) == len(question) + sent
    server.stop()


@asked_of(Behaviour.HALF_CLOSE)
def test_half_close_is_answered_and_closed(server: RunningServer, rung: Rung) -> None:
    question = rung.dialect.question(1)
    with server.connect() as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        rung.dialect.check_answer(client, question)
        assert client.recv(1) == b""
    server.stop()


@asked_of(Behaviour.HALF_CLOSE)
def test_half_close_without_a_complete_message_is_closed(server: RunningServer, rung: Rung) -> None:
    part = b"" if isinstance(rung.dialect, Echo) else rung.dialect.question(1)[:10]
    with server.connect() as client:
        client.sendall(part)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    server.stop()


@asked_of(Behaviour.RESET)
def test_reset_by_peer(server: RunningServer, rung: Rung) -> None:
    for number in range(3):
        client = server.connect()
        client.sendall(rung.dialect.question(number)[: 10 * number])
        reset(client)
    with server.connect() as other:
        ask(rung, other, 9)
    server.stop()


@asked_of(Behaviour.MEBIBYTE)
def test_message_of_one_mebibyte(server: RunningServer, rung: Rung) -> None:
    message = bytes(range(256)).replace(b"\n", b"\r") * 4096
    with server.connect() as client:
        sender = threading.Thread(target=client.sendall, args=[message])
        sender.start()
        if isinstance(rung.dialect, Echo):
            rung.dialect.check_answer(client, message)
            sender.join(PATIENCE)
        else:
            sender.join(PATIENCE)
            client.shutdown(socket.SHUT_WR)
            answer = read_to_end(client)
            assert re.match(rb"HTTP/1\.[01] 431 Request Header Fields Too Large\r\n", answer)
    server.stop()


@asked_of(Behaviour.SILENT)
def test_client_that_never_sends_disturbs_nobody(server: RunningServer, rung: Rung) -> None:
    with server.connect(), server.connect() as other:
        ask(rung, other, 1)
    server.stop()


@asked_of(Behaviour.HUNDRED)
def test_hundred_clients_at_once(server: RunningServer, rung: Rung, sockets: ExitStack) -> None:
    clients = [sockets.enter_context(server.connect()) for _ in range(100)]
    for number, client in enumerate(clients):
        client.sendall(rung.dialect.question(number))
        client.shutdown(socket.SHUT_WR)
    for number, client in enumerate(clients):
        rung.dialect.check_answer(client, rung.dialect.question(number))
    server.stop()


@asked_of(Behaviour.DESCRIPTORS)
def test_no_free_descriptor(start: Start, rung: Rung, sockets: ExitStack) -> None:
    server = start(*rung.command, descriptors=24)
    clients = [sockets.enter_context(server.connect()) for _ in range(40)]
    last = clients[-1]
    question = rung.dialect.question(1)
    last.sendall(question)
    assert hears_nothing(last), "40 clients fit into 24 descriptors?"
    for client in clients[:30]:
        client.close()
    rung.dialect.check_answer(last, question)
    for client in clients[30:-1]:
        ask(rung, client, 2)
    server.stop()
    if Behaviour.QUIET_LOOP not in rung.exempt:
        assert server.turns(rung.turns) < 2 * FEW_TURNS


@asked_of(Behaviour.QUIET_LOOP)
def test_idle_clients_cause_no_turns(server: RunningServer, rung: Rung) -> None:
    with server.connect(), server.connect() as answered:
        ask(rung, answered, 1)
        assert_quiet(server, rung)


@asked_of(Behaviour.QUIET_LOOP, small_send_buffer=True)
def test_half_closed_client_that_does_not_read_causes_no_turns(start: Start, rung: Rung) -> None:
    server = start(*rung.command, *rung.dialect.large_answer_options, send_buffer=4096)
    with server.connect(receive_buffer=4096) as client:
        client.sendall(rung.dialect.large_question())
        client.shutdown(socket.SHUT_WR)
        assert_quiet(server, rung)


@asked_of(Behaviour.QUIET_LOOP, small_send_buffer=True)
def test_reset_with_an_answer_pending_causes_no_turns(start: Start, rung: Rung) -> None:
    server = start(*rung.command, *rung.dialect.large_answer_options, send_buffer=4096)
    client = server.connect(receive_buffer=4096)
    client.sendall(rung.dialect.large_question())
    assert client.recv(1)
    reset(client)
    assert_quiet(server, rung)


@asked_of(Behaviour.QUIET_LOOP)
def test_half_close_in_the_middle_of_a_message_causes_no_turns(
    server: RunningServer, rung: Rung
) -> None:
    with server.connect() as client:
        client.sendall(rung.dialect.question(1)[:10])
        client.shutdown(socket.SHUT_WR)
        assert_quiet(server, rung)


def test_every_exemption_has_a_reason() -> None:
    for rung in RUNGS:
        for reason in rung.exempt.values():
            assert len(reason.split()) > 3
