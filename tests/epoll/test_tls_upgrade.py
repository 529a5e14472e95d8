"""start_tls() of loop and streams, on asyncio and on both of our ways."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest

import epoll
from tests.epoll.tls import HOST, KINDS, Peer, client_context, server_context
from tests.epoll.twins import Loop, Recorder, run, tcp_pair, turn, turn_until


def upgraded(
    loop: Loop,
    protocol: asyncio.BaseProtocol,
    peer_socket: socket.socket,
    ours: socket.socket,
    *,
    server_side: bool,
) -> tuple[Any, Any, Peer]:
    """Connect without TLS, upgrade; answer both transports and the peer."""
    plain, _ = run(loop, loop.connect_accepted_socket(lambda: protocol, ours))
    theirs = client_context() if server_side else server_context()
    peer = Peer(peer_socket, theirs, server_side=not server_side)
    task = loop.create_task(
        loop.start_tls(
            plain,
            protocol,
            server_context() if server_side else client_context(),
            server_side=server_side,
            server_hostname=None if server_side else "localhost",
        )
    )
    peer.until(loop, lambda: task.done() and peer.is_shaken)
    return plain, task.result(), peer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
def test_upgrade(tls_loop: Loop, kind: str, server_side: bool) -> None:
    protocol = KINDS[kind]()
    ours, peer_socket = tcp_pair()
    with peer_socket:
        plain, transport, peer = upgraded(
            tls_loop, protocol, peer_socket, ours, server_side=server_side
        )
        assert transport is not plain
        assert protocol.events == [("made",)]
        assert transport.get_protocol() is protocol
        transport.write(b"hello")
        peer.until(tls_loop, lambda: peer.received)
        peer.write(b"answer")
        turn_until(tls_loop, lambda: protocol.received)
        assert protocol.received == b"answer"
        transport.close()
        peer.until(tls_loop, lambda: peer.has_notified)
        peer.notify()
        turn_until(tls_loop, lambda: protocol.is_lost)
        assert protocol.events == [("made",), ("data", b"answer"), ("eof",), ("lost", None)]
        assert plain.is_closing()


def test_the_transport_is_there_before_the_first_data(tls_loop: Loop) -> None:
    """Data that come with the last message of the handshake wait for who has called start_tls()."""
    if not isinstance(tls_loop, epoll.EventLoop):
        pytest.skip("asyncio delivers them first")
    protocol = Recorder()
    ours, peer_socket = tcp_pair()
    with peer_socket:
        plain, _ = run(tls_loop, tls_loop.connect_accepted_socket(lambda: protocol, ours))
        peer = Peer(peer_socket, client_context(), server_side=False)

        async def upgrade() -> list[Any]:
            transport = await tls_loop.start_tls(
                plain, protocol, server_context(), server_side=True
            )
            before = list(protocol.events)
            transport.get_extra_info("cipher")
            return before

        task = tls_loop.create_task(upgrade())
        while not peer.is_shaken:
            turn(tls_loop)
            peer._take()
            try:
                peer.object.do_handshake()
            except ssl.SSLWantReadError:
                peer.flush()
            else:
                peer.is_shaken = True
        peer.object.write(b"hello")
        peer.flush()  # with the client's last message
        turn_until(tls_loop, lambda: task.done() and protocol.received)
        assert task.result() == [("made",)]
        assert protocol.received == b"hello"
        protocol.transport.abort()
        turn(tls_loop, 4)


def test_what_a_stream_has_read_ahead_belongs_to_the_handshake(tls_loop: Loop) -> None:
    """The client sends its ClientHello together with the line that asks for TLS."""
    if not isinstance(tls_loop, epoll.EventLoop):
        pytest.skip("asyncio loses it before 3.14")

    async def main() -> bytes:
        done = tls_loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            await asyncio.sleep(0)
            await writer.start_tls(server_context())
            done.set_result(await reader.readexactly(5))
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        _, port = server.sockets[0].getsockname()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection(HOST, port)
        for begin in (b"STARTTLS\n", b""):
            while True:
                try:
                    client.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    writer.write(begin + outgoing.read())
                    begin = b""
                    incoming.write(await reader.read(100_000))
        client.write(b"hello")
        writer.write(outgoing.read())
        received: bytes = await done
        writer.close()
        server.close()
        await asyncio.sleep(0.01)
        return received

    assert run(tls_loop, main()) == b"hello"


def test_streams_upgrade_both_ends(tls_loop: Loop) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.start_tls(server_context())
            assert writer.get_extra_info("sslcontext") is not None
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_context(), server_hostname="localhost")
        for line in (b"first\n", b"x" * 50_000 + b"\n"):
            writer.write(line)
            assert await reader.readline() == line
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(tls_loop, main())


def test_tls_in_tls(tls_loop: Loop) -> None:
    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await writer.start_tls(server_context())
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
        )
        outer = writer.transport
        await writer.start_tls(client_context(), server_hostname="localhost")
        assert writer.transport is not outer
        writer.write(b"inside\n")
        assert await reader.readline() == b"inside\n"
        writer.transport.abort()
        server.close()
        await asyncio.sleep(0.01)

    run(tls_loop, main())


@pytest.mark.parametrize("context", [None, True, "context"])
def test_context_is_needed(tls_loop: Loop, context: Any) -> None:  # noqa: ANN401
    async def main() -> None:
        await tls_loop.start_tls(asyncio.Transport(), Recorder(), context)

    with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
        run(tls_loop, main())


def test_transport_has_to_be_one_for_tls(tls_loop: Loop) -> None:
    async def main() -> None:
        await tls_loop.start_tls(asyncio.Transport(), Recorder(), server_context())

    with pytest.raises(TypeError, match=r"transport .* is not supported by start_tls\(\)"):
        run(tls_loop, main())


def test_failed_upgrade_closes_the_connection(tls_loop: Loop) -> None:
    protocol = Recorder()
    ours, peer = tcp_pair()
    with peer:
        plain, _ = run(tls_loop, tls_loop.connect_accepted_socket(lambda: protocol, ours))
        peer.sendall(b"this is no TLS at all")
        with pytest.raises(ssl.SSLError):
            run(tls_loop, tls_loop.start_tls(plain, protocol, server_context(), server_side=True))
        turn(tls_loop, 4)
        assert plain.is_closing()
        assert protocol.events == [("made",), ("lost", "SSLError")]


def test_cancelled_upgrade(tls_loop: Loop) -> None:
    protocol = Recorder()
    ours, peer = tcp_pair()
    with peer:
        plain, _ = run(tls_loop, tls_loop.connect_accepted_socket(lambda: protocol, ours))
        task = tls_loop.create_task(
            tls_loop.start_tls(plain, protocol, server_context(), server_side=True)
        )
        turn(tls_loop, 2)
        task.cancel()
        turn_until(tls_loop, task.done)
        turn(tls_loop, 4)
        assert plain.is_closing()
        assert protocol.events == [("made",)]


@pytest.mark.parametrize("option", [0, 1 << 3], ids=["usual", "OP_ENABLE_KTLS"])
def test_sendfile_over_tls(tls_loop: Loop, tmp_path: Any, option: int) -> None:  # noqa: ANN401
    of_server, of_client = server_context(), client_context()
    of_server.options |= option
    of_client.options |= option
    content = bytes(range(256)) * 4096
    path = tmp_path / "file"
    path.write_bytes(content)

    async def main() -> bytes:
        received = tls_loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.set_result(await reader.readexactly(len(content)))
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0, ssl=of_server)
        transport, _ = await tls_loop.create_connection(
            Recorder,
            *server.sockets[0].getsockname(),
            ssl=of_client,
            server_hostname="localhost",
        )
        with path.open("rb") as file:
            assert await tls_loop.sendfile(transport, file) == len(content)
        data: bytes = await received
        transport.abort()
        server.close()
        await asyncio.sleep(0.01)
        return data

    assert run(tls_loop, main()) == content


@pytest.mark.parametrize("end", ["close", "abort"])
def test_upgrade_of_a_connection_that_was_just_closed_gives_no_transport(
    tls_loop: Loop, end: str
) -> None:
    protocol, upgraded_protocol = Recorder(), Recorder()
    ours, peer_socket = tcp_pair()
    with peer_socket:
        plain, _ = run(tls_loop, tls_loop.connect_accepted_socket(lambda: protocol, ours))

        async def upgrade() -> asyncio.Transport | None:
            getattr(plain, end)()
            context = client_context()
            return await tls_loop.start_tls(
                plain, upgraded_protocol, context, server_hostname="localhost"
            )

        assert run(tls_loop, upgrade()) is None
        assert upgraded_protocol.events == [("lost", None)]


def test_what_libraries_look_for_is_where_asyncio_has_it(tls_loop: Loop) -> None:
    protocol = Recorder()
    ours, peer_socket = tcp_pair()
    with peer_socket:
        _, transport, _ = upgraded(tls_loop, protocol, peer_socket, ours, server_side=True)
        inner = transport._ssl_protocol
        assert inner._sslcontext is transport.get_extra_info("sslcontext")
        for pause in (transport.pause_reading, transport.resume_reading):
            pause()
            assert inner._app_reading_paused is not transport.is_reading()
        transport.abort()
