"""An echo server whose system calls are made to fail; a child of the tests.

    python -m tests.epoll.faulty_server asyncio|epoll PORT

It prints its port, and with "connect" connects to PORT at a client's wish. A client that sends
"quit" ends it. Then it prints what has happened, as JSON: how each connection has ended, what was
reported, what left the loop, and how many descriptors were left open.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio import constants
from pathlib import Path
from typing import Any

from tests.epoll.twins import LOOPS, Loop, Recorder

HOST = "127.0.0.1"
GIVE_UP = 20.0  # seconds


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Server:
    def __init__(self, loop: Loop, port: int) -> None:
        self.loop = loop
        self.port = port
        self.losses: list[str | None] = []
        self.reports: list[tuple[str, str]] = []
        self.left: list[str] = []
        self.open = 0
        self.connecting: asyncio.Task[None] | None = None
        self.is_over = False
        loop.set_exception_handler(self.note_report)

    def note_report(self, _: Loop, context: dict[str, Any]) -> None:
        message = context["message"].partition("(")[0]
        if message.startswith("Exception in callback"):
            message = "Exception in callback"  # its name is the loop's own
        self.reports.append((message, repr(context.get("exception"))))

    async def connect(self) -> None:
        try:
            await self.loop.create_connection(lambda: Echo(self), HOST, self.port)
        except OSError as failure:
            self.losses.append(f"connect: {type(failure).__name__}")

    def quit(self) -> None:
        self.is_over = True
        self.loop.stop()

    def run(self) -> None:
        """Run until a client wants the end; go on when an error leaves the loop."""
        late = self.loop.call_later(GIVE_UP, self.quit)
        while not self.is_over:
            self.run_once()
        late.cancel()

    def finish(self) -> None:
        """Let the connections hear of the end; which call fails when is a matter of timing."""
        for _ in range(5):
            self.loop.call_soon(self.loop.stop)
            self.run_once()

    def run_once(self) -> None:
        try:
            self.loop.run_forever()
        except OSError as failure:
            self.left.append(type(failure).__name__)
            self.is_over = self.is_over or len(self.left) > 5


class Echo(Recorder):
    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport
        self.server.open += 1

    def data_received(self, data: bytes) -> None:
        if data == b"quit":
            self.server.quit()
        elif data == b"connect":
            self.server.connecting = self.server.loop.create_task(self.server.connect())
        else:
            self.transport.write(data[:1])
            self.transport.writelines([data[1:2], data[2:]])

    def connection_lost(self, exc: BaseException | None) -> None:
        self.server.open -= 1
        self.server.losses.append(repr(exc) if exc is not None else None)


def main() -> None:
    constants.ACCEPT_RETRY_DELAY = 0.05
    loop = LOOPS[sys.argv[1]]()
    server = Server(loop, int(sys.argv[2]))
    before = count_descriptors()
    listening = loop.run_until_complete(loop.create_server(lambda: Echo(server), HOST, 0))
    print(listening.sockets[0].getsockname()[1], flush=True)
    server.run()
    listening.close()
    server.finish()
    left_open = count_descriptors() - before
    loop.close()
    outcome = {
        "losses": server.losses,
        "reports": server.reports,
        "left": server.left,
        "descriptors": left_open - server.open,
    }
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
