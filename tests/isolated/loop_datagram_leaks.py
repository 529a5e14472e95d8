"""Three thousand transports of datagrams leave nothing on the loop behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import tracemalloc
from typing import Any

import epoll

HOST = "127.0.0.1"
AT_ONCE, ROUNDS = 20, 30


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
        self.transport.sendto(data, addr)


class Client(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.answer = loop.create_future()
        self.end = loop.create_future()

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
        self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        self.answer.set_result(exc)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.end.set_result(None)


async def open_client(**options: Any) -> Client:  # noqa: ANN401
    loop = asyncio.get_running_loop()
    _, client = await loop.create_datagram_endpoint(Client, **options)
    return client


async def talk(address: Any) -> None:  # noqa: ANN401
    client = await open_client(local_addr=(HOST, 0))
    client.transport.sendto(bytearray(1000), address)
    assert await client.answer == bytes(1000)
    client.transport.close()
    await client.end


async def speak_while_connected(address: Any) -> None:  # noqa: ANN401
    client = await open_client(remote_addr=address)
    client.transport.sendto(b"x" * 2000)
    await client.answer
    client.transport.get_extra_info("socket")
    client.transport.abort()
    await client.end


async def be_refused(address: Any) -> None:  # noqa: ANN401
    client = await open_client(local_addr=(HOST, 0))
    client.transport.sendto(b"x" * 70_000, address)
    assert isinstance(await client.answer, OSError)
    client.transport.mark = client.transport
    client.transport.close()
    await client.end


async def leave_a_queue(_: Any) -> None:  # noqa: ANN401
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with peer:
        client = await open_client(sock=ours)
        while client.transport.get_write_buffer_size() < 5000:
            client.transport.sendto(b"x" * 1000)
        client.transport.abort()
        await client.end


async def cancel(address: Any) -> None:  # noqa: ANN401
    task = asyncio.ensure_future(open_client(remote_addr=address))
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        (await task).transport.abort()


async def rounds(address: Any, count: int) -> None:  # noqa: ANN401
    for _ in range(count):
        for kind in (talk, speak_while_connected, be_refused, leave_a_queue, cancel):
            await asyncio.gather(*(kind(address) for _ in range(AT_ONCE)))
    for _ in range(10):
        await asyncio.sleep(0.001)
    gc.collect()


def count() -> tuple[int, int]:
    """Return how many objects and descriptors there are."""
    return len(gc.get_objects()), len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(HOST, 0))
    address = transport.get_extra_info("sockname")
    await rounds(address, 5)
    before = count()
    references = [sys.getrefcount(each) for each in (loop, Client)]
    tracemalloc.start()
    await rounds(address, 1)  # what replaces older memory is in both numbers
    memory = tracemalloc.get_traced_memory()[0]
    await rounds(address, ROUNDS)
    growth = tracemalloc.get_traced_memory()[0] - memory
    tracemalloc.stop()
    after = count()
    # The loop remembers the names of up to 256 peers, which are other ones in each round.
    assert after[0] <= before[0] + 600, f"objects: {before[0]} -> {after[0]}"
    assert after[1] == before[1], f"descriptors: {before[1]} -> {after[1]}"
    assert growth < 300_000, f"{growth} bytes"
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        now = [sys.getrefcount(each) for each in (loop, Client)]
        grown = [new - old for new, old in zip(now, references, strict=True)]
        assert max(grown) <= 5, f"references: {grown}"
    transport.close()


epoll.run(main())
