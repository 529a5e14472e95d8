"""Two thousand TLS connections of many fates leave nothing on the loop behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import ssl
import sys
import tempfile
import tracemalloc
from pathlib import Path
from subprocess import run
from typing import Any

import epoll

ROUNDS, AT_ONCE = 4, 10
HOST = "127.0.0.1"
_MAKE_CERTIFICATE = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"),
)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    with tempfile.TemporaryDirectory() as folder:
        run(_MAKE_CERTIFICATE, cwd=folder, check=True, capture_output=True, timeout=40)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(Path(folder, "cert.pem"), Path(folder, "key.pem"))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        writer.write(await reader.readline())
        await writer.drain()
    writer.close()


class Clients:
    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    async def talk(self, port: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port, ssl=self.context)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
        await writer.wait_closed()

    async def abort(self, port: int) -> None:
        _, writer = await asyncio.open_connection(HOST, port, ssl=self.context)
        writer.write(b"x")
        writer.transport.abort()

    async def cancel(self, port: int) -> None:
        task = asyncio.ensure_future(asyncio.open_connection(HOST, port, ssl=self.context))
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()[1].transport.abort()

    async def refuse(self, port: int) -> None:
        try:
            await asyncio.open_connection(HOST, port, ssl=True)
        except ssl.SSLCertVerificationError as failure:
            failure.__traceback__ = None  # of a cycle with the frames of the task
        else:
            raise AssertionError("the certificate was not judged")

    async def confuse(self, port: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()


async def rounds(clients: Clients, ports: list[int], count: int) -> None:
    for _ in range(count):
        for client in (
            clients.talk,
            clients.abort,
            clients.cancel,
            clients.refuse,
            clients.confuse,
        ):
            for port in ports:
                await asyncio.gather(*(client(port) for _ in range(AT_ONCE)))
        gc.collect()  # each round: sslproto leaves cycles, with 256 KiB in each
    for _ in range(20):
        await asyncio.sleep(0.001)
    gc.collect()


def count() -> tuple[int, int, int]:
    """Return how many objects, tasks and descriptors there are."""
    tasks = len(asyncio.all_tasks())
    return len(gc.get_objects()), tasks, len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def resident() -> int:
    """Return the memory of the process in bytes: OpenSSL's is not Python's."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def main() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    loop.slow_callback_duration = 100  # a loaded machine is no failure
    of_server, of_client = contexts()
    clients = Clients(of_client)
    servers: list[Any] = [
        await loop.create_server(Echo, HOST, 0, ssl=of_server),
        await asyncio.start_server(answer, HOST, 0, ssl=of_server),
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    await rounds(clients, ports, 4)  # until the memory of OpenSSL has found its size
    of_process = resident()
    await rounds(clients, ports, ROUNDS)
    assert resident() - of_process < 8_000_000, resident() - of_process
    tracemalloc.start()  # only now: its own tables grow, too
    await rounds(clients, ports, 1)
    objects, tasks, descriptors = count()
    memory = tracemalloc.get_traced_memory()[0]
    await rounds(clients, ports, ROUNDS)
    more = count()
    assert more[1:] == (tasks, descriptors), (more, tasks, descriptors)
    assert more[0] - objects < 100, more[0] - objects
    grown = tracemalloc.get_traced_memory()[0] - memory
    assert grown < 100_000, grown
    for server in servers:
        server.close()


# Python 3.13 without the GIL loses memory for each connection of asyncio's own sslproto, on
# asyncio's loop, too.
LOSES = sys.version_info < (3, 14) and not getattr(sys, "_is_gil_enabled", lambda: True)()
for is_native in (True,) if LOSES else (True, False):
    epoll.EventLoop._native_tls = is_native
    with asyncio.Runner(loop_factory=epoll.EventLoop) as runner:
        runner.run(main())
    tracemalloc.stop()
sys.exit()
