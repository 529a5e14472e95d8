"""Without a free descriptor accepting is reported once, and who waits is served afterwards."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import socket
import sys
import time
from asyncio import constants
from typing import Any

import epoll

HOST = "127.0.0.1"
WAITING = 5
NEEDED = 4  # descriptors of a loop: epoll, an eventfd, two of the self-pipe
constants.ACCEPT_RETRY_DELAY = 0.2

reports: list[dict[str, Any]] = []
ignored: list[Any] = []  # what nobody could be told of, warnings among it
sys.unraisablehook = ignored.append


class Greeting(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        transport.write(b"hello")
        transport.close()


class ClosedAtItsEnd(epoll.EventLoop):
    def __del__(self) -> None:
        self.close()


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    loop.set_exception_handler(lambda _, context: reports.append(context))
    server = await loop.create_server(Greeting, HOST, 0)
    clients = [socket.socket() for _ in range(WAITING)]
    lowest_free = os.dup(0)
    os.close(lowest_free)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    for client in clients:
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
    busy = time.process_time()
    await asyncio.sleep(0.1)
    busy = time.process_time() - busy
    assert busy < 0.05, f"the loop was busy for {busy} s of 0.1 s"
    assert len(reports) == 1, reports
    assert reports[0]["exception"].errno == errno.EMFILE, reports
    assert reports[0]["message"] == "socket.accept() out of system resource", reports
    assert reports[0]["socket"].fileno() == server.sockets[0].fileno(), reports
    assert server.is_serving()
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for client in clients:
        async with asyncio.timeout(10):
            assert await loop.sock_recv(client, 10) == b"hello"
        client.close()
    assert len(reports) == 1, reports
    server.close()


try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with asyncio.Runner(loop_factory=epoll.new_event_loop) as runner:
        runner.run(main())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    for room in range(NEEDED):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + room, limits[1]))
        for kind in epoll.EventLoop, ClosedAtItsEnd:
            error = None
            try:
                kind()
            except OSError as failure:
                error = failure.errno
            assert error == errno.EMFILE, (room, error)
            gc.collect()
            again = os.dup(0) if room else lowest_free
            assert again == lowest_free, "a loop that could not be made has left a descriptor"
            if room:
                os.close(again)
    assert ignored == [], ignored
finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
epoll.new_event_loop().close()
