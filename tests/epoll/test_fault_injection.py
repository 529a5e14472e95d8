"""System calls that fail: nothing is lost, leaked or stuck, and the error is where asyncio has it.

strace makes a system call of a small echo server fail once or several times, from its n-th one on.
The clients are outside of it, in the process of the tests.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import shutil
import socket
import subprocess
import sys
from asyncio.selector_events import _SelectorSocketTransport  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any

import pytest

from tests.epoll.twins import LOOPS, PATIENCE, receive

PROJECT = Path(__file__).parents[2]
CLIENTS = 6
MESSAGES = 3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

SEND = "sendto,sendmsg"
RECEIVE = "recvfrom,recvmsg"
WAIT = "epoll_wait,epoll_pwait,epoll_pwait2"


#: Since Python 3.12, writelines() after a write() that has lost the connection has its descriptor
#: watched once more. It is closed then, and the next connection of that number is never heard of.
LEAVES_ITS_WRITER = "writelines" in vars(
    _SelectorSocketTransport
) and "_conn_lost" not in inspect.getsource(_SelectorSocketTransport.writelines)


class Faulty:
    """A server under strace; `calls` fail with `error` at the times that `when` says."""

    def __init__(self, kind: str, calls: str, error: str, when: str, port: int = 0) -> None:
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
        command += ["-e", f"inject={calls}:error={error}:when={when}"]
        command += [sys.executable, "-m", "tests.epoll.faulty_server", kind, str(port)]
        self.process = subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline() or 0)

    def __enter__(self) -> Faulty:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def talk(self) -> str:
        """Return how it was for one client: "served", or the error, or "closed"."""
        with self.connect() as client:
            for number in range(MESSAGES):
                message = b"message %d" % number
                try:
                    client.sendall(message)
                    answer = receive(client, len(message))
                except AssertionError:
                    return "closed"
                except ConnectionError:
                    return "reset"
                assert answer == message
        return "served"

    def end(self) -> dict[str, Any]:
        """Have the server end, and return what it says."""
        for _ in range(3):
            with self.connect() as client:
                client.sendall(b"quit")
                client.settimeout(PATIENCE)
                try:
                    self.process.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    continue
                break
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert errors == ""
        outcome: dict[str, Any] = json.loads(output)
        return outcome


def results(kind: str, calls: str, error: str, when: str) -> tuple[list[str], dict[str, Any]]:
    with Faulty(kind, calls, error, when) as server:
        return [server.talk() for _ in range(CLIENTS)], server.end()


#: Faults of which no client learns: (system calls, error, when).
HARMLESS = [
    ("accept4", "EINTR", "2+2"),
    ("accept4", "EAGAIN", "2+2"),
    ("accept4", "ECONNABORTED", "2+2"),
    (RECEIVE, "EINTR", "2+3"),
    (RECEIVE, "EAGAIN", "2+3"),
    (SEND, "EINTR", "4+3"),
    (SEND, "EAGAIN", "4+3"),
    (WAIT, "EINTR", "2+2"),
]


@pytest.mark.parametrize(("calls", "error", "when"), HARMLESS)
@pytest.mark.parametrize("kind", LOOPS)
def test_passing_faults_are_not_noticed(kind: str, calls: str, error: str, when: str) -> None:
    served, outcome = results(kind, calls, error, when)
    assert served == ["served"] * CLIENTS
    assert outcome["reports"] == []
    assert outcome["left"] == []
    assert outcome["descriptors"] == 0
    assert outcome["losses"] == [None] * CLIENTS


@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
@pytest.mark.parametrize("kind", LOOPS)
def test_accepting_without_resources_is_reported_and_tried_again(kind: str, error: str) -> None:
    served, outcome = results(kind, "accept4", error, "3")
    assert served == ["served"] * CLIENTS
    (report,) = outcome["reports"]
    assert report[0] == "socket.accept"
    assert outcome["descriptors"] == 0


#: Faults that end a connection: what fails, and with what.
FATAL = [
    (RECEIVE, "ECONNRESET"),
    (RECEIVE, "ENOMEM"),
    (RECEIVE, "ENOBUFS"),
    (SEND, "EPIPE"),
    (SEND, "ECONNRESET"),
    (SEND, "ENOBUFS"),
    (SEND, "ENOMEM"),
]


@pytest.mark.parametrize(("calls", "error"), FATAL)
@pytest.mark.parametrize("kind", LOOPS)
def test_a_fault_ends_one_connection(kind: str, calls: str, error: str) -> None:
    if kind == "asyncio" and calls == SEND and LEAVES_ITS_WRITER:
        pytest.skip("writelines() of asyncio leaves its writer on the number of a lost connection")
    served, outcome = results(kind, calls, error, "3")
    assert sorted(set(served)) in (["closed", "served"], ["reset", "served"])
    assert served.count("served") == CLIENTS - 1
    assert outcome["reports"] == []
    assert outcome["left"] == []
    assert outcome["descriptors"] == 0
    (loss,) = [loss for loss in outcome["losses"] if loss is not None]
    kinds = {"EPIPE": "BrokenPipeError", "ECONNRESET": "ConnectionResetError"}
    assert loss.startswith(kinds.get(error, "OSError"))


@pytest.mark.parametrize("error", ["ECONNREFUSED", "ENOMEM", "ENOBUFS", "EINTR", "EAGAIN"])
@pytest.mark.parametrize("kind", LOOPS)
def test_connecting_with_a_fault(kind: str, error: str) -> None:
    """EINTR means that the connection goes on being made; EAGAIN that there is no room."""
    with (
        socket.create_server(("127.0.0.1", 0)) as target,
        Faulty(kind, "connect", error, "1", target.getsockname()[1]) as server,
    ):
        with server.connect() as client:
            client.sendall(b"connect")
            assert server.talk() == "served"
        outcome = server.end()
    assert outcome["left"] == []
    assert outcome["descriptors"] == 0
    assert outcome["reports"] == []
    failures = [loss for loss in outcome["losses"] if loss is not None]
    if error in {"ECONNREFUSED", "ENOMEM", "ENOBUFS"}:
        kinds = {"ECONNREFUSED": "ConnectionRefusedError"}
        assert failures == [f"connect: {kinds.get(error, 'OSError')}"]


@pytest.mark.parametrize("kind", LOOPS)
def test_a_wait_without_memory_leaves_the_loop(kind: str) -> None:
    """run_forever() raises it, and can be called again: nothing was lost."""
    served, outcome = results(kind, WAIT, "ENOMEM", "9")
    assert served == ["served"] * CLIENTS
    # Once for each of the system calls that the loop waits with.
    assert set(outcome["left"]) == {"OSError"}
    assert outcome["descriptors"] == 0


@pytest.mark.parametrize("error", ["ENOMEM", "ENOSPC"])
@pytest.mark.parametrize("when", ["4", "5", "7"])
@pytest.mark.parametrize("kind", LOOPS)
def test_a_descriptor_that_cannot_be_watched_costs_at_most_its_connection(
    kind: str, when: str, error: str
) -> None:
    """It is not waited for an answer: asyncio leaves a connection that it cannot watch silent."""
    with Faulty(kind, "epoll_ctl", error, when) as server:
        with contextlib.ExitStack() as clients:
            connected = [clients.enter_context(server.connect()) for _ in range(CLIENTS)]
            answered = [is_answered(client) for client in connected]
        outcome = server.end()
    assert answered.count(False) <= 1
    assert len(outcome["reports"]) + len([loss for loss in outcome["losses"] if loss]) >= 1
    assert outcome["descriptors"] <= 0


def is_answered(client: socket.socket) -> bool:
    client.settimeout(0.5)
    try:
        client.sendall(b"hello")
        return client.recv(100) != b""
    except OSError:
        return False
