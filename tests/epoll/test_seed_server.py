"""The program that this project began with runs as it was written, and a client talks to it.

One client only: the program closes a connection by its number while a socket object still owns
that number, so the next connection, which gets it again, is closed by the first one's finalizer.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

PROGRAM = Path(__file__).with_name("seed_server.py.txt").read_text(encoding="utf-8")
LIMIT = 10


@contextlib.contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-u", "-X", "utf8", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def line_of(stream: IO[str]) -> str:
    """Read a line, within the time limit."""
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    return lines.get(timeout=LIMIT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def connect(port: int, server: subprocess.Popen[str]) -> socket.socket:
    """Connect as soon as the server listens."""
    while server.poll() is None:  # bounded by the time limit of the test
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
    pytest.fail(f"the server has ended: {server.stderr.read()}")


def test_client_is_heard_and_its_end_is_noticed() -> None:
    port = free_port()
    assert PROGRAM.count("8000") == 1
    with running(PROGRAM.replace("8000", str(port))) as server, connect(port, server) as client:
        for message in ("Привет, сервер!", "Ещё раз"):
            client.sendall(message.encode())
            assert line_of(server.stdout) == f"Получено: {message}\n"
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""  # the server has closed the connection
        assert server.poll() is None
