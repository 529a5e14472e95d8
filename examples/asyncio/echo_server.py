"""Echo over TCP: what a client sends comes back.

    python examples/asyncio/echo_server.py [--port PORT]     0, the default: any free port
    nc 127.0.0.1 PORT                                        a client

It is an ordinary program of asyncio: epoll.run() in the place of asyncio.run() is all that differs.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import epoll


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()  # waits while the client does not read
    except (ConnectionError, asyncio.CancelledError):
        pass  # the client has gone, or the server stops
    finally:
        writer.close()


async def main(port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(echo, "127.0.0.1", port)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    epoll.run(main(parser.parse_args().port))
