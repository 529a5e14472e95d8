"""Work over TLS 1.3, both ends on the running loop. Each function does ``count`` operations.

The certificate (ECDSA, P-256) is made by the openssl command, once for each process.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import cast

from benchmarks.loops.networking import HOST

CONNECTIONS = 10
MESSAGE = bytes(range(256)) * 4
BULK = bytes(range(256)) * 65536  # 16 MiB
_MAKE_CERTIFICATE = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"),
)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return the folder of the certificate. It stays: rsloop reads the files by itself, later."""
    folder = tempfile.TemporaryDirectory()
    subprocess.run(_MAKE_CERTIFICATE, cwd=folder.name, check=True, capture_output=True, timeout=60)
    return folder


@functools.cache
def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return that of the server and that of clients, who do not verify anything."""
    folder = _folder().name
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(Path(folder, "cert.pem"), Path(folder, "key.pem"))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class _Greeter(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(b"hello")


class _Greeted(asyncio.Protocol):
    def __init__(self, greeted: asyncio.Future[None]) -> None:
        self.greeted = greeted

    def data_received(self, data: bytes) -> None:
        self.greeted.set_result(None)


class _Asker(asyncio.Protocol):
    """Sends a message when the one before has come back, as often as is left for all."""

    def __init__(self, left: list[int], done: asyncio.Future[None]) -> None:
        self.left = left
        self.done = done
        self.missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self) -> None:
        self.missing = len(MESSAGE)
        self.transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self.missing -= len(data)
        if self.missing:
            return
        self.left[0] -= 1
        if self.left[0] > 0:
            self.ask()
        elif not self.done.done():
            self.done.set_result(None)


async def echo(count: int) -> None:
    """Exchange messages of 1 KiB over 10 connections."""
    loop = asyncio.get_running_loop()
    of_server, of_client = _contexts()
    server = await loop.create_server(_Echo, HOST, 0, ssl=of_server)
    port = server.sockets[0].getsockname()[1]
    left = [count]
    done = loop.create_future()
    askers = []
    for _ in range(CONNECTIONS):
        _, asker = await loop.create_connection(
            lambda: _Asker(left, done), HOST, port, ssl=of_client
        )
        askers.append(asker)
    for asker in askers:
        asker.ask()
    await done
    for asker in askers:
        asker.transport.abort()
    server.close()
    await asyncio.sleep(0)


async def bulk(count: int) -> None:
    """Send 16 MiB and have them sent back, over streams."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(256 * 1024):
            writer.write(data)
            await writer.drain()
        writer.close()

    of_server, of_client = _contexts()
    server = await asyncio.start_server(serve, HOST, 0, ssl=of_server)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(HOST, port, ssl=of_client)

    async def send() -> None:
        for start in range(0, len(BULK), 256 * 1024):
            writer.write(BULK[start : start + 256 * 1024])
            await writer.drain()

    for _ in range(count):
        sending = asyncio.ensure_future(send())
        missing = len(BULK)
        while missing:
            missing -= len(await reader.read(256 * 1024))
        await sending
    writer.close()
    server.close()
    await writer.wait_closed()


async def handshakes(count: int) -> None:
    """Connect, shake hands, hear a greeting and go; no session is resumed.

    The greeting comes behind the tickets, so everybody has done all there is to do.
    """
    loop = asyncio.get_running_loop()
    of_server, of_client = _contexts()
    server = await loop.create_server(_Greeter, HOST, 0, ssl=of_server)
    port = server.sockets[0].getsockname()[1]
    for _ in range(count):
        greeted = loop.create_future()
        transport, _ = await loop.create_connection(
            functools.partial(_Greeted, greeted), HOST, port, ssl=of_client
        )
        await greeted
        transport.abort()
    server.close()
    await asyncio.sleep(0)
