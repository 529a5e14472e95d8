"""What a stream transport and a server log in debug mode: what asyncio's do."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.epoll.twins import PATIENCE, Loop, Recorder, adopted, reset, run, turn, turn_until

READ = "'': Fatal read error on socket transport"
WRITE = "'': Fatal write error on socket transport"


@pytest.fixture
def logged(loop: Loop, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged while the loop is in debug mode."""
    loop.set_debug(True)
    loop.slow_callback_duration = PATIENCE
    with caplog.at_level(logging.DEBUG, logger="asyncio"):
        yield caplog


def said(logged: pytest.LogCaptureFixture, transport: Any) -> list[str]:  # noqa: ANN401
    """Forget what is logged, and return what followed the name of the transport."""
    records = [record for record in logged.records if record.args[:1] == (transport,)]
    logged.clear()
    assert {record.levelname for record in records} <= {"DEBUG"}
    return [record.msg % ("", *record.args[1:]) for record in records]


def test_reading_is_paused_and_resumed(loop: Loop, logged: pytest.LogCaptureFixture) -> None:
    with adopted(loop, Recorder()) as (transport, _):
        logged.clear()
        for call in ("resume", "pause", "pause", "resume", "resume"):
            getattr(transport, f"{call}_reading")()
        assert said(logged, transport) == ["'' pauses reading", "'' resumes reading"]
        loop.set_debug(False)
        transport.pause_reading()
        transport.resume_reading()
        loop.set_debug(True)
        transport.abort()
        transport.pause_reading()
        transport.resume_reading()
        turn(loop, 2)
        assert said(logged, transport) == []


@pytest.mark.parametrize("keeps_open", [False, True])
def test_the_end_of_the_peer(
    loop: Loop, logged: pytest.LogCaptureFixture, keeps_open: bool
) -> None:
    protocol = Recorder()
    protocol.keeps_open = keeps_open
    with adopted(loop, protocol) as (transport, peer):
        logged.clear()
        peer.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda: ("eof",) in protocol.events)
        turn(loop, 2)
        assert said(logged, transport) == ["'' received EOF"]


def test_a_reset_that_a_read_meets(loop: Loop, logged: pytest.LogCaptureFixture) -> None:
    protocol = Recorder()
    with adopted(loop, protocol) as (transport, peer):
        logged.clear()
        reset(peer)
        turn_until(loop, lambda: protocol.is_lost)
        assert [record.exc_info[0] for record in logged.records if record.exc_info] == [
            ConnectionResetError
        ]
        assert said(logged, transport) == [READ]


def test_a_reset_that_a_write_meets(loop: Loop, logged: pytest.LogCaptureFixture) -> None:
    protocol = Recorder()
    with adopted(loop, protocol) as (transport, peer):
        transport.pause_reading()
        sock = transport.get_extra_info("socket")
        logged.clear()
        reset(peer)
        ending = select.poll()
        ending.register(sock.fileno(), 0)
        assert ending.poll(PATIENCE * 1000)
        transport.write(b"x")
        turn_until(loop, lambda: protocol.is_lost)
        (record,) = [record for record in logged.records if record.exc_info]
        assert issubclass(record.exc_info[0], ConnectionError)  # type: ignore[index, arg-type]
        assert said(logged, transport) == [WRITE]


def test_an_end_of_ours_is_nothing_special(loop: Loop, logged: pytest.LogCaptureFixture) -> None:
    for end in ("close", "abort"):
        with adopted(loop, Recorder()) as (transport, _):
            logged.clear()
            getattr(transport, end)()
            turn(loop, 2)
            assert said(logged, transport) == []


@pytest.mark.parametrize("debug", [False, True])
def test_a_server_names_who_comes(
    loop: Loop, logged: pytest.LogCaptureFixture, debug: bool
) -> None:
    loop.set_debug(debug)
    protocol = Recorder()

    async def main() -> tuple[object, str]:
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            while protocol.transport is None:
                await asyncio.sleep(0)
            number = protocol.transport.get_extra_info("socket").fileno()
            protocol.transport.abort()
            await asyncio.sleep(0)
            server.close()
            return peer.getsockname(), f"fd={number}"

    address, number = run(loop, main())
    lines = [text for text in logged.messages if "got a new connection" in text]
    if debug:
        (line,) = lines
        server, _, connection = line.partition(f" got a new connection from {address!r}: ")
        assert server.startswith("<Server ")
        assert connection.startswith("<socket.socket ")
        assert number in connection or "closed" in connection  # asyncio's object is gone by now
    else:
        assert lines == []
