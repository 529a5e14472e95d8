"""A server in a process of its own, as the tests see it. Every wait has a time limit."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

#: Seconds after which something that must happen counts as not happening.
PATIENCE = 30.0 * int(os.environ.get("PYEPOLL_PATIENCE", "1"))
#: Seconds for which something that must not happen is watched.
WINDOW = 0.2

_LAUNCHER = Path(__file__).with_name("launcher.py")


def reset(client: socket.socket) -> None:
    """Close a connection by force: the peer gets ECONNRESET."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


class RunningServer:
    """Start ``python -m COMMAND --port 0`` and wait until it listens; stop it with SIGTERM.

    ``limits`` are options of launcher.py, by their names: ``descriptors=16``.
    """

    def __init__(self, *command: str, **limits: int) -> None:
        launch = ["-m"]
        if limits:
            launch = [str(_LAUNCHER)]
            for name, value in limits.items():
                launch += [f"--{name.replace('_', '-')}", str(value)]
        self.process = subprocess.Popen(
            [sys.executable, *launch, *command, "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self.lines: list[str] = []
        self._news: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read_stdout)
        self._reader.start()
        try:
            line = self.wait_for_line("listening on ")
        except BaseException:
            self.kill()
            raise
        host, _, port = line.removeprefix("listening on ").rpartition(":")
        self.address = host, int(port)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Return a connected client whose calls fail after PATIENCE."""
        client = socket.socket()
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(PATIENCE)
        try:
            client.connect(self.address)
        except BaseException:
            client.close()
            raise
        return client

    def knock(self) -> socket.socket:
        """Return a client that has asked to connect, to a server that may end before it hears."""
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(self.address)
        return client

    def wait_for_line(self, start: str) -> str:
        """Return the next line that starts so; fail when the server ends or PATIENCE is over."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._news.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {start!r} in {PATIENCE} s: {self.lines}") from None
            if line is None:
                raise AssertionError(f"ended without a line {start!r}: {self.lines}")
            if line.startswith(start):
                return line

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the server by a signal; fail unless it ends with code 0 and no complaint."""
        self.process.send_signal(number)
        self.wait()

    def wait(self) -> None:
        """Wait until the server has ended; fail unless with code 0 and no complaint."""
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        output = "\n".join(self.lines)
        assert code == 0, output
        assert "Traceback" not in output, output

    def turns(self, pattern: str) -> int:
        """Return how often the loop went round, as printed by the server when it ended."""
        match = re.search(pattern, "\n".join(self.lines))
        assert match is not None, self.lines
        return int(match[1])

    def kill(self) -> None:
        """End the server if it is still there."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._news.put(self.lines[-1])
        self._news.put(None)
