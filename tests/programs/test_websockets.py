"""A websockets server and its clients on one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("websockets", reason="websockets is installed by scripts/programs only")

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from tests.programs.conftest import Run

BIG = bytes(range(256)) * 2048  # half a MiB

Handler = Callable[[ServerConnection], Awaitable[None]]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve for the time of the block; give the URL."""
    async with serve(handler, "127.0.0.1", 0, max_size=2 * len(BIG)) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


def test_messages_come_back(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect(url, max_size=2 * len(BIG)) as client:
            for message in ("text", "Ünïcödé", b"bytes", b"", BIG):
                await client.send(message)
                assert await client.recv() == message

    run(main())


def test_fragments_are_joined(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect(url) as client:
            await client.send(["frag", "men", "ted"])
            assert await client.recv() == "fragmented"

    run(main())


def test_ping_is_answered(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as url, connect(url) as client:
            pong = await client.ping()
            assert await pong >= 0

    run(main())


def test_many_clients_at_once(run: Run) -> None:
    async def ask(url: str, number: int) -> list[str | bytes]:
        async with connect(url) as client:
            for turn in range(5):
                await client.send(f"{number}/{turn}")
            return [await client.recv() for _ in range(5)]

    async def main() -> None:
        async with serving(echo) as url:
            answers = await asyncio.gather(*(ask(url, number) for number in range(40)))
        assert answers == [[f"{number}/{turn}" for turn in range(5)] for number in range(40)]

    run(main())


def test_broadcast_reaches_everybody(run: Run) -> None:
    async def main() -> None:
        joined: set[ServerConnection] = set()

        async def join(connection: ServerConnection) -> None:
            joined.add(connection)
            await connection.send("joined")
            await connection.wait_closed()

        async with serving(join) as url:
            clients = [await connect(url) for _ in range(10)]
            assert {await client.recv() for client in clients} == {"joined"}
            broadcast(joined, "news")
            assert [await client.recv() for client in clients] == ["news"] * 10
            for client in clients:
                await client.close()

    run(main())


def test_codes_of_closing(run: Run) -> None:
    async def main() -> None:
        async def fail(connection: ServerConnection) -> None:
            if await connection.recv() == "abort":
                connection.transport.abort()
            else:
                await connection.close(4001, "as you wish")

        async with serving(fail) as url:
            async with connect(url) as client:
                await client.send("close")
                with pytest.raises(ConnectionClosedError) as closed:
                    await client.recv()
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")
            async with connect(url) as client:
                await client.send("abort")
                with pytest.raises(ConnectionClosedError) as aborted:
                    await client.recv()
                assert aborted.value.rcvd is None

    run(main())


def test_server_that_stops_says_good_bye(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as url:
            client = await connect(url)
        with pytest.raises(ConnectionClosedOK) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001

    run(main())
