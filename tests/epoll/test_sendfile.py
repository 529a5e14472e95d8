"""loop.sendfile() and loop.sock_sendfile(): what asyncio promises of them."""

from __future__ import annotations

import asyncio
import io
import os
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.epoll.twins import (
    PATIENCE,
    Loop,
    Recorder,
    adopted,
    receive,
    run,
    tcp_pair,
    turn,
    turn_until,
)

SIZE = 3_000_000
CONTENT = random.Random(1).randbytes(1000) * (SIZE // 1000)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("rb") as opened:
        yield opened


@pytest.fixture
def large_file(tmp_path: Path) -> Iterator[Any]:
    """More than the kernel takes from a sender whose peer does not read."""
    path = tmp_path / "large"
    with path.open("w+b") as opened:
        opened.truncate(1 << 27)
        yield opened


class Drain(threading.Thread):
    """Receives in a thread, to the end or up to `count` bytes."""

    def __init__(self, peer: socket.socket, count: int) -> None:
        super().__init__()
        self._peer, self._count = peer, count
        self.received = b""
        self.start()

    def run(self) -> None:
        self.received = receive(self._peer, self._count)

    def result(self) -> bytes:
        self.join(PATIENCE)
        return self.received


#: offset, count, what is sent.
PARTS = [
    (0, None, CONTENT),
    (1000, None, CONTENT[1000:]),
    (17, 2_000_000, CONTENT[17:2_000_017]),
    (SIZE - 10, 100, CONTENT[-10:]),  # the file ends before
    (SIZE, None, b""),
]


@pytest.mark.parametrize(("offset", "count", "expected"), PARTS)
def test_over_a_transport(
    loop: Loop,
    file: Any,  # noqa: ANN401
    offset: int,
    count: int | None,
    expected: bytes,
) -> None:
    with adopted(loop, Recorder()) as (transport, peer):
        drain = Drain(peer, len(expected) + 10)
        transport.write(b"first")
        assert run(loop, loop.sendfile(transport, file, offset, count)) == len(expected)
        assert file.tell() == offset + len(expected) or not expected
        transport.write(b"after")
        turn(loop)
        assert drain.result() == b"first" + expected + b"after"


@pytest.mark.parametrize(("offset", "count", "expected"), PARTS)
def test_over_a_socket(
    loop: Loop,
    file: Any,  # noqa: ANN401
    offset: int,
    count: int | None,
    expected: bytes,
) -> None:
    ours, peer = tcp_pair()
    with ours, peer:
        drain = Drain(peer, len(expected))
        assert run(loop, loop.sock_sendfile(ours, file, offset, count)) == len(expected)
        assert file.tell() == offset + len(expected) or not expected
        assert drain.result() == expected


def test_what_is_no_file_is_read_and_written_over_a_transport(loop: Loop) -> None:
    content = io.BytesIO(CONTENT)
    with adopted(loop, Recorder()) as (transport, peer):
        drain = Drain(peer, SIZE - 5)
        assert run(loop, loop.sendfile(transport, content, 5)) == SIZE - 5
        assert drain.result() == CONTENT[5:]
        with pytest.raises(asyncio.SendfileNotAvailableError):
            run(loop, loop.sendfile(transport, content, fallback=False))


def test_what_is_no_file_is_read_and_written_over_a_socket(loop: Loop) -> None:
    content = io.BytesIO(CONTENT)
    ours, peer = tcp_pair()
    with ours, peer:
        drain = Drain(peer, SIZE - 5)
        assert run(loop, loop.sock_sendfile(ours, content, 5)) == SIZE - 5
        assert drain.result() == CONTENT[5:]
        with pytest.raises(asyncio.SendfileNotAvailableError):
            run(loop, loop.sock_sendfile(ours, content, fallback=False))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, 0), ValueError),
        ((0, -1), ValueError),
        ((-1, None), ValueError),
        ((0.5, None), TypeError),
        ((0, "1"), TypeError),
    ],
)
def test_wrong_arguments_of_sock_sendfile(
    loop: Loop,
    file: Any,  # noqa: ANN401
    arguments: Any,  # noqa: ANN401
    error: type[Exception],
) -> None:
    ours, peer = tcp_pair()
    with ours, peer, pytest.raises(error):
        run(loop, loop.sock_sendfile(ours, file, *arguments))


def test_text_is_refused(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("text")
    ours, peer = tcp_pair()
    with ours, peer, path.open() as text, pytest.raises(ValueError, match="binary mode"):
        run(loop, loop.sock_sendfile(ours, text))


def test_a_closing_transport_is_refused(loop: Loop, file: Any) -> None:  # noqa: ANN401
    with adopted(loop, Recorder()) as (transport, _):
        transport.close()
        with pytest.raises(RuntimeError, match="closing"):
            run(loop, loop.sendfile(transport, file))


def test_a_pipe_is_refused(loop: Loop, file: Any) -> None:  # noqa: ANN401
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"):
        transport, _ = run(loop, loop.connect_write_pipe(Recorder, os.fdopen(writing, "wb", 0)))
        with pytest.raises(RuntimeError, match="not supported"):
            run(loop, loop.sendfile(transport, file))
        transport.close()
        turn(loop, 2)


def test_nothing_is_written_between(loop: Loop, file: Any) -> None:  # noqa: ANN401
    with adopted(loop, Recorder()) as (transport, peer):
        sending = loop.create_task(loop.sendfile(transport, file))
        turn(loop, 3)
        assert not sending.done()
        with pytest.raises(RuntimeError, match="sendfile is in progress"):
            transport.write(b"between")
        drain = Drain(peer, SIZE)
        assert run(loop, sending) == SIZE
        assert drain.result() == CONTENT


@pytest.mark.parametrize("is_paused", [False, True])
def test_reading_goes_on_afterwards_as_it_was(
    loop: Loop,
    file: Any,  # noqa: ANN401
    is_paused: bool,
) -> None:
    protocol = Recorder()
    with adopted(loop, protocol) as (transport, peer):
        if is_paused:
            transport.pause_reading()
        drain = Drain(peer, SIZE)
        run(loop, loop.sendfile(transport, file))
        assert drain.result() == CONTENT
        assert transport.is_reading() == (not is_paused)
        peer.sendall(b"answer")
        transport.resume_reading()
        turn_until(loop, lambda: protocol.received == b"answer")


def test_a_peer_that_goes_away(loop: Loop, large_file: Any) -> None:  # noqa: ANN401
    with adopted(loop, Recorder()) as (transport, peer):
        sending = loop.create_task(loop.sendfile(transport, large_file))
        turn(loop, 3)
        peer.close()
        with pytest.raises(ConnectionError):
            run(loop, sending)


def test_cancelling_leaves_the_socket_as_it_was(loop: Loop, large_file: Any) -> None:  # noqa: ANN401
    ours, peer = tcp_pair()
    with ours, peer:
        sending = loop.create_task(loop.sock_sendfile(ours, large_file))
        turn(loop, 3)
        assert not sending.done()
        sending.cancel()
        turn(loop, 3)
        assert sending.cancelled()
        assert loop.remove_writer(ours) is False
        assert peer.recv(1) == b"\0"
