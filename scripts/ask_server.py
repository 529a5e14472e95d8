#!/usr/bin/env python3
"""Start ``epoll serve echo`` on a free port, ask it once, stop it: does an installed package work?

Usage: scripts/ask_server.py PATH_OF_EPOLL
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

PATIENCE = 10.0  # seconds
QUESTION = b"is anybody there?\n"


def ask(program: str) -> None:
    command = [program, "serve", "echo", "--port", "0", "--framing", "line"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            greeting = server.stdout.readline()
            print(greeting, end="")
            host, port = greeting.removeprefix("listening on ").rsplit(":", 1)
            with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
                client.sendall(QUESTION)
                answer = client.makefile("rb").readline()
            if answer != QUESTION:
                sys.exit(f"asked {QUESTION!r}, answered {answer!r}")
            server.send_signal(signal.SIGTERM)
            status = server.wait(PATIENCE)
        finally:
            server.kill()
    if status != 0:
        sys.exit(f"the server ended with status {status}")


if __name__ == "__main__":
    ask(*sys.argv[1:])
