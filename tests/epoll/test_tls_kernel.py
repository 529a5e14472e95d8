"""The kernel's TLS: records that it enciphers, sendfile(), and the way back where it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from asyncio import constants
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import epoll
from tests.epoll.openssl import ask_for_new_keys, needs_openssl
from tests.epoll.tls import (
    HOST,
    KernelTlsLoop,
    Peer,
    client_context,
    connected,
    has_kernel_tls,
    refuses_new_keys,
    server_context,
)
from tests.epoll.twins import (
    Loop,
    Recorder,
    Reports,
    finish,
    run,
    tcp_pair,
    turn,
    turn_until,
    unix_pair,
)

pytestmark = [
    needs_openssl,
    pytest.mark.skipif(
        not has_kernel_tls(), reason="this kernel has no TLS (CONFIG_TLS, module tls)"
    ),
]

SIDES = pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
CONTENT = bytes(range(256)) * 20_000  # 5 MB
TRY_NATIVE = constants._SendfileMode.TRY_NATIVE
FALLBACK = constants._SendfileMode.FALLBACK


@pytest.fixture
def loop(reports: Reports) -> Iterator[Loop]:
    loop = KernelTlsLoop()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    yield loop
    finish(loop)
    assert reports == []


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("rb") as opened:
        yield opened


def limited(context: ssl.SSLContext, version: str, ciphers: str = "") -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    if ciphers:
        context.set_ciphers(ciphers)
    return context


@SIDES
@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        ("TLSv1_3", ""),
        ("TLSv1_2", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLSv1_2", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLSv1_2", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ],
)
def test_the_kernel_enciphers(loop: Loop, server_side: bool, version: str, ciphers: str) -> None:
    ours = server_context() if server_side else client_context()
    protocol = Recorder()
    ours = limited(ours, version, ciphers)
    with connected(loop, protocol, server_side=server_side, ours=ours) as (transport, peer):
        assert transport.get_extra_info("ktls_send") is True
        assert transport._sendfile_compatible is TRY_NATIVE
        for size in (1, 16_384, 16_385, 1_000_000):
            before = len(peer.received)
            transport.write(CONTENT[:size])
            peer.until(loop, lambda: len(peer.received) == before + size)  # noqa: B023
            assert peer.received[before:] == CONTENT[:size]
        peer.write(b"heard")
        turn_until(loop, lambda: protocol.received == b"heard")
        transport.close()
        peer.until(loop, lambda: peer.has_notified)
        peer.notify()
        peer.until(loop, lambda: peer.has_ended and protocol.is_lost)
    assert protocol.events[-1] == ("lost", None)


def test_a_cipher_that_the_kernel_lacks(loop: Loop) -> None:
    ours = limited(server_context(), "TLSv1_2", "ECDHE-ECDSA-AES128-SHA256")
    theirs = limited(client_context(), "TLSv1_2", "ECDHE-ECDSA-AES128-SHA256")
    with connected(loop, Recorder(), ours=ours, theirs=theirs) as (transport, peer):
        assert transport.get_extra_info("ktls_send") is False
        assert transport._sendfile_compatible is FALLBACK
        transport.write(CONTENT)
        peer.until(loop, lambda: peer.received == CONTENT)


def test_a_unix_socket(loop: Loop) -> None:
    with connected(loop, Recorder(), pair=unix_pair) as (transport, peer):
        assert transport.get_extra_info("ktls_send") is False
        transport.write(CONTENT)
        peer.until(loop, lambda: peer.received == CONTENT)


def test_without_the_option(reports: Reports) -> None:
    loop = epoll.EventLoop()
    with contextlib.closing(loop), connected(loop, Recorder()) as (transport, _):
        assert transport.get_extra_info("ktls_send") is False
        with pytest.raises(RuntimeError, match="the kernel does not encipher"):
            transport._make_empty_waiter()


@pytest.mark.skipif(not hasattr(ssl, "OP_ENABLE_KTLS"), reason="since Python 3.12")
def test_the_option_of_a_context() -> None:
    loop = epoll.EventLoop()
    context = server_context()
    context.options |= ssl.OP_ENABLE_KTLS
    with contextlib.closing(loop), connected(loop, Recorder(), ours=context) as (transport, _):
        assert transport.get_extra_info("ktls_send") is True


def test_upgrade_of_a_connection_with_bytes_unsent(loop: Loop) -> None:
    """Those are plain, and go before the handshake: it is begun behind them."""
    plain_protocol, protocol = Recorder(), Recorder()
    ours, peer_socket = tcp_pair()
    with peer_socket:
        plain, _ = run(loop, loop.connect_accepted_socket(lambda: plain_protocol, ours))
        plain.write(CONTENT)
        task = loop.create_task(loop.start_tls(plain, protocol, server_context(), server_side=True))
        peer_socket.setblocking(False)
        early = b""

        def has_early() -> bool:
            nonlocal early
            with contextlib.suppress(BlockingIOError):
                early += peer_socket.recv(len(CONTENT) - len(early))
            return len(early) == len(CONTENT)

        turn_until(loop, has_early)
        assert early == CONTENT
        peer = Peer(peer_socket, client_context(), server_side=False)
        peer.until(loop, lambda: task.done() and peer.is_shaken)
        transport = task.result()
        transport.write(b"enciphered")
        peer.until(loop, lambda: peer.received == b"enciphered")
        assert transport.get_extra_info("ktls_send") is True
        transport.abort()
        turn(loop, 4)


def test_close_notify_comes_behind_all_that_was_written(loop: Loop) -> None:
    protocol = Recorder()
    with connected(loop, protocol) as (transport, peer):
        transport.write(CONTENT)
        assert transport.get_write_buffer_size() > 0, "the socket has taken it all"
        transport.close()
        turn(loop, 4)
        assert not protocol.is_lost
        peer.until(loop, lambda: peer.has_notified)
        assert peer.received == CONTENT
        peer.notify()
        peer.until(loop, lambda: peer.has_ended and protocol.is_lost)
        assert protocol.events[-1] == ("lost", None)


def test_close_notify_of_both_ends_with_bytes_unsent(loop: Loop) -> None:
    """The peer's is there, so that nothing but our own is waited for."""
    protocol = Recorder()
    with connected(loop, protocol) as (transport, peer):
        transport.write(CONTENT)
        assert transport.get_write_buffer_size() > 0, "the socket has taken it all"
        peer.notify()
        turn(loop, 4)
        peer.until(loop, lambda: peer.has_ended and protocol.is_lost)
        assert peer.received == CONTENT
        assert peer.has_notified


