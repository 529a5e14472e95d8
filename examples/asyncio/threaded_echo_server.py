"""Echo over TCP on several loops, one in each thread, behind one port.

    python examples/asyncio/threaded_echo_server.py [--port PORT] [--threads N] [--metrics PORT]
    nc 127.0.0.1 PORT                                        a client
    curl http://127.0.0.1:METRICS/metrics                    what the loops have done

Without the GIL (python3.13t and its like) the threads run in parallel.
"""

from __future__ import annotations

import argparse
import asyncio
import socket

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


def main(port: int, threads: int | None, metrics: int | None) -> None:
    # Bound but not listening: it gets no connection, and holds the port for those who do.
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", port))
        host, real_port = holder.getsockname()

        async def start(index: int) -> list[asyncio.Server]:
            loop = asyncio.get_running_loop()
            servers = [await asyncio.start_server(echo, host, real_port, reuse_port=True)]
            if metrics is not None and index == 0:
                servers.append(await epoll.serve_metrics(server.loops, host, metrics))
            loop.watch_blocking(0.5)
            return servers

        server = epoll.ThreadedServer(start, threads, grace=1)
        with server.stopped_by_signals(), server:
            print(f"listening on {host}:{real_port}", flush=True)
            server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--metrics", type=int)
    options = parser.parse_args()
    main(options.port, options.threads, options.metrics)
