from __future__ import annotations

import errno
import socket
import subprocess
import sys

import pytest

from epoll.servers._common import open_listener, shown, try_accept
from epoll.servers._hello import HEAD_LIMIT, answer_to


class FailingListener(socket.socket):
    """A listening socket whose ``accept`` fails with the given errors, one after the other."""

    def __init__(self, *errors: int) -> None:
        super().__init__()
        self.errors = list(errors)

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        number = self.errors.pop(0)
        raise OSError(number, errno.errorcode[number])


def test_accept_without_a_client_is_none() -> None:
    with open_listener("127.0.0.1", 0, 1) as listener:
        assert try_accept(listener) is None


def test_accepted_socket_does_not_block() -> None:
    with (
        open_listener("127.0.0.1", 0, 1) as listener,
        socket.create_connection(listener.getsockname()) as client,
    ):
        accepted = try_accept(listener)
        assert accepted is not None
        connection, address = accepted
        with connection:
            assert address == client.getsockname()
            assert connection.getblocking() is False


def test_clients_that_are_gone_are_passed_over() -> None:
    with FailingListener(errno.ECONNABORTED, errno.EPROTO, errno.EAGAIN) as listener:
        assert try_accept(listener) is None
        assert listener.errors == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EBADF])
def test_accept_that_cannot_work_raises(number: int) -> None:
    name = errno.errorcode[number]
    with FailingListener(number) as listener, pytest.raises(OSError, match=name):
        try_accept(listener)


# While Python ends, signals have no handlers any more: one that came then killed a server that was
# about to end with code 0.
@pytest.mark.parametrize("error", ["KeyboardInterrupt", "BrokenPipeError", "ValueError"])
def test_no_alarm_is_left_at_the_end(error: str) -> None:
    program = f"""
import signal
from epoll.servers._common import command_line, run

def serve(**options):
    assert signal.getitimer(signal.ITIMER_REAL)[1]
    raise {error}

run(serve, command_line(None, port=0))
raise SystemExit(signal.getitimer(signal.ITIMER_REAL) != (0, 0))
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 0


def test_shown_is_bounded_and_never_fails() -> None:
    assert shown("Привет".encode()) == "Привет"
    assert shown("Привет".encode()[:-1]) == "Приве\\xd1"
    long = shown(b"x" * 1_000_000)
    assert long.endswith("... (1000000 bytes)")
    assert len(long) < 2000


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\n\r\n"])
def test_request_is_complete_with_its_empty_line(end: bytes) -> None:
    request = b"GET / HTTP/1.0" + end
    assert answer_to(request[:-1]) is None
    answer = answer_to(request)
    assert answer is not None
    assert answer[0].startswith(b"HTTP/1.0 200 OK\r\n")
    assert answer[1] == b"Hello, world!"


def test_request_head_has_a_limit() -> None:
    assert answer_to(b"x" * (HEAD_LIMIT - 1)) is None
    for request in (b"x" * HEAD_LIMIT, b"x" * HEAD_LIMIT + b"\r\n\r\n"):
        answer = answer_to(request)
        assert answer is not None
        assert answer[0].startswith(b"HTTP/1.0 431 ")
