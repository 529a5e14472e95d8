"""Echo servers on uvloop: the peers of ``epoll serve``.

``python -m benchmarks.echo.uvloop_servers MODE [--host H] [--port P]``

``raw``
    every read is sent back as it came: the cheapest Protocol there is.
``lines``
    the job of ``epoll serve module:handler --framing line``: split what was read into lines, call
    the handler with each, write each answer.
``lines-joined``
    the same, but the answers of one read are joined into one write.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from typing import cast

import uvloop

from benchmarks.echo.handlers import echo


class RawEcho(asyncio.Protocol):
    """Sends back what it receives, without looking at it."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by isinstance

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class LineEcho(RawEcho):
    """Splits the stream into lines and writes one answer per line."""

    def __init__(self) -> None:
        self.rest = b""

    def take_lines(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now, without LF; keep what follows the last LF."""
        lines = (self.rest + data if self.rest else data).split(b"\n")
        self.rest = lines.pop()
        return lines

    def data_received(self, data: bytes) -> None:
        write = self.transport.write
        for line in self.take_lines(data):
            write(echo(line.removesuffix(b"\r")) + b"\n")


class JoinedLineEcho(LineEcho):
    """Splits the stream into lines and writes the answers of one read together."""

    def data_received(self, data: bytes) -> None:
        answers = [echo(line.removesuffix(b"\r")) for line in self.take_lines(data)]
        if answers:
            answers.append(b"")
            self.transport.write(b"\n".join(answers))


PROTOCOLS: dict[str, type[RawEcho]] = {
    "raw": RawEcho,
    "lines": LineEcho,
    "lines-joined": JoinedLineEcho,
}


async def serve(protocol: type[RawEcho], host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(protocol, host, port, backlog=4096)
    address = server.sockets[0].getsockname()
    print(f"listening on {address[0]}:{address[1]}", flush=True)
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo servers on uvloop.")
    parser.add_argument("mode", choices=PROTOCOLS)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    uvloop.run(serve(PROTOCOLS[options.mode], options.host, options.port))


if __name__ == "__main__":
    main()
