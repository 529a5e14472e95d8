"""Work with sockets, both ends on the running loop. Each function does ``count`` operations."""

from __future__ import annotations

import asyncio
import os

CHUNK = bytes(64 * 1024)
# Closed connections keep their pair of addresses for a minute. With an address of its own no sample
# meets those of the samples before it.
HOST = f"127.{os.getpid() >> 16 & 127 | 1}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"


async def connect_and_close(count: int) -> None:
    """Open a connection over streams, close it, wait until the server has closed its end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    for _ in range(count):
        reader, writer = await asyncio.open_connection(HOST, port)
        await reader.read()
        writer.close()
        await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def bulk_writes(count: int) -> None:
    """Write 64 KiB at a time and drain; the other end reads and counts."""
    received = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = 0
        while data := await reader.read(len(CHUNK)):
            size += len(data)
        writer.close()
        received.set_result(size)

    server = await asyncio.start_server(serve, HOST, 0)
    _, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1])
    for _ in range(count):
        writer.write(CHUNK)
        await writer.drain()
    writer.close()
    size = await received
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    if size != count * len(CHUNK):
        raise RuntimeError(f"{size} bytes arrived instead of {count * len(CHUNK)}")


async def getaddrinfo_literal(count: int) -> None:
    """Resolve what needs no resolving."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        await loop.getaddrinfo("127.0.0.1", 80)
