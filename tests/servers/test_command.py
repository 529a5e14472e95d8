"""The command `epoll serve`, as a program: start, serve, stop, and what goes wrong."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.dialects import read_exactly, read_to_end
from tests.servers.running import PATIENCE, RunningServer

Start = Callable[..., RunningServer]

HANDLERS = """\
import os

class Deep:
    @staticmethod
    def upper(message):
        return message.upper()

def pid(message):
    return str(os.getpid()).encode()

def die(message):
    os._exit(7)

not_callable = 3
"""


@pytest.fixture
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "handlers.py").write_text(HANDLERS)
    monkeypatch.chdir(tmp_path)


def ask(server: RunningServer, question: bytes) -> bytes:
    with server.connect() as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        return read_to_end(client)


def is_listening(server: RunningServer) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(server.address) == 0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "epoll", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_handler_of_the_current_directory_is_served(handlers: None, start: Start) -> None:
    server = start("epoll", "serve", "handlers:Deep.upper", "--framing", "line")
    assert ask(server, b"a\nb\n") == b"A\nB\n"
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_with_code_0_and_statistics(number: signal.Signals, start: Start) -> None:
    server = start("epoll", "serve", "echo")
    assert ask(server, b"hello") == b"hello"
    server.stop(number)
    assert re.search(r"^statistics: accepted=1 open=0 messages=1 bytes_in=5", server.lines[-1])


def test_second_signal_cuts_off_what_is_in_flight(start: Start) -> None:
    server = start("epoll", "serve", "echo", "--framing", "line", "--grace", "1000")
    with server.connect() as client:
        client.sendall(b"answered\nunfinished")
        assert read_exactly(client, 9) == b"answered\n"
        server.process.send_signal(signal.SIGTERM)
        while is_listening(server):  # until the first signal has taken effect
            pass
        server.stop()


def test_unix_socket_is_served(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with subprocess.Popen(
        [sys.executable, "-m", "epoll", "serve", "echo", "--unix", str(path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"listening on unix:{path}\n"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("unknown",), "must be echo, hello or module:handler"),
        (("no_such_module:f",), "no module 'no_such_module'"),
        (("handlers:missing",), "does not exist"),
        (("handlers:not_callable",), "not callable"),
        (("echo", "--port", "65536"), "between 0 and 65535"),
        (("echo", "--workers", "0"), "at least 1"),
        (("echo", "--idle-timeout", "-1"), "between 0 and"),
        (("echo", "--framing", "morse"), "invalid choice"),
    ],
)
def test_wrong_call_has_code_2_and_says_why(
    handlers: None, arguments: tuple[str, ...], words: str
) -> None:
    done = run("serve", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_port_in_use_has_code_1_and_says_which(start: Start) -> None:
    host, port = start("epoll", "serve", "echo").address
    done = run("serve", "echo", "--port", str(port))
    assert done.returncode == 1
    assert f"{host}:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def test_version_is_told() -> None:
    assert re.fullmatch(r"pyepoll \d+\.\d+.*\n", run("--version").stdout)


def test_workers_share_the_port_and_stop_together(handlers: None, start: Start) -> None:
    server = start("epoll", "serve", "handlers:pid", "--framing", "line", "--workers", "2")
    pids: set[bytes] = set()
    asked = 0
    while len(pids) < 2:  # the kernel chooses by a hash of the client's port
        assert asked < 1000
        pids.add(ask(server, b"\n"))
        asked += 1
    server.stop()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    assert f"accepted={asked} " in server.lines[-1]


def test_dead_worker_is_replaced(handlers: None, start: Start) -> None:
    server = start("epoll", "serve", "handlers:die", "--framing", "line", "--workers", "2")
    for _ in range(5):
        assert ask(server, b"\n") == b""
        server.wait_for_line("ERROR:epoll.servers:worker")
    assert "ended with code 7" in "\n".join(server.lines)
    server.stop()


def test_workers_end_with_their_parent(handlers: None, start: Start) -> None:
    server = start("epoll", "serve", "handlers:pid", "--framing", "line", "--workers", "2")
    pid = int(ask(server, b"\n"))
    watched = os.pidfd_open(pid)
    server.process.kill()
    assert select.select([watched], [], [], PATIENCE)[0]
    os.close(watched)


def test_workers_share_a_unix_socket(handlers: None, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    command = ["serve", "handlers:pid", "--framing", "line", "--workers", "2", "--unix", str(path)]
    with subprocess.Popen(
        [sys.executable, "-m", "epoll", *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"listening on unix:{path}\n"
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(str(path))
                client.sendall(b"\n")
                client.shutdown(socket.SHUT_WR)
                assert read_to_end(client).strip().isdigit()
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert "accepted=20 " in process.stdout.read()
    assert not path.exists()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2, [b"200 OK", b"200 OK"]),
        (b"GET / HTTP/1.1\nHost: x\nConnection: close\n\nGET / HTTP/1.1\nHost: x\n\n", [b"200 OK"]),
        (b"HEAD / HTTP/1.0\r\n\r\n", [b"200 OK"]),
        (b"\r\nGET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", [b"200 OK"]),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", [b"200 OK"]),
        (b"nonsense\r\n\r\nGET / HTTP/1.1\r\n\r\n", [b"400 Bad Request"]),
    ],
)
def test_hello_speaks_http(start: Start, question: bytes, answer: list[bytes]) -> None:
    server = start("epoll", "serve", "hello")
    got = ask(server, question)
    assert re.findall(rb"HTTP/1\.1 ([^\r]*)\r\n", got) == answer
    assert got.count(b"Hello, world!") == (0 if question[:4] in (b"HEAD", b"nons") else len(answer))
