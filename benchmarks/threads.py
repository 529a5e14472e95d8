"""How echo over several loops in one process scales with their number.

``python benchmarks/threads.py [--style STYLE] [--threads N] [--messages COUNT] [--rounds COUNT]``

Each thread of epoll.ThreadedServer runs a server and a client of its own on its loop, so there is
no load generator that would need a processor as well. Three numbers for N threads, against one:

wall    how many times as many messages a second: what it is for; a busy machine makes it less
work    the same from the processor time of the threads: what it would be if each had a processor
        to itself. Threads that spin for a lock show here.
sleeps  voluntary context switches for 1,000 messages: threads that wait for a lock, as they have
        nothing else to wait for (for the GIL, too)

The style "protocols" has no tasks. In "streams" each message is several steps of a task, so that
what asyncio's tasks share between threads shows, too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator

import epoll

SIZE = 100
WARM_UP = 200


class Echo(asyncio.Protocol):
    """Returns what it gets."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Talker(Echo):
    """Sends what has come back, until it has done so often enough."""

    def talk(self, count: int) -> asyncio.Future[None]:
        self.left = count
        self.done = asyncio.get_running_loop().create_future()
        self.transport.write(b"x" * SIZE)
        return self.done

    def data_received(self, data: bytes) -> None:
        self.left -= 1
        if self.left:
            self.transport.write(data)
        else:
            self.done.set_result(None)


class Run:
    """One measurement: the loops begin together."""

    def __init__(self, style: str, threads: int, messages: int) -> None:
        self.style = style
        self.threads = threads
        self.messages = messages
        self._begin = threading.Barrier(threads)
        self._spans: list[tuple[float, float]] = []
        self._work: list[float] = []
        self.sleeps = 0

    async def measure_one(self, index: int) -> None:
        ours, theirs = socket.socketpair()
        if self.style == "protocols":
            await self._measure_protocols(ours, theirs)
        else:
            await self._measure_streams(ours, theirs)

    async def _measure_protocols(self, ours: socket.socket, theirs: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(Echo, theirs)
        transport, talker = await loop.connect_accepted_socket(Talker, ours)
        await talker.talk(WARM_UP)
        with self._measured():
            await talker.talk(self.messages)
        transport.close()

    @contextlib.contextmanager
    def _measured(self) -> Iterator[None]:
        self._begin.wait(60)
        slept = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        begin, begin_work = time.perf_counter(), time.thread_time()
        yield
        self.sleeps += resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - slept
        self._work.append(time.thread_time() - begin_work)
        self._spans.append((begin, time.perf_counter()))

    async def _measure_streams(self, ours: socket.socket, theirs: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=ours)
        peer_reader, peer_writer = await asyncio.open_connection(sock=theirs)

        async def echo() -> None:
            while data := await peer_reader.read(4096):
                peer_writer.write(data)
            peer_writer.close()

        async def talk(count: int) -> None:
            for _ in range(count):
                writer.write(b"x" * SIZE)
                await reader.readexactly(SIZE)

        echoing = asyncio.create_task(echo())
        await talk(WARM_UP)
        with self._measured():
            await talk(self.messages)
        writer.close()
        await echoing

    def result(self) -> tuple[float, float]:
        """Return the messages a second, by the clock and by processor time."""
        with epoll.ThreadedServer(self.measure_one, self.threads):
            pass
        wall = max(end for _, end in self._spans) - min(begin for begin, _ in self._spans)
        total = self.messages * self.threads
        return total / wall, self.threads * self.messages / statistics.mean(self._work)


def main() -> None:
    parser = argparse.ArgumentParser(description="scaling over loops in threads")
    parser.add_argument("--style", choices=("protocols", "streams"), default="protocols")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ratios, sleeps = [], 0.0
    for _ in range(options.rounds):
        one = Run(options.style, 1, options.messages).result()
        together = Run(options.style, options.threads, options.messages)
        many = together.result()
        sleeps += together.sleeps / (options.threads * options.messages * options.rounds) * 1000
        ratios.append((many[0] / one[0], many[1] / one[1]))
        print(f"1: {one[0]:9.0f}/s   {options.threads}: {many[0]:9.0f}/s", flush=True)
    wall, work = (statistics.median(column) for column in zip(*ratios, strict=True))
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]} {'with' if gil else 'without'} the GIL, ", end="")
    print(f"{options.threads} threads: wall {wall:.2f} (best {max(ratios)[0]:.2f}), ", end="")
    print(f"work {work:.2f}, sleeps {sleeps:.2f}")


if __name__ == "__main__":
    main()
