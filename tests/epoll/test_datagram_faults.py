"""System calls of a datagram server that fail: see test_fault_injection.py."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.epoll.twins import LOOPS, PATIENCE

PROJECT = Path(__file__).parents[2]
MESSAGES = 40

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

RECEIVE = "recvfrom,recvmsg,recvmmsg"
SEND = "sendto,sendmsg,sendmmsg"


def serve(kind: str, calls: str, error: str, when: str) -> tuple[list[bool], dict[str, Any]]:
    """Return which datagrams were answered, and what the server says."""
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:error={error}:when={when}"]
    command += [sys.executable, "-m", "tests.epoll.faulty_datagrams", kind]
    with (
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        assert process.stdout is not None
        try:
            client.connect(("127.0.0.1", int(process.stdout.readline())))
            client.settimeout(PATIENCE)
            answered = [False] * MESSAGES
            for number in range(MESSAGES):
                client.send(b"%d" % number)
            client.send(b"quit")
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
        client.setblocking(False)
        try:
            while True:
                answered[int(client.recv(100))] = True
        except BlockingIOError:
            outcome: dict[str, Any] = json.loads(output)
            return answered, outcome


@pytest.mark.parametrize("when", ["1", "1+2", "2..4"])
@pytest.mark.parametrize(
    ("calls", "error"), [(RECEIVE, "EINTR"), (RECEIVE, "EAGAIN"), (SEND, "EINTR")]
)
@pytest.mark.parametrize("kind", LOOPS)
def test_passing_faults_are_not_noticed(kind: str, calls: str, error: str, when: str) -> None:
    answered, outcome = serve(kind, calls, error, when)
    assert all(answered)
    assert outcome["reports"] == []
    assert outcome["events"] == [["made"], ["lost", None]]
    assert outcome["descriptors"] == 0


@pytest.mark.parametrize("kind", LOOPS)
def test_a_full_socket_keeps_the_rest(kind: str) -> None:
    """What is queued is sent in order; what came with "quit" may be aborted."""
    answered, outcome = serve(kind, SEND, "EAGAIN", "3")
    assert answered[:30] == [True] * 30
    assert outcome["events"] == [["made"], ["lost", None]]


@pytest.mark.parametrize("error", ["ECONNREFUSED", "ENOBUFS", "ENOMEM"])
@pytest.mark.parametrize("kind", LOOPS)
def test_a_failed_receipt_is_told_and_nothing_is_lost(kind: str, error: str) -> None:
    answered, outcome = serve(kind, RECEIVE, error, "1..2")
    name = "ConnectionRefusedError" if error == "ECONNREFUSED" else "OSError"
    assert all(answered)
    assert outcome["events"] == [["made"], *[["error", name]] * 2, ["lost", None]]
    assert outcome["reports"] == []


@pytest.mark.parametrize("error", ["ECONNREFUSED", "ENOBUFS", "EMSGSIZE", "EPERM", "ENETUNREACH"])
@pytest.mark.parametrize("kind", LOOPS)
def test_a_datagram_that_cannot_be_sent_is_lost_alone(kind: str, error: str) -> None:
    answered, outcome = serve(kind, SEND, error, "3")
    names = {"ECONNREFUSED": "ConnectionRefusedError", "EPERM": "PermissionError"}
    assert answered == [number != 2 for number in range(MESSAGES)]
    assert outcome["events"] == [["made"], ["error", names.get(error, "OSError")], ["lost", None]]
    assert outcome["reports"] == []
    assert outcome["descriptors"] == 0
