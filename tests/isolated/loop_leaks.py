"""Ten thousand connections over transports and streams leave nothing on the loop behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import struct
import sys
import tracemalloc
from typing import Any

import epoll

ROUNDS, AT_ONCE = 5, 20  # of each kind of client; all in all 10,000 connections with the warm-up
HOST = "127.0.0.1"


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.memory = bytearray(100)

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(memoryview(self.memory)[:nbytes])


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(await reader.readline())
        await writer.drain()
    writer.close()


async def talk(port: int) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.close()
    await writer.wait_closed()


async def reset(port: int) -> None:
    _, writer = await asyncio.open_connection(HOST, port)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.write(b"x")
    writer.transport.abort()


async def cancel(port: int) -> None:
    task = asyncio.ensure_future(asyncio.open_connection(HOST, port))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()[1].close()


async def call(port: int) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, (HOST, port))
        await loop.sock_sendall(client, b"hello\n")
        assert await loop.sock_recv(client, 10) == b"hello\n"


async def rounds(ports: list[int], count: int) -> None:
    for _ in range(count):
        for client in (talk, call, reset, cancel):
            for port in ports:
                await asyncio.gather(*(client(port) for _ in range(AT_ONCE)))
    for _ in range(10):
        await asyncio.sleep(0.001)
    gc.collect()


async def fill_free_lists() -> None:
    """Have more handles at once than the loop keeps for later."""
    loop = asyncio.get_running_loop()
    for _ in range(2000):
        loop.call_soon(int)
        loop.call_soon_threadsafe(int)
        loop.call_later(0, int)
    await asyncio.sleep(0.01)


def count() -> tuple[int, int, int]:
    """Return how many objects, tasks and descriptors there are."""
    tasks = len(asyncio.all_tasks())
    return len(gc.get_objects()), tasks, len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    servers: list[Any] = [
        await loop.create_server(Echo, HOST, 0),
        await loop.create_server(BufferedEcho, HOST, 0),
        await asyncio.start_server(answer, HOST, 0),
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    await fill_free_lists()
    await rounds(ports, 2)
    before = count()
    references = [sys.getrefcount(each) for each in (loop, Echo, answer, None)]
    tracemalloc.start()
    memory = tracemalloc.get_traced_memory()[0]
    per_round = 4 * len(ports) * AT_ONCE
    await rounds(ports, 10_000 // per_round)
    growth = tracemalloc.get_traced_memory()[0] - memory
    tracemalloc.stop()
    after = count()
    assert after[0] <= before[0] + 50, f"objects: {before[0]} -> {after[0]}"
    assert after[1:] == before[1:], f"tasks and descriptors: {before[1:]} -> {after[1:]}"
    # Free lists grow once, by up to 200 KB; a leak of 40 bytes a connection would be found.
    assert growth < 400_000, f"{growth} bytes"
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        now = [sys.getrefcount(each) for each in (loop, Echo, answer)]
        grown = [new - old for new, old in zip(now, references, strict=False)]
        assert max(grown) <= 5, f"references: {grown}"
    for server in servers:
        server.close()


epoll.run(main())
