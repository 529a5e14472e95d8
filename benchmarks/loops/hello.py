"""The smallest application on uvicorn and httptools: ``python -m benchmarks.loops.hello LOOP``."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from benchmarks.loops.choice import run

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY = b"Hello, World!"
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))],
}
END = {"type": "http.response.body", "body": BODY}


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Answer every request with the same few bytes."""
    await send(START)
    await send(END)


class Server(uvicorn.Server):
    """Says where it listens, as all servers of the benchmarks do."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()
        print(f"listening on {host}:{port}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="uvicorn on any event loop.")
    parser.add_argument("loop")
    options = parser.parse_args()
    config = uvicorn.Config(
        application,
        port=0,
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="error",
        date_header=False,  # each answer has the same bytes, and the load client compares them
        server_header=False,
    )
    run(options.loop, Server(config).serve())


if __name__ == "__main__":
    main()