# New keys


@SIDES
def test_new_keys_that_the_peer_wants_of_us(loop: Loop, server_side: bool) -> None:
    protocol = Recorder()
    with connected(loop, protocol, server_side=server_side) as (transport, peer):
        transport.write(b"before")
        peer.until(loop, lambda: peer.received == b"before")
        ask_for_new_keys(peer.object)
        peer.write(b"x")
        turn_until(loop, lambda: protocol.received == b"x")
        assert peer.received == b"before"
        transport.write(CONTENT)
        if not refuses_new_keys(loop):
            peer.until(loop, lambda: peer.received == b"before" + CONTENT)
            return
        turn_until(loop, lambda: protocol.is_lost)
        assert protocol.events[-1] == ("lost", "SSLError")
        turn(loop, 4)
        peer.step()
        assert peer.received == b"before", "it was sent under the old keys"


@SIDES
def test_a_peer_that_goes_on_wanting_new_keys(loop: Loop, server_side: bool) -> None:
    """OpenSSL answers the second wish when it reads it, not when it next writes."""
    protocol = Recorder()
    with connected(loop, protocol, server_side=server_side) as (_, peer):
        for _ in range(2):
            ask_for_new_keys(peer.object)
            peer.write(b"x")
        if not refuses_new_keys(loop):
            turn_until(loop, lambda: protocol.received == b"xx")
            return
        turn_until(loop, lambda: protocol.is_lost)
        assert protocol.events[-1] == ("lost", "SSLError")


# Files


