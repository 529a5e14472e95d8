"""Echo servers on any event loop: ``python -m benchmarks.loops.echo LOOP STYLE``.

``protocol``
    an ``asyncio.Protocol`` that sends back what it has received.
``two-writes``
    the same, but the answer is written as a head and a body, as HTTP servers do.
``buffered``
    an ``asyncio.BufferedProtocol``.
``streams``
    ``asyncio.start_server``, ``readline``, ``write`` and ``drain``.
``sock``
    a task for each connection, with ``loop.sock_recv`` and ``loop.sock_sendall``.
``datagrams``
    an ``asyncio.DatagramProtocol`` that sends each datagram back to where it came from.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from benchmarks.loops.choice import run

HEAD_SIZE = 100
READ_SIZE = 64 * 1024
BACKLOG = 4096
LINE_LIMIT = 2 * READ_SIZE

Address = tuple[str, int]


class Echo(asyncio.Protocol):
    """Sends back what it receives, without looking at it."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # some are none by isinstance

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class EchoInTwoWrites(Echo):
    """Answers with a head and a body."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data[:HEAD_SIZE])
        self.transport.write(data[HEAD_SIZE:])


class BufferedEcho(asyncio.BufferedProtocol):
    """Receives into its own buffer. The load never sends before it has its answer."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.buffer[:nbytes])


class EchoOfDatagrams(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.transport.sendto(data, addr)


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back each line until the peer closes."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def echo_socket(loop: asyncio.AbstractEventLoop, peer: socket.socket) -> None:
    """Send back what a socket receives until the peer closes."""
    with peer:
        while data := await loop.sock_recv(peer, READ_SIZE):
            await loop.sock_sendall(peer, data)


async def serve_protocol(protocol: Callable[[], asyncio.BaseProtocol]) -> Address:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG)
    return _address_of(server)


async def serve_streams() -> Address:
    server = await asyncio.start_server(
        echo_lines, "127.0.0.1", 0, backlog=BACKLOG, limit=LINE_LIMIT
    )
    return _address_of(server)


async def serve_sockets() -> Address:
    """Accept on a socket of our own; the tasks live as long as the process."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setblocking(False)
    tasks = set()

    async def accept() -> None:
        while True:
            peer, _ = await loop.sock_accept(listener)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tasks.add(loop.create_task(echo_socket(loop, peer)))

    tasks.add(loop.create_task(accept()))
    address: Address = listener.getsockname()
    return address


async def serve_datagrams() -> Address:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(EchoOfDatagrams, local_addr=("127.0.0.1", 0))
    _endpoints.append(transport)
    address: Address = transport.get_extra_info("sockname")
    return address


def _address_of(server: asyncio.Server) -> Address:
    address: Address = server.sockets[0].getsockname()
    _servers.append(server)
    return address


# A server that nobody holds may be collected with its sockets; these live as long as the process.
_servers: list[asyncio.Server] = []
_endpoints: list[asyncio.DatagramTransport] = []

STYLES: dict[str, Callable[[], Awaitable[Address]]] = {
    "protocol": lambda: serve_protocol(Echo),
    "two-writes": lambda: serve_protocol(EchoInTwoWrites),
    "buffered": lambda: serve_protocol(BufferedEcho),
    "streams": serve_streams,
    "sock": serve_sockets,
    "datagrams": serve_datagrams,
}


async def serve(style: str) -> None:
    """Serve until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    host, port = await STYLES[style]()
    print(f"listening on {host}:{port}", flush=True)
    await stopped.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo servers on any event loop.")
    parser.add_argument("loop")
    parser.add_argument("style", choices=STYLES)
    options = parser.parse_args()
    run(options.loop, serve(options.style))


if __name__ == "__main__":
    main()
