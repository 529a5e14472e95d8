"""Data over TLS in both directions, on asyncio and on both of our ways."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from tests.epoll.peers import Echo
from tests.epoll.tls import (
    KINDS,
    NATIVE,
    BufferedRecorder,
    client_context,
    connected,
    openssl_client,
    refuses_new_keys,
    server_context,
    tell,
)
from tests.epoll.twins import (
    PAIRS,
    Loop,
    Pair,
    Recorder,
    Reports,
    run,
    turn,
    turn_until,
)

BIG = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> type[Recorder]:
    return KINDS[request.param]


@pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
@pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
def test_data_go_both_ways(
    tls_loop: Loop, kind: type[Recorder], pair: Pair, server_side: bool
) -> None:
    protocol = kind()
    with connected(tls_loop, protocol, server_side=server_side, pair=pair) as (transport, peer):
        for size in (1, 100, 16384, 16385, 50_000):
            peer.write(BIG[:size])
            turn_until(tls_loop, lambda size=size: len(protocol.received) >= size)
            assert protocol.received == BIG[:size]
            protocol.events.clear()
            transport.write(BIG[:size])
            peer.until(tls_loop, lambda size=size: len(peer.received) >= size)
            assert peer.received == BIG[:size]
            peer.received = b""


def test_a_huge_write_arrives(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.write(BIG * 8)
        transport.write(b"end")
        peer.until(tls_loop, lambda: len(peer.received) == 8 * len(BIG) + 3)
        assert peer.received == BIG * 8 + b"end"
        assert transport.get_write_buffer_size() == 0


def test_much_is_read(tls_loop: Loop, kind: type[Recorder]) -> None:
    protocol = kind()
    with connected(tls_loop, protocol) as (_, peer):
        for _ in range(20):
            peer.write(BIG[:60_000])
            turn(tls_loop)
        turn_until(tls_loop, lambda: len(protocol.received) == 1_200_000)
        assert protocol.received == BIG[:60_000] * 20


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_buffer_may_be_small(tls_loop: Loop, size: int) -> None:
    protocol = BufferedRecorder()
    protocol.size = size
    with connected(tls_loop, protocol) as (_, peer):
        peer.write(BIG[:3500])
        turn_until(tls_loop, lambda: len(protocol.received) == 3500)
        assert protocol.received == BIG[:3500]


@pytest.mark.parametrize("cut", [1, 4, 5, 6, 20])
def test_a_record_may_come_in_pieces(tls_loop: Loop, kind: type[Recorder], cut: int) -> None:
    protocol = kind()
    with connected(tls_loop, protocol) as (_, peer):
        peer.object.write(b"hello")
        record = peer.outgoing.read()
        peer.sock.sendall(record[:cut])
        turn(tls_loop, 3)
        assert protocol.received == b""
        peer.sock.sendall(record[cut:])
        turn_until(tls_loop, lambda: protocol.received)
        assert protocol.received == b"hello"


def test_kinds_of_bytes(tls_loop: Loop) -> None:
    with connected(tls_loop, Recorder()) as (transport, peer):
        changing = bytearray(b"a bytearray ")
        transport.write(changing)
        changing[:] = b"x" * len(changing)
        transport.write(memoryview(b"a view "))
        transport.write(b"")
        transport.writelines([b"some ", bytearray(b"of "), memoryview(b"each")])
        peer.until(tls_loop, lambda: len(peer.received) == 31)
        assert peer.received == b"a bytearray a view some of each"


@pytest.mark.parametrize("wrong", ["text", None, 1, [b"x"]])
def test_what_is_no_bytes_is_refused(tls_loop: Loop, wrong: Any) -> None:  # noqa: ANN401
    name = type(wrong).__name__
    with (
        connected(tls_loop, Recorder()) as (transport, _),
        pytest.raises(TypeError, match=f"^data: expecting a bytes-like instance, got {name}$"),
    ):
        transport.write(wrong)


def test_there_is_no_write_eof(tls_loop: Loop) -> None:
    with connected(tls_loop, Recorder()) as (transport, _):
        assert not transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            transport.write_eof()


def test_what_is_written_in_the_handshake_follows_it(tls_loop: Loop) -> None:
    class Protocol(Recorder):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            transport.write(b"hel")
            transport.write(b"lo")

    with connected(tls_loop, Protocol()) as (_, peer):
        peer.until(tls_loop, lambda: len(peer.received) == 5)
        assert peer.received == b"hello"


def test_small_writes_share_a_record(tls_loop: Loop) -> None:
    if type(tls_loop) not in NATIVE:
        pytest.skip("asyncio makes a record of each write")
    with connected(tls_loop, Recorder()) as (transport, peer):
        transport.write(b"x")
        peer.until(tls_loop, lambda: peer.received)  # the tickets have come before it
        for _ in range(100):
            tls_loop.call_soon(transport.write, b"0123456789")
        turn(tls_loop, 2)
        arrived = peer.sock.recv(100_000)
        assert int.from_bytes(arrived[3:5], "big") == len(arrived) - 5, "more than one record"
        assert len(arrived) < 1100


# Reading is paused


def test_pause_and_resume(tls_loop: Loop, kind: type[Recorder]) -> None:
    protocol = kind()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.pause_reading()
        assert not transport.is_reading()
        transport.pause_reading()
        peer.write(b"hello")
        turn(tls_loop, 5)
        assert protocol.received == b""
        transport.resume_reading()
        assert transport.is_reading()
        transport.resume_reading()
        turn_until(tls_loop, lambda: protocol.received)
        assert protocol.received == b"hello"


def test_pause_in_the_callback(tls_loop: Loop) -> None:
    class Protocol(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    protocol = Protocol()
    with connected(tls_loop, protocol) as (transport, peer):
        peer.write(b"one")
        turn_until(tls_loop, lambda: protocol.received)
        peer.write(b"two")
        turn(tls_loop, 5)
        assert protocol.received == b"one"
        transport.resume_reading()
        turn_until(tls_loop, lambda: len(protocol.received) > 3)
        assert protocol.received == b"onetwo"


def test_a_paused_transport_does_not_take_everything(tls_loop: Loop) -> None:
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        transport.pause_reading()
        sent = 0
        peer.sock.setblocking(False)
        pending = b""
        for _ in range(2000):
            if not pending:
                peer.object.write(BIG[:16384])
                pending = peer.outgoing.read()
                sent += 16384
            try:
                pending = pending[peer.sock.send(pending) :]
            except BlockingIOError:
                turn(tls_loop)
                if transport.get_read_buffer_size() >= 256 * 1024:
                    break
        else:
            pytest.fail("it goes on reading")
        turn(tls_loop, 10)
        assert transport.get_read_buffer_size() <= 512 * 1024
        assert protocol.received == b""
        transport.resume_reading()

        def is_complete() -> bool:
            nonlocal pending
            while pending:
                try:
                    pending = pending[peer.sock.send(pending) :]
                except BlockingIOError:
                    return False
            return len(protocol.received) == sent

        turn_until(tls_loop, is_complete)


def test_limits_of_reading(tls_loop: Loop) -> None:
    with connected(tls_loop, Recorder()) as (transport, _):
        assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)
        transport.set_read_buffer_limits(high=1000)
        assert transport.get_read_buffer_limits() == (250, 1000)
        transport.set_read_buffer_limits(low=1000)
        assert transport.get_read_buffer_limits() == (1000, 4000)
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            transport.set_read_buffer_limits(high=1, low=2)


# Writing is paused


def test_limits_of_writing(tls_loop: Loop) -> None:
    with connected(tls_loop, Recorder()) as (transport, _):
        assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
        transport.set_write_buffer_limits(high=1000)
        assert transport.get_write_buffer_limits() == (250, 1000)
        transport.set_write_buffer_limits(low=1000)
        assert transport.get_write_buffer_limits() == (1000, 4000)
        with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
            transport.set_write_buffer_limits(high=1, low=2)


@pytest.mark.parametrize("high", [None, 1000, 0])
def test_a_slow_peer_pauses_the_protocol(tls_loop: Loop, high: int | None) -> None:
    if high == 0 and type(tls_loop) not in NATIVE:
        pytest.skip("asyncio pauses at once and does not resume before the next write")
    protocol = Recorder()
    with connected(tls_loop, protocol) as (transport, peer):
        if high is not None:
            transport.set_write_buffer_limits(high)
        written = 0
        while ("pause",) not in protocol.events:
            transport.write(BIG)
            written += len(BIG)
            assert written < 100 * len(BIG), "it does not pause"
        assert transport.get_write_buffer_size() > transport.get_write_buffer_limits()[0]
        peer.until(tls_loop, lambda: len(peer.received) == written)
        turn(tls_loop, 2)
        assert protocol.events == [("made",), ("pause",), ("resume",)]
        assert transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_callback_of_flow_control_that_raises(
    tls_loop: Loop, reports: Reports, method: str
) -> None:
    protocol = Recorder()

    def fail() -> None:
        raise LookupError

    setattr(protocol, method, fail)
    with connected(tls_loop, protocol) as (transport, peer):
        written = 0
        while transport.get_write_buffer_size() < 2**20:
            transport.write(BIG)
            written += len(BIG)
        peer.until(tls_loop, lambda: len(peer.received) == written)
        turn(tls_loop, 2)
    assert reports.take_one().summary == ("LookupError", f"protocol.{method}")


def test_drain_waits(tls_loop: Loop) -> None:
    async def main() -> None:
        received = tls_loop.create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received.set_result(len(await reader.readexactly(8 * len(BIG))))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(), server_hostname="localhost"
        )
        for _ in range(8):
            writer.write(BIG)
            await writer.drain()
        assert await received == 8 * len(BIG)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()

    run(tls_loop, main())


# The peer asks for more than data


@pytest.mark.parametrize("command", [b"K\n", b"k\n"], ids=["both", "one"])
def test_the_peer_updates_its_key(tls_loop: Loop, command: bytes) -> None:
    if command == b"K\n" and refuses_new_keys(tls_loop):
        pytest.skip("the kernel takes no new keys: see test_tls_kernel")

    async def main() -> bytes:
        protocol = Echo()
        server = await tls_loop.create_server(
            lambda: protocol, "127.0.0.1", 0, ssl=server_context()
        )
        with openssl_client(server.sockets[0].getsockname(), "-tls1_3") as client:
            await tell(client, b"before\n", b"before\n")
            await tell(client, command, b"KEYUPDATE\n")
            await tell(client, b"after\n", b"after\n")
        server.close()
        while not protocol.is_lost:
            await asyncio.sleep(0.001)
        return protocol.received

    assert run(tls_loop, main()) == b"before\nafter\n"


def test_renegotiation_is_refused(tls_loop: Loop) -> None:
    async def main() -> list[Any]:
        protocol = Echo()
        server = await tls_loop.create_server(
            lambda: protocol, "127.0.0.1", 0, ssl=server_context()
        )
        with openssl_client(server.sockets[0].getsockname(), "-tls1_2") as client:
            await tell(client, b"before\n", b"before\n")
            await tell(client, b"R\n", b"RENEGOTIATING\n")
            while not protocol.is_lost:
                await asyncio.sleep(0.001)
        server.close()
        return protocol.events

    assert run(tls_loop, main()) == [("made",), ("data", b"before\n"), ("lost", "SSLError")]


def test_context_subclass_with_its_own_records(tls_loop: Loop) -> None:
    seen = []

    class Counting(ssl.SSLObject):
        def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: ANN401
            data = super().read(len, buffer) if buffer is not None else super().read(len)
            seen.append(data)
            return data

    ours = server_context()
    ours.sslobject_class = Counting
    protocol = Recorder()
    with connected(tls_loop, protocol, ours=ours) as (_, peer):
        peer.write(b"hello")
        turn_until(tls_loop, lambda: protocol.received)
        assert protocol.received == b"hello"
        assert seen