def test_sendfile(loop: Loop, file: Any) -> None:  # noqa: ANN401
    protocol = Recorder()
    with connected(loop, protocol) as (transport, peer):
        transport.write(b"head")
        task = loop.create_task(loop.sendfile(transport, file, fallback=False))
        peer.until(loop, task.done)
        assert task.result() == len(CONTENT)
        peer.until(loop, lambda: len(peer.received) == 4 + len(CONTENT))  # without another byte
        assert peer.received == b"head" + CONTENT
        transport.write(b"tail")
        peer.until(loop, lambda: peer.received.endswith(b"tail"))
        assert len(peer.received) == 8 + len(CONTENT)


@pytest.mark.parametrize(("offset", "count"), [(0, None), (1000, None), (0, 16_384), (5, 100_000)])
def test_sendfile_of_a_part(loop: Loop, file: Any, offset: int, count: int | None) -> None:  # noqa: ANN401
    expected = CONTENT[offset:][:count]
    with connected(loop, Recorder()) as (transport, peer):
        task = loop.create_task(loop.sendfile(transport, file, offset, count, fallback=False))
        peer.until(loop, lambda: task.done() and len(peer.received) >= len(expected))
        assert task.result() == len(expected)
        assert peer.received == expected


def test_write_while_a_file_is_sent(loop: Loop, file: Any) -> None:  # noqa: ANN401
    with connected(loop, Recorder()) as (transport, peer):
        task = loop.create_task(loop.sendfile(transport, file))
        turn(loop, 3)
        for write in (transport.write, lambda data: transport.writelines([data])):
            with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                write(b"in between")
        peer.until(loop, task.done)
        peer.until(loop, lambda: len(peer.received) == len(CONTENT))
        assert peer.received == CONTENT


def test_close_while_a_file_is_sent(loop: Loop, file: Any) -> None:  # noqa: ANN401
    protocol = Recorder()
    with connected(loop, protocol) as (transport, peer):
        task = loop.create_task(loop.sendfile(transport, file))
        turn(loop, 3)
        transport.close()
        peer.until(loop, lambda: peer.has_notified)
        assert peer.received == CONTENT
        assert task.done()
        peer.notify()
        peer.until(loop, lambda: peer.has_ended and protocol.is_lost)
        assert protocol.events[-1] == ("lost", None)


@pytest.mark.parametrize("end", ["abort", "cancel", "peer"])
def test_end_while_a_file_is_sent(loop: Loop, file: Any, end: str) -> None:  # noqa: ANN401
    protocol = Recorder()
    with connected(loop, protocol) as (transport, peer):
        task = loop.create_task(loop.sendfile(transport, file))
        turn(loop, 3)
        assert not task.done()
        if end == "abort":
            transport.abort()
        elif end == "cancel":
            task.cancel()
        else:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.sock.close()
        turn_until(loop, task.done)
        if end == "cancel":
            assert task.cancelled()
            transport.write(b"and on")
            peer.until(loop, lambda: peer.received.endswith(b"and on"))
        else:
            assert isinstance(task.exception(), OSError)
            turn_until(loop, lambda: protocol.is_lost)


def test_a_peer_that_does_not_read_alerts(loop: Loop) -> None:
    """Wishes for new handshakes are answered by alerts, of which a bounded number waits."""
    ours = limited(server_context(), "TLSv1_2")
    protocol = Recorder()
    with connected(loop, protocol, ours=ours) as (transport, peer):
        while transport.get_write_buffer_size() == 0:
            transport.write(CONTENT)
        peer.notify()
        turn(loop, 10)
        assert not protocol.is_lost
        peer.until(loop, lambda: peer.has_ended)
        assert peer.has_notified


def test_streams(loop: Loop) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            writer.write(line)
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, HOST, 0, ssl=server_context())
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(
            host, port, ssl=client_context(), server_hostname="localhost"
        )
        assert writer.get_extra_info("ktls_send") is True
        for number in range(100):
            writer.write(b"%d\n" % number)
            assert await reader.readline() == b"%d\n" % number
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(loop, main())
