"""Run a server program under limits that a test cannot set from outside.

    launcher.py [--descriptors N] [--occupy N] [--send-buffer N] MODULE [ARGUMENT ...]

is ``python -m MODULE ARGUMENT ...`` in a process that may have N open descriptors, whose
descriptors below N are taken, or whose connections have a send buffer of N bytes (the kernel
doubles it).
"""

from __future__ import annotations

import argparse
import os
import resource
import runpy
import socket
import sys


def limit_descriptors(count: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def occupy_descriptors(below: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(below + 100, hard), hard))
    while os.open(os.devnull, os.O_RDONLY) < below - 1:
        pass


def shrink_send_buffers(size: int) -> None:
    listen = socket.socket.listen

    def listen_with_small_buffer(listener: socket.socket, *backlog: int) -> None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)  # accepted ones inherit it
        listen(listener, *backlog)

    socket.socket.listen = listen_with_small_buffer  # type: ignore[method-assign,assignment]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--descriptors", type=int)
    parser.add_argument("--occupy", type=int)
    parser.add_argument("--send-buffer", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.descriptors:
        limit_descriptors(options.descriptors)
    if options.occupy:
        occupy_descriptors(options.occupy)
    if options.send_buffer:
        shrink_send_buffers(options.send_buffer)
    sys.argv = options.command
    runpy.run_module(options.command[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
