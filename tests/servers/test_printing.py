from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable

import pytest

from tests.servers.running import WINDOW, RunningServer

NEW, GOT, CLOSING = "Новое соединение: ", "Получено: ", "Закрываем соединение"


@pytest.fixture
def server(start: Callable[..., RunningServer]) -> RunningServer:
    return start("epoll.servers.printing")


def test_transcript(server: RunningServer) -> None:
    with server.connect() as client:
        address = client.getsockname()
        client.sendall("Привет, сервер!".encode())
        server.wait_for_line(GOT)
    server.wait_for_line(CLOSING)
    server.stop()
    assert server.lines[1:-1] == [
        f"Новое соединение: {address}",
        "Получено: Привет, сервер!",
        "Закрываем соединение",
    ]


def test_several_clients(server: RunningServer) -> None:
    with server.connect() as first, server.connect() as second:
        server.wait_for_line(NEW)
        assert server.wait_for_line(NEW) == f"{NEW}{second.getsockname()}"
        second.sendall("Клиент 2".encode())
        assert server.wait_for_line(GOT) == f"{GOT}Клиент 2"
        first.sendall("Клиент 1".encode())
        assert server.wait_for_line(GOT) == f"{GOT}Клиент 1"
    server.stop()


def test_character_split_between_two_reads(server: RunningServer) -> None:
    data = "aП".encode()
    with server.connect() as client, server.connect() as other:
        client.sendall(data[:-1])
        assert server.wait_for_line(GOT) == f"{GOT}a"
        other.sendall("ж".encode())
        assert server.wait_for_line(GOT) == f"{GOT}ж"
        client.sendall(data[-1:])
        assert server.wait_for_line(GOT) == f"{GOT}П"
    server.stop()


def test_character_that_never_becomes_complete(server: RunningServer) -> None:
    with server.connect() as client:
        client.sendall("П".encode()[:1])
    assert server.wait_for_line(GOT) == f"{GOT}\N{REPLACEMENT CHARACTER}"
    server.wait_for_line(CLOSING)
    server.stop()


def test_bytes_that_are_no_text(server: RunningServer) -> None:
    with server.connect() as client:
        client.sendall(b"\xff!")
        assert server.wait_for_line(GOT) == f"{GOT}\N{REPLACEMENT CHARACTER}!"
    server.stop()


def test_reset_by_peer(server: RunningServer) -> None:
    client = server.connect()
    server.wait_for_line(NEW)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    server.wait_for_line(CLOSING)
    with server.connect() as idle:
        assert not select.select([idle], [], [], WINDOW)[0]
    server.stop()
    assert server.turns(r"turns: (\d+)") < 20


def test_no_free_descriptor(start: Callable[..., RunningServer]) -> None:
    server = start("epoll.servers.printing", descriptors=16)
    clients = [server.connect() for _ in range(30)]
    server.wait_for_line("Не удалось принять соединение")
    for client in clients[:-1]:
        client.close()
    clients[-1].sendall("последний".encode())
    server.wait_for_line(f"{GOT}последний")
    clients[-1].close()
    server.wait_for_line(CLOSING)
    server.stop()
    assert server.turns(r"turns: (\d+)") < 200
