"""The end of a TLS connection, on asyncio and on both of our ways."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.epoll.tls import (
    NATIVE,
    Peer,
    client_context,
    connected,
    server_context,
    start_transport,
)
from tests.epoll.twins import Loop, Recorder, Reports, reset, run, tcp_pair, turn, turn_until

BIG = bytes(range(256)) * 4096  # 1 MiB


def test_close_notifies_the_peer_and_waits_for_it(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.write(b"last words")
        transport.close()
        assert transport.is_closing()
        peer.until(tls_loop, lambda: peer.has_notified)
        assert peer.received == b"last words"
        turn(tls_loop, 5)
        assert not protocol.is_lost
        peer.notify()
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events == [("made",), ("eof",), ("lost", None)]
        peer.until(tls_loop, lambda: peer.has_ended)


def test_close_sends_all_that_is_unsent(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        for _ in range(4):
            transport.write(BIG)
        transport.close()
        peer.until(tls_loop, lambda: peer.has_notified)
        assert peer.received == BIG * 4
        peer.notify()
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert ("lost", None) in protocol.events


def test_close_twice(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.close()
        peer.until(tls_loop, lambda: peer.has_notified)
        peer.notify()
        turn_until(tls_loop, lambda: protocol.is_lost)
        transport.close()
        assert protocol.events.count(("lost", None)) == 1


@pytest.mark.parametrize("again", ["while it closes", "afterwards"])
def test_who_closes_twice_keeps_no_session(tls_loop: Loop, again: str) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        session = weakref.ref(transport.get_extra_info("ssl_object"))
        transport.close()
        if again == "while it closes":
            transport.close()
        peer.until(tls_loop, lambda: peer.has_notified)
        peer.notify()
        turn_until(tls_loop, lambda: protocol.is_lost)
        if again == "afterwards":
            assert session() is not None
            transport.close()
        turn(tls_loop)
        assert session() is None


def test_the_peer_notifies(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (_, peer):
        peer.write(b"last words")
        peer.notify()
        peer.until(tls_loop, lambda: protocol.is_lost and peer.has_ended)
        assert protocol.events == [("made",), ("data", b"last words"), ("eof",), ("lost", None)]


def test_answer_to_close_notify(tls_loop: Loop) -> None:
    class Protocol(Recorder):
        def eof_received(self) -> object:
            self.transport.write(b"answer")
            return super().eof_received()

    protocol = Protocol()
    with connected(tls_loop, protocol) as (_, peer):
        peer.object.write(b"question")
        with pytest.raises(ssl.SSLWantReadError):
            peer.object.unwrap()
        peer.flush()
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events == [("made",), ("data", b"question"), ("eof",), ("lost", None)]


def test_to_keep_it_half_open_has_no_effect(
    tls_loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    protocol = Recorder()
    protocol.keeps_open = True
    with connected(tls_loop, protocol) as (_, peer):
        peer.notify()
        peer.until(tls_loop, lambda: protocol.is_lost)
    (record,) = caplog.records
    assert record.getMessage() == (
        "returning true from eof_received() has no effect when using ssl"
    )


def test_the_connection_is_cut_off(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (_, peer):
        peer.write(b"half a senten")
        peer.sock.shutdown(socket.SHUT_WR)
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events == [
            ("made",),
            ("data", b"half a senten"),
            ("eof",),
            ("lost", None),
        ]


def test_cut_off_while_reading_is_paused(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.pause_reading()
        peer.write(b"unread")
        peer.sock.shutdown(socket.SHUT_WR)
        turn(tls_loop, 10)
        assert protocol.events == [("made",)]
        transport.resume_reading()
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events == [("made",), ("data", b"unread"), ("eof",), ("lost", None)]


def test_reset(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (_, peer):
        reset(peer.sock)
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events == [("made",), ("lost", "ConnectionResetError")]


def test_abort(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.write(b"sent before")
        transport.abort()
        assert transport.is_closing()
        turn(tls_loop, 3)
        assert protocol.events == [("made",), ("lost", None)]
        peer.until(tls_loop, lambda: peer.has_ended)
        assert peer.received == b"sent before"
        assert not peer.has_notified


def test_force_close(tls_loop: Loop) -> None:
    if sys.version_info < (3, 13) and type(tls_loop) not in NATIVE:
        pytest.skip("asyncio before 3.13 has a wrong call there")
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, _):
        transport._force_close(LookupError())
        turn(tls_loop, 3)
        assert protocol.events == [("made",), ("lost", "LookupError")]


def test_a_peer_that_goes_on_sending_after_close(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.close()
        turn(tls_loop, 2)
        peer.write(b"more")
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events == [("made",), ("lost", "SSLError")]


def test_close_while_reading_is_paused(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.pause_reading()
        transport.close()
        peer.until(tls_loop, lambda: peer.has_notified)
        peer.notify()
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events[-1] == ("lost", None)


def test_shutdown_timeout(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol, ssl_shutdown_timeout=0.02) as (transport, _):
        transport.close()
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events == [("made",), ("lost", "TimeoutError")]


def corrupt(peer: Peer) -> None:
    peer.object.write(b"hello")
    record = bytearray(peer.outgoing.read())
    record[-1] ^= 1
    peer.sock.sendall(record)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_corrupt_record(tls_loop: Loop, version: str) -> None:
    errors: list[Any] = []

    class Protocol(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            errors.append(exc)
            super().connection_lost(exc)

    ours = server_context()
    ours.maximum_version = ssl.TLSVersion[version]
    protocol = Protocol()
    with connected(tls_loop, protocol, ours=ours) as (_, peer):
        corrupt(peer)
        turn_until(tls_loop, lambda: protocol.is_lost)
    (error,) = errors
    assert type(error) is ssl.SSLError
    assert error.library == "SSL"
    # the second one is what OpenSSL 3.6 says
    assert error.reason in ("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "RECORD_LAYER_FAILURE")
    assert error.args[0] == 1
    assert error.strerror.startswith(f"[SSL: {error.reason}] ")


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
def test_callback_that_raises(tls_loop: Loop, reports: Reports, method: str) -> None:
    protocol = Recorder()

    def fail(*_: object) -> None:
        raise LookupError

    setattr(protocol, method, fail)
    with connected(tls_loop, protocol) as (transport, peer):
        transport.set_protocol(protocol)
        peer.write(b"x")
        peer.notify()
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events[-1] == ("lost", "LookupError")
    message = {
        "data_received": "Fatal error on SSL protocol",
        "eof_received": "Error calling eof_received",
    }[method]
    assert reports.take_one().summary == ("LookupError", message)


def test_connection_made_that_raises(tls_loop: Loop, reports: Reports) -> None:
    class Protocol(Recorder):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            raise LookupError

    with (
        pytest.raises(LookupError),
        connected(tls_loop, protocol := Protocol()),
    ):
        pass
    turn(tls_loop, 4)
    assert protocol.events == [("made",), ("lost", "LookupError")]
    assert reports.take_one().summary == (
        "LookupError",
        "Fatal error: protocol.buffer_updated",
    )


def test_writes_after_the_end_are_logged(tls_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    with connected(tls_loop, Recorder()) as (transport, _):
        transport.abort()
        turn(tls_loop, 4)
        for _ in range(6):
            transport.write(b"x")
    assert {record.getMessage() for record in caplog.records} == {"SSL connection is closed"}


def test_nothing_is_left(tls_loop: Loop) -> None:
    def talk() -> weakref.ref[Any]:
        protocol = Recorder()
        with connected(tls_loop, protocol) as (transport, peer):
            peer.notify()
            peer.until(tls_loop, lambda: protocol.is_lost)
            return weakref.ref(transport)

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors()
    dead = talk()
    turn(tls_loop, 3)
    gc.collect()
    assert dead() is None
    assert descriptors() == before


def test_loop_is_closed_with_an_open_connection(tls_loop: Loop) -> None:
    our_socket, peer_socket = tcp_pair()
    protocol = Recorder()
    with peer_socket:
        peer = Peer(peer_socket, client_context(), server_side=False)
        task = start_transport(tls_loop, protocol, our_socket, server_context(), server_side=True)
        peer.until(tls_loop, lambda: protocol.events and peer.is_shaken)
        run(tls_loop, task)
        task = None

        def end() -> None:
            tls_loop.close()
            protocol.transport = None
            gc.collect()

        with pytest.warns(ResourceWarning, match="unclosed"):
            end()


def test_server_survives_bad_clients(tls_loop: Loop) -> None:
    async def main() -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await tls_loop.create_server(factory, "127.0.0.1", 0, ssl=server_context())
        address = server.sockets[0].getsockname()
        for request in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"):
            with socket.create_connection(address) as bad:
                bad.setblocking(False)
                await tls_loop.sock_sendall(bad, request)
        transport, _ = await tls_loop.create_connection(
            Recorder, *address, ssl=client_context(), server_hostname="localhost"
        )
        transport.abort()
        while len(made) < 4 or not made[3].is_lost:
            await asyncio.sleep(0)
        assert [protocol.events for protocol in made[:3]] == [[], [], []]
        server.close()
        await server.wait_closed()

    run(tls_loop, main())


def test_failed_handshake_of_a_server_is_reported_in_debug_mode(
    tls_loop: Loop, reports: Reports, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        server = await tls_loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context())
        with socket.create_connection(server.sockets[0].getsockname()) as bad:
            bad.setblocking(False)
            await tls_loop.sock_sendall(bad, b"GET / HTTP/1.1\r\n\r\n")
            while not reports:
                await asyncio.sleep(0)
        server.close()
        await server.wait_closed()

    tls_loop.set_debug(True)
    with caplog.at_level(logging.CRITICAL, "asyncio"):
        run(tls_loop, main())
    report = reports.take_one()
    assert report.summary == ("SSLError", "Error on transport creation for incoming connection")
    assert isinstance(report["protocol"], Recorder)
    assert "SSL" in type(report["transport"]).__name__
