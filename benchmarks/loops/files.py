"""Sends a file: ``python -m benchmarks.loops.files SUBJECT STYLE BYTES``.

SUBJECT is a loop of the registry, or ``system-call``: then it is a loop of sendfile(2) with a
blocking socket, in which the interpreter has next to nothing to do. STYLE is ``socket`` or
``transport``. The file is in the page cache, and the receiver, a process of its own on the other
core, throws away what comes without copying it. Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO

from benchmarks.loops.choice import run
from benchmarks.measure import load_core, pinned_to, server_core

SYSTEM_CALL = "system-call"
RECEIVER = """
import socket, sys
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
room = bytearray(1 << 20)
while peer.recv_into(room, 0, socket.MSG_TRUNC):
    pass
"""


def timed(begin: float) -> None:
    print(json.dumps({"seconds": time.perf_counter() - begin}))


def make_file(file: IO[bytes], size: int) -> None:
    """Fill the page cache, so that it is not filled while the time runs."""
    file.truncate(size)
    room = bytearray(1 << 20)
    while file.readinto(room):  # type: ignore[attr-defined]
        pass
    file.seek(0)


def finish(connection: socket.socket, receiver: subprocess.Popen[bytes], begin: float) -> None:
    """Wait until the receiver has everything."""
    connection.shutdown(socket.SHUT_WR)
    receiver.wait()
    timed(begin)


def send_by_hand(connection: socket.socket, file: IO[bytes], size: int) -> None:
    sent = 0
    while sent < size:
        sent += os.sendfile(connection.fileno(), file.fileno(), sent, size - sent)


async def send_on_loop(
    style: str, connection: socket.socket, file: IO[bytes], finished: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    if style == "socket":
        connection.setblocking(False)
        await loop.sock_sendfile(connection, file)
        finished()
        return
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, connection.dup())
    await loop.sendfile(transport, file)  # type: ignore[arg-type]
    finished()
    transport.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Send a file.")
    parser.add_argument("subject")
    parser.add_argument("style", choices=("socket", "transport"))
    parser.add_argument("size", type=int)
    options = parser.parse_args()
    with (
        pinned_to(server_core()),
        tempfile.TemporaryFile() as file,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        make_file(file, options.size)
        port = str(listener.getsockname()[1])
        with pinned_to(load_core()):
            receiver = subprocess.Popen([sys.executable, "-I", "-S", "-c", RECEIVER, port])
        connection, _ = listener.accept()
        begin = time.perf_counter()
        if options.subject == SYSTEM_CALL:
            send_by_hand(connection, file, options.size)
            finish(connection, receiver, begin)
        else:
            run(
                options.subject,
                send_on_loop(
                    options.style, connection, file, lambda: finish(connection, receiver, begin)
                ),
            )
        connection.close()


if __name__ == "__main__":
    main()
