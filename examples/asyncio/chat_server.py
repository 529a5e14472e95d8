"""Chat over TCP: each line of a client goes to all others, after the name that it gave first.

python examples/asyncio/chat_server.py [--port PORT]     0, the default: any free port
nc 127.0.0.1 PORT                                        a client
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import epoll

PATIENCE = 1024 * 1024  # what a member may leave unread before it is sent away, in bytes


class ChatRoom:
    """Those who have said a name, and what they say to each other."""

    def __init__(self) -> None:
        self._members: dict[asyncio.StreamWriter, bytes] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"What is your name?\n")
            if name := (await reader.readline()).strip():
                await self._talk(name, reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the server stops
        except ValueError:
            writer.write(b"* that was too long\n")
        finally:
            writer.close()

    async def _talk(
        self, name: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._members[writer] = name
        try:
            self._tell_others(writer, b"* %s has come\n" % name)
            async for line in reader:
                self._tell_others(writer, b"%s: %s\n" % (name, line.rstrip()))
        finally:
            del self._members[writer]
            self._tell_others(writer, b"* %s has gone\n" % name)

    def _tell_others(self, sender: asyncio.StreamWriter, line: bytes) -> None:
        for member in self._members:
            if member is sender:
                continue
            member.write(line)
            if member.transport.get_write_buffer_size() > PATIENCE:
                member.transport.abort()


async def main(port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = await asyncio.start_server(ChatRoom().serve, "127.0.0.1", port, limit=1024)
    host, port = server.sockets[0].getsockname()
    print(f"listening on {host}:{port}", flush=True)
    await stopped.wait()
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    epoll.run(main(parser.parse_args().port))
