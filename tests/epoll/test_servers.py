"""create_server and create_unix_server: addresses, options, the life of a Server."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.epoll.peers import HOST, Answers, Echo, address_of, echo, ended, talk
from tests.epoll.twins import PATIENCE, Loop, Recorder, Reports, reset, run, turn


def test_an_echo_server(loop: Loop) -> None:
    async def main() -> list[Any]:
        async with echo(loop) as server:
            assert isinstance(server, asyncio.Server)
            assert server.is_serving()
            assert server.get_loop() is loop
            transport, protocol = await talk(loop, address_of(server))
            assert transport.get_extra_info("peername") == address_of(server)
            await ended(transport)
            return protocol.events

    assert run(loop, main()) == [("made",), ("data", b"hello"), ("lost", None)]


def test_many_clients(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop, backlog=100) as server:
            clients = await asyncio.gather(*(talk(loop, address_of(server)) for _ in range(60)))
            assert len({client.get_extra_info("sockname") for client, _ in clients}) == 60
            await ended(*(client for client, _ in clients))

    run(loop, main())


def test_several_hosts(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop, host=[HOST, "127.0.0.2"]) as server:
            addresses = [sock.getsockname() for sock in server.sockets]
            assert {address[0] for address in addresses} == {HOST, "127.0.0.2"}
            for address in addresses:
                transport, _ = await talk(loop, address)
                await ended(transport)

    run(loop, main())


def test_a_server_on_a_given_socket(loop: Loop) -> None:
    async def main() -> None:
        with socket.socket() as listener:
            listener.bind((HOST, 0))
            server = await loop.create_server(Echo, sock=listener)
            transport, _ = await talk(loop, listener.getsockname())
            await ended(transport)
            server.close()
            await asyncio.sleep(0)
            assert listener.fileno() == -1

    run(loop, main())


def test_an_address_in_use(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop) as server:
            with pytest.raises(OSError, match="error while attempting to bind on address") as bad:
                await loop.create_server(Echo, *address_of(server))
            assert bad.value.errno == errno.EADDRINUSE

    run(loop, main())


def test_reuse_port(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop, reuse_port=True) as server:
            second = await loop.create_server(Echo, *address_of(server), reuse_port=True)
            second.close()

    run(loop, main())


def test_start_serving_later(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop, start_serving=False) as server:
            assert not server.is_serving()
            with pytest.raises(ConnectionRefusedError):
                await talk(loop, address_of(server))
            await server.start_serving()
            await server.start_serving()
            assert server.is_serving()
            transport, _ = await talk(loop, address_of(server))
            await ended(transport)

    run(loop, main())


def test_serve_forever_ends_by_cancelling(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop, start_serving=False) as server:
            serving = loop.create_task(server.serve_forever())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
                await server.serve_forever()
            transport, _ = await talk(loop, address_of(server))
            await ended(transport)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert not server.is_serving()
            with pytest.raises(RuntimeError, match="is closed"):
                await server.serve_forever()

    run(loop, main())


def test_closing_a_server_keeps_its_connections(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop) as server:
            address = address_of(server)
            transport, protocol = await talk(loop, address)
            server.close()
            server.close()
            assert not server.is_serving()
            assert server.sockets == ()
            with pytest.raises(ConnectionRefusedError):
                await talk(loop, address)
            transport.write(b"there?")
            await protocol.until("data", b"hellothere?")
            waiting = loop.create_task(server.wait_closed())
            await asyncio.sleep(0.01)
            if sys.version_info >= (3, 12, 1):
                assert not waiting.done()
            await ended(transport)
            await waiting

    run(loop, main())


def test_a_server_as_a_context_manager(loop: Loop) -> None:
    async def main() -> None:
        async with await loop.create_server(Echo, HOST, 0) as server:
            transport, _ = await talk(loop, address_of(server))
            await ended(transport)
        assert not server.is_serving()

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in Python 3.13")
@pytest.mark.parametrize("end", ["close_clients", "abort_clients"])
def test_a_server_ends_its_connections(loop: Loop, end: str) -> None:
    served: list[Echo] = []

    def make() -> Echo:
        served.append(Echo())
        return served[-1]

    async def main() -> None:
        server = await loop.create_server(make, HOST, 0)
        clients = [await talk(loop, address_of(server)) for _ in range(3)]
        gone, _ = clients.pop()
        await ended(gone)
        getattr(server, end)()
        for _, protocol in clients:
            await protocol.until("lost", None)
        server.close()
        await server.wait_closed()

    run(loop, main())
    assert all(protocol.is_lost for protocol in served)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in Python 3.13")
def test_abort_clients_does_not_wait_for_what_is_unsent(loop: Loop) -> None:
    class Flood(Recorder):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            transport.write(bytes(1 << 24))

    protocols: list[Flood] = []

    def make() -> Flood:
        protocols.append(Flood())
        return protocols[-1]

    async def main() -> None:
        server = await loop.create_server(make, HOST, 0)
        with socket.create_connection(address_of(server)):
            while not protocols or not protocols[0].events:
                await asyncio.sleep(0)
            server.close_clients()
            await asyncio.sleep(0.01)
            assert not protocols[0].is_lost
            server.abort_clients()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert protocols[0].is_lost
        server.close()

    run(loop, main())


# asyncio leaves the socket to the garbage collector, which warns of it.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_failing_factory_closes_the_connection(loop: Loop, reports: Reports) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    loop.set_debug(True)

    async def main() -> None:
        server = await loop.create_server(fail, HOST, 0)
        _, protocol = await loop.create_connection(Answers, *address_of(server))
        while not reports:
            await asyncio.sleep(0)
        server.close()
        protocol.transport.abort()

    run(loop, main())
    gc.collect()
    assert reports.take_one().summary == (
        "ZeroDivisionError",
        "Error on transport creation for incoming connection",
    )


def test_a_unix_server(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        for given in (str(path), path, os.fsencode(path)):
            server = await loop.create_unix_server(Echo, given)
            assert stat.S_ISSOCK(path.stat().st_mode)
            transport, _ = await talk(loop, str(path))
            assert transport.get_extra_info("peername") == str(path)
            assert transport.get_extra_info("socket").family == socket.AF_UNIX
            await ended(transport)
            server.close()
            assert path.exists() is (sys.version_info < (3, 13))

    run(loop, main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before 3.13 nothing is unlinked")
def test_a_unix_socket_is_unlinked_only_by_its_owner(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        first = await loop.create_unix_server(Echo, path)
        path.unlink()
        second = await loop.create_unix_server(Echo, path)
        first.close()
        assert path.exists(), "the path belongs to the second server"
        second.close()
        assert not path.exists()
        third = await loop.create_unix_server(Echo, path, cleanup_socket=False)
        third.close()
        assert path.exists()

    run(loop, main())


def test_an_abstract_unix_server(loop: Loop) -> None:
    name = f"\0epoll-test-{os.getpid()}"

    async def main() -> None:
        server = await loop.create_unix_server(Echo, name)
        transport, _ = await talk(loop, name)
        assert transport.get_extra_info("peername") == name.encode()
        await ended(transport)
        server.close()

    run(loop, main())


def test_a_path_that_is_no_socket_is_kept(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(OSError, match="is already in use"):
        run(loop, loop.create_unix_server(Echo, path))
    assert path.read_text() == "precious"
    with pytest.raises(ConnectionRefusedError):
        run(loop, loop.create_unix_connection(Recorder, str(path)))


def test_clients_that_vanish_before_they_are_accepted(loop: Loop) -> None:
    served: list[Recorder] = []

    def make() -> Recorder:
        served.append(Recorder())
        return served[-1]

    async def main() -> None:
        server = await loop.create_server(make, HOST, 0)
        for _ in range(5):
            reset(socket.create_connection(address_of(server), timeout=PATIENCE))
        transport, _ = await loop.create_connection(Answers, *address_of(server))
        while len([1 for protocol in served if not protocol.is_lost]) != 1 or len(served) < 6:
            await asyncio.sleep(0)
        assert server.is_serving()
        await ended(transport)
        server.close()

    run(loop, main())
    assert all(protocol.events[0] == ("made",) for protocol in served)
    turn(loop, 3)
    assert all(protocol.is_lost for protocol in served)
