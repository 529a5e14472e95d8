"""The client for all echo servers: ask for a line, send it, print what comes back.

Two things that a first version gets wrong are right here. TCP carries bytes, not messages: one
``recv`` may return a part of the answer, so the client reads until it has as many bytes as it sent.
And a message larger than all the buffers between the two programs cannot be sent in one go before
reading: the server would wait for the client to read, and the client for the server. So a long
message goes in pieces, each read back before the next is sent.

``exit``, an empty input (Ctrl-D) and Ctrl-C end the client.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable

_PIECE = 16 * 1024


def exchange(connection: socket.socket, message: bytes) -> bytes:
    """Send a message to an echo server and return its answer.

    Raises:
        ConnectionError: the server closed the connection before the whole answer came.
        OSError: the connection failed.
    """
    answer = bytearray()
    for start in range(0, len(message), _PIECE):
        piece = message[start : start + _PIECE]
        connection.sendall(piece)
        due = len(answer) + len(piece)
        while len(answer) < due:
            data = connection.recv(due - len(answer))
            if not data:
                raise ConnectionError(
                    f"the server closed the connection after {len(answer)} of {len(message)} bytes"
                )
            answer += data
    return bytes(answer)


def echo_client(
    host: str = "127.0.0.1",
    port: int = 65432,
    *,
    ask: Callable[[str], str] = input,
    say: Callable[[str], object] = print,
) -> None:
    """Send what ``ask`` returns to an echo server and ``say`` the answers, until ``exit``.

    Args:
        host: the server's address.
        port: the server's port.
        ask: called with a prompt, returns a message; EOFError ends the client.
        say: gets the lines about what was sent and received.

    Raises:
        ConnectionError: the server refused, or closed the connection in the middle of an answer.
        OSError: the connection failed.
    """
    with socket.create_connection((host, port)) as connection:
        while True:
            try:
                message = ask("Enter message to send: ")
            except EOFError:
                return
            if message.lower() == "exit":
                return
            if not message:
                continue  # no bytes, so no answer to wait for
            data = message.encode(errors="surrogateescape")
            say(f'Sent "{message}" to echo server')
            answer = exchange(connection, data)
            say(f"Received from server: {answer.decode(errors='surrogateescape')}\n")


def main() -> int:
    """Run as a program."""
    parser = argparse.ArgumentParser(
        prog="python -m epoll.servers.echo_client",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--port", type=int, default=65432, help="default: %(default)s")
    options = parser.parse_args()
    try:
        echo_client(options.host, options.port)
    except KeyboardInterrupt:
        return 0
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
