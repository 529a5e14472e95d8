"""The examples of asyncio, run as programs."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.running import RunningServer

ROOT = Path(__file__).parents[2]
Start = Callable[..., RunningServer]


@pytest.fixture
def example(start: Start, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RunningServer]:
    """Start an example by its name; the folder of the examples is no package that is installed."""
    monkeypatch.chdir(ROOT)
    return lambda name: start(f"examples.asyncio.{name}")


def receive(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return data


def expect(client: socket.socket, text: bytes) -> None:
    assert receive(client, len(text)) == text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["echo_server", "chat_server", "threaded_echo_server"])
def test_signal_ends_with_code_0(
    name: str, number: signal.Signals, example: Callable[[str], RunningServer]
) -> None:
    server = example(name)
    with server.connect() as client:
        client.sendall(b"x\n")
        assert client.recv(1)
        server.stop(number)
        while client.recv(100):
            pass


@pytest.mark.parametrize("name", ["echo_server", "threaded_echo_server"])
def test_echo_returns_what_it_gets(name: str, example: Callable[[str], RunningServer]) -> None:
    server = example(name)
    with server.connect() as client, server.connect() as other:
        other.sendall(b"other")
        client.sendall(b"x" * 10_000)
        expect(client, b"x" * 10_000)
        expect(other, b"other")
        client.shutdown(socket.SHUT_WR)
        expect(client, b"")
        assert client.recv(1) == b""


def test_chat_goes_to_the_others(example: Callable[[str], RunningServer]) -> None:
    server = example("chat_server")
    with server.connect() as ann, server.connect() as bob:
        for client, name in (ann, b"Ann"), (bob, b"Bob"):
            expect(client, b"What is your name?\n")
            client.sendall(name + b"\n")
            expect(ann, b"* Bob has come\n" if client is bob else b"")
        ann.sendall(b"hello\n")
        expect(bob, b"Ann: hello\n")
        bob.sendall(b"x" * 3000)
        expect(bob, b"* that was too long\n")
        expect(ann, b"* Bob has gone\n")


def test_chat_sends_away_who_does_not_read(example: Callable[[str], RunningServer]) -> None:
    server = example("chat_server")
    with server.connect() as ann, server.connect(receive_buffer=4096) as bob:
        expect(ann, b"What is your name?\n")
        ann.sendall(b"Ann\n")
        expect(bob, b"What is your name?\n")
        bob.sendall(b"Bob\n")
        expect(ann, b"* Bob has come\n")
        megabyte = (b"x" * 999 + b"\n") * 1000
        for _ in range(64):  # more than what all sockets hold, and the room's patience
            ann.sendall(megabyte)
            if select.select([ann], [], [], 0)[0]:
                break
        expect(ann, b"* Bob has gone\n")
