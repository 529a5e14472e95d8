"""What the tests of streams share: a server with clients, and a reader and writer with a peer."""

from __future__ import annotations

import asyncio
import asyncio.streams
import contextlib
import inspect
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import epoll
from tests.epoll.twins import Loop

HOST = "127.0.0.1"
Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]


@asynccontextmanager
async def served(
    client: Client,
    family: tuple[str, Path] = ("tcp", Path()),
    **options: Any,  # noqa: ANN401
) -> AsyncIterator[Callable[..., Awaitable[Pair]]]:
    """Serve `client`; what is yielded connects to it. At the end all clients have ended."""
    kind, path = family
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[Any]] = []

    async def followed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        await client(reader, writer)  # type: ignore[misc]

    callback = followed if inspect.iscoroutinefunction(client) else client
    if kind == "unix":
        server = await asyncio.start_unix_server(callback, path, **options)
    else:
        server = await asyncio.start_server(callback, HOST, 0, **options)

    async def connect(**options: Any) -> Pair:  # noqa: ANN401
        if kind == "unix":
            reader, writer = await asyncio.open_unix_connection(path, **options)
        else:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address, **options)
        writers.append(writer)
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if tasks:
            await asyncio.wait(tasks)
        server.close()
        await server.wait_closed()


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def connected_pair(**options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, Any]:  # noqa: ANN401
    """A reader and a writer, and the blocking socket of the peer."""
    ours, peer = socket.socketpair()
    peer.settimeout(10)
    reader, writer = await asyncio.open_connection(sock=ours, **options)
    return reader, writer, peer


async def received(peer: socket.socket, count: int) -> bytes:
    """What a blocking socket receives, on another thread: so many bytes, or all up to the end."""

    def receive() -> bytes:
        data = b""
        while len(data) < count and (chunk := peer.recv(count - len(data))):
            data += chunk
        return data

    return await asyncio.get_running_loop().run_in_executor(None, receive)


def is_native(loop: Loop) -> bool:
    return isinstance(loop, epoll.EventLoop)
