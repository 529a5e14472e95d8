"""Work with children and pipes. Each function does ``count`` operations on the running loop."""

from __future__ import annotations

import asyncio
import os
from typing import cast

MESSAGE = bytes(100)


async def processes(count: int) -> None:
    """Start the smallest program there is and wait for its end."""
    for _ in range(count):
        process = await asyncio.create_subprocess_exec("/bin/true")
        if await process.wait() != 0:
            raise RuntimeError("/bin/true has failed")


async def processes_with_pipes(count: int) -> None:
    """The same with a pipe in each direction that is read to its end."""
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    for _ in range(count):
        process = await asyncio.create_subprocess_exec("/bin/cat", **pipes)  # type: ignore[arg-type]
        output, _ = await process.communicate(MESSAGE)
        if output != MESSAGE:
            raise RuntimeError(f"/bin/cat has answered {output!r}")


class Echo(asyncio.Protocol):
    """Writes to one pipe what it reads from another."""

    target: asyncio.WriteTransport

    def data_received(self, data: bytes) -> None:
        self.target.write(data)


class Player(Echo):
    """Sends the message again each time it has come back, until it was sent ``left`` times."""

    def __init__(self, left: int, done: asyncio.Future[None]) -> None:
        self.left = left
        self.done = done

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left:
            self.target.write(data)
        elif not self.done.done():
            self.done.set_result(None)


async def pipe_echo(count: int) -> None:
    """Send a message through one pipe and back through another."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    player, echo = Player(count, done), Echo()
    transports: list[asyncio.BaseTransport] = []
    for source, target in ((player, echo), (echo, player)):
        reading, writing = os.pipe()
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0))
        source.target = cast("asyncio.WriteTransport", writer)  # some are none by isinstance
        reader, _ = await loop.connect_read_pipe(
            lambda target=target: target,  # type: ignore[misc]
            os.fdopen(reading, "rb", 0),
        )
        transports += [writer, reader]
    player.target.write(MESSAGE)
    await done
    for transport in transports:
        transport.close()
    await asyncio.sleep(0.01)
