from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from epoll.servers.echo_client import echo_client, exchange
from tests.servers.running import PATIENCE, RunningServer


@pytest.fixture
def echo(start: Callable[..., RunningServer]) -> RunningServer:
    return start("epoll.servers.with_epoll", "--quiet")


def answers(*messages: str) -> Callable[[str], str]:
    """Return what stands for ``input``: it gives the messages, then the end of the input."""
    left: Iterator[str] = iter(messages)

    def ask(_: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return ask


def test_prints_what_was_sent_and_received(echo: RunningServer) -> None:
    said: list[str] = []
    echo_client(*echo.address, ask=answers("hello", "Привет"), say=said.append)
    assert said == [
        'Sent "hello" to echo server',
        "Received from server: hello\n",
        'Sent "Привет" to echo server',
        "Received from server: Привет\n",
    ]


@pytest.mark.parametrize("word", ["exit", "EXIT"])
def test_exit_ends_it(echo: RunningServer, word: str) -> None:
    said: list[str] = []
    echo_client(*echo.address, ask=answers(word, "not sent"), say=said.append)
    assert said == []


def test_empty_message_is_not_waited_for(echo: RunningServer) -> None:
    said: list[str] = []
    echo_client(*echo.address, ask=answers("", "a"), say=said.append)
    assert len(said) == 2


def test_message_larger_than_all_buffers(echo: RunningServer) -> None:
    message = bytes(range(256)) * 64 * 1024
    with echo.connect() as connection:
        assert exchange(connection, message) == message


def test_answer_in_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def answer_byte_by_byte() -> None:
            for byte in theirs.recv(100):
                theirs.sendall(bytes([byte]))

        server = threading.Thread(target=answer_byte_by_byte)
        server.start()
        ours.settimeout(PATIENCE)
        assert exchange(ours, b"message") == b"message"
        server.join(PATIENCE)


def test_server_that_closes_in_the_middle_of_an_answer() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(b"ab")
        theirs.shutdown(socket.SHUT_WR)
        with theirs, pytest.raises(ConnectionError, match="after 2 of 3 bytes"):
            exchange(ours, b"abc")


def test_program(echo: RunningServer) -> None:
    host, port = echo.address
    done = subprocess.run(
        [sys.executable, "-m", "epoll.servers.echo_client", "--host", host, "--port", str(port)],
        input="first\nsecond\nexit\n",
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=True,
    )
    prompt = "Enter message to send: "
    assert done.stdout == (
        f'{prompt}Sent "first" to echo server\nReceived from server: first\n\n'
        f'{prompt}Sent "second" to echo server\nReceived from server: second\n\n'
        f"{prompt}"
    )


def test_program_says_when_there_is_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "epoll.servers.echo_client", "--port", str(port)],
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
