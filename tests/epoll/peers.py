"""An echo server, and clients of it that can be awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tests.epoll.twins import Loop, Recorder

HOST = "127.0.0.1"


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class Answers(Recorder):
    """A client that can be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = asyncio.Event()

    def note(self, *event: Any) -> None:  # noqa: ANN401
        super().note(*event)
        self.changed.set()

    async def until(self, *event: Any) -> None:  # noqa: ANN401
        while event not in self.events:
            self.changed.clear()
            await self.changed.wait()


async def talk(loop: Loop, address: Any) -> tuple[Any, Answers]:  # noqa: ANN401
    """Connect to an echo server, and see that it answers."""
    if isinstance(address, tuple):
        transport, protocol = await loop.create_connection(Answers, address[0], address[1])
    else:
        transport, protocol = await loop.create_unix_connection(Answers, address)
    transport.write(b"hello")
    await protocol.until("data", b"hello")
    return transport, protocol


async def ended(*transports: Any) -> None:  # noqa: ANN401
    for transport in transports:
        transport.close()
    for _ in range(4):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def echo(loop: Loop, **options: Any) -> AsyncIterator[asyncio.Server]:  # noqa: ANN401
    server = await loop.create_server(Echo, options.pop("host", HOST), 0, **options)
    try:
        yield server
    finally:
        server.close()


def address_of(server: asyncio.Server) -> tuple[str, int]:
    return server.sockets[0].getsockname()
