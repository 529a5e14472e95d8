"""uvicorn with ``--loop epoll:new_event_loop``, and as a part of a program that has our loop."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is installed by scripts/programs only")

import uvicorn

from tests.programs.application import CHUNKS, application
from tests.programs.conftest import PATIENCE, Run

ROOT = Path(__file__).resolve().parents[2]
BIG = bytes(range(256)) * 4096  # one MiB
LOOPS = {
    "epoll:new_event_loop": ["epoll.loop", "EventLoop"],
    "asyncio": ["asyncio.unix_events", "_UnixSelectorEventLoop"],
}


class Uvicorn:
    """A uvicorn that has been started from the command line, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output = ""
        self.port = self._read_port()

    def _read_port(self) -> int:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.output += line
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                return int(found[1])
        raise AssertionError(self.output)

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the body of the answer, over a connection of its own."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            client.request(method, path, body)
            return client.getresponse().read()
        finally:
            client.close()

    def stop(self, number: signal.Signals) -> int:
        """Send a signal; return the exit status."""
        self.process.send_signal(number)
        self.output += self.process.communicate(timeout=PATIENCE)[1]
        return self.process.returncode


@contextmanager
def running(loop: str, http_parser: str) -> Iterator[Uvicorn]:
    """Run uvicorn for the time of the block; every warning in it is an error."""
    options = {"loop": loop, "http": http_parser, "port": "0", "lifespan": "on"}
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "uvicorn",
        "tests.programs.application:application",
    ]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        too_late = threading.Timer(PATIENCE, process.kill)
        too_late.start()
        try:
            yield Uvicorn(process)
        finally:
            too_late.cancel()
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("http_parser", ["httptools", "h11"])
@pytest.mark.parametrize("loop", LOOPS)
def test_command_line(loop: str, http_parser: str) -> None:
    with running(loop, http_parser) as server:
        assert json.loads(server.ask("GET", "/loop")) == LOOPS[loop]
        assert server.ask("POST", "/echo", BIG) == BIG
        assert server.ask("GET", "/stream") == b"".join(CHUNKS)
        assert server.ask("GET", "/nowhere") == b"unknown"
        with ThreadPoolExecutor(8) as threads:
            bodies = [f"number {number}".encode() for number in range(100)]
            answers = threads.map(lambda body: server.ask("POST", "/echo", body), bodies)
            assert list(answers) == bodies
        status = server.stop(signal.SIGTERM)
    assert status == -signal.SIGTERM  # uvicorn ends cleanly, then lets the signal have its way
    assert "Finished server process" in server.output
    assert not re.search("Traceback|Warning|Error", server.output), server.output


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_interrupt_ends_it_cleanly(loop: str) -> None:
    with running(loop, "httptools") as server:
        server.ask("GET", "/loop")
        server.stop(signal.SIGINT)
    assert "Application shutdown complete" in server.output
    assert not re.search("Traceback|Warning|Error", server.output), server.output


class Announced(uvicorn.Server):
    """Says when and where it listens."""

    def __init__(self, config: uvicorn.Config, port: asyncio.Future[int]) -> None:
        super().__init__(config)
        self.port = port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.port.set_result(self.servers[0].sockets[0].getsockname()[1])


@pytest.mark.parametrize("http_parser", ["httptools", "h11"])
def test_server_as_a_part_of_a_program(run: Run, http_parser: str) -> None:
    async def main() -> None:
        port = asyncio.get_running_loop().create_future()
        config = uvicorn.Config(application, port=0, http=http_parser, log_level="error")
        server = Announced(config, port)
        serving = asyncio.create_task(server.serve())
        reader, writer = await asyncio.open_connection("127.0.0.1", await port)
        for number in range(20):  # over one connection, several on their way at once
            body = b"question %d" % number
            head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
            writer.write(head + body)
        for number in range(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"\r\n\r\n")
            expected = b"question %d" % number
            assert await reader.readexactly(len(expected)) == expected
        writer.close()
        await writer.wait_closed()
        server.should_exit = True
        await serving

    run(main())
