"""What every program in epoll.servers does on the command line."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.servers.rungs import RUNGS, Rung
from tests.servers.running import PATIENCE, WINDOW, RunningServer

Start = Callable[..., RunningServer]

EVENT = "You received an EPOLLIN event"
OTHERS = ("printing", "show_level_triggered", "show_edge_triggered")
SERVERS = [
    *(pytest.param(rung.command, id=rung.name) for rung in RUNGS),
    *(pytest.param((f"epoll.servers.{name}",), id=name) for name in OTHERS),
]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    "command", [*SERVERS, pytest.param(("epoll.servers.echo_client",), id="echo_client")]
)
def test_help(command: tuple[str, ...]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")
    assert "--host" in done.stdout
    assert "--port" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("command", SERVERS)
def test_signal_ends_with_code_0(
    command: tuple[str, ...], number: signal.Signals, start: Start
) -> None:
    server = start(*command)
    server.stop(number)
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(server.address)


@pytest.mark.parametrize("command", SERVERS)
def test_port_that_is_taken(command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(*command, "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert os.strerror(errno.EADDRINUSE) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("rung", RUNGS, ids=lambda rung: rung.name)
def test_starts_again_on_the_port_it_had(rung: Rung, start: Start) -> None:
    server = start(*rung.command)
    with server.connect() as client:
        client.sendall(rung.dialect.question(1))
        rung.dialect.check_answer(client, rung.dialect.question(1))
        server.stop()  # the server closes first, so its side is left in TIME_WAIT
    again = subprocess.Popen(
        [sys.executable, "-m", *rung.command, "--port", str(server.address[1])],
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    with again:
        try:
            assert again.stdout is not None
            assert select.select([again.stdout], [], [], PATIENCE)[0]
            assert again.stdout.readline() == "listening on {}:{}\n".format(*server.address)
        finally:
            again.kill()


def test_quiet_prints_no_messages(start: Start) -> None:
    server = start("epoll.servers.with_epoll", "--quiet")
    with server.connect() as client:
        client.sendall(b"secret")
        assert client.recv(6) == b"secret"
    server.stop()
    assert len(server.lines) == 2
    assert server.lines[1].startswith("turns: ")


def test_reader_of_stdout_that_leaves_ends_the_program() -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "epoll.servers.show_level_triggered", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    with program:
        assert program.stdout is not None
        assert program.stderr is not None
        try:
            port = int(program.stdout.readline().rpartition(":")[2])
            program.stdout.close()
            with socket.socket() as client:
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))  # the program may end before it answers
                assert program.wait(PATIENCE) == 0
            assert program.stderr.read() == ""
        finally:
            program.kill()


def test_message_that_the_terminal_cannot_show(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    server = start("epoll.servers.with_epoll")
    with server.connect() as client:
        client.sendall("Привет".encode())
        assert server.wait_for_line("Received: ") == "Received: " + "Привет".encode(
            "ascii", "backslashreplace"
        ).decode("ascii")
    server.stop()


def test_level_triggered_tells_the_same_news_again_and_again(start: Start) -> None:
    server = start("epoll.servers.show_level_triggered", "--count", "1000")
    with server.knock():
        server.wait()
    assert server.lines[1:-1] == [EVENT] * 1000
    assert server.lines[-1] == "turns: 1000"


def test_edge_triggered_tells_news_once(start: Start) -> None:
    server = start("epoll.servers.show_edge_triggered")
    with server.connect() as first:
        server.wait_for_line(EVENT)
        assert not select.select([first], [], [], WINDOW)[0]
        with server.connect():
            server.wait_for_line(EVENT)
            server.stop()
    assert server.lines[1:-1] == [EVENT, EVENT]


def test_edge_triggered_ends_after_count(start: Start) -> None:
    server = start("epoll.servers.show_edge_triggered", "--count", "1")
    with server.knock():
        server.wait()
    assert server.lines[1:] == [EVENT, "turns: 1"]


def test_select_refuses_clients_beyond_its_limit(start: Start) -> None:
    server = start("epoll.servers.with_select", occupy=1021)
    with server.connect() as first:
        first.sendall(b"1")
        assert first.recv(1) == b"1"
        with server.connect() as second:
            second.sendall(b"2")
            assert second.recv(1) == b"2"
            with server.connect() as third:
                assert third.recv(1) == b""
            refusal = server.wait_for_line("Refused ")
            assert refusal.endswith("select cannot watch descriptor 1024 or above")
        server.wait_for_line("Closed ")
        with server.connect() as fourth:
            fourth.sendall(b"4")
            assert fourth.recv(1) == b"4"
    server.stop()


def test_select_says_when_its_own_socket_is_beyond_the_limit() -> None:
    done = run("tests.servers.launcher", "--occupy", "1024", "epoll.servers.with_select")
    assert done.returncode == 1
    assert done.stderr == "error: select cannot watch descriptor 1024\n"


def test_poll_has_no_such_limit(start: Start) -> None:
    server = start("epoll.servers.with_poll", occupy=1024)
    with server.connect() as client:
        client.sendall(b"1")
        assert client.recv(1) == b"1"
    server.stop()


def test_unreasonable_pause_is_refused() -> None:
    done = run("epoll.servers.busy_loop", "--port", "0", "--pause", "-1")
    assert done.returncode == 1
    assert done.stderr == "error: pause must not be negative\n"
