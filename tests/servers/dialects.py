"""How to talk with a server of the ladder: the same test asks an echo server and an HTTP server."""

from __future__ import annotations

import re
import socket
from typing import Protocol


class Dialect(Protocol):
    """What a client says and what it must hear. Reads end by the time limit of the socket."""

    #: Options that the server is started with so that an answer can be too large for the buffers.
    large_answer_options: tuple[str, ...]

    def question(self, number: int) -> bytes:
        """Return a complete message, different for each number."""
        ...

    def large_question(self) -> bytes:
        """Return a message whose answer has tens of KiB, to a server with those options."""
        ...

    def check_answer(self, client: socket.socket, question: bytes) -> None:
        """Read the answer to a question, no more, and fail unless it is right."""
        ...

    def check_large_answer(self, client: socket.socket, question: bytes) -> None:
        """The same for a large question, when the client has finished sending: until the end."""
        ...


class Echo:
    """The answer is the message."""

    large_answer_options: tuple[str, ...] = ()

    def question(self, number: int) -> bytes:
        return f"message {number} with some text: Привет\n".encode()

    def large_question(self) -> bytes:
        return bytes(range(256)) * 192

    def check_answer(self, client: socket.socket, question: bytes) -> None:
        assert read_exactly(client, len(question)) == question

    def check_large_answer(self, client: socket.socket, question: bytes) -> None:
        assert read_to_end(client) == question


class Http:
    """The answer is Hello, world! and the end of the connection."""

    _large_body = "0123456789abcdef" * 4096
    large_answer_options: tuple[str, ...] = ("--body", _large_body)

    def question(self, number: int) -> bytes:
        return f"GET /{number} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()

    def large_question(self) -> bytes:
        return self.question(0)

    def check_answer(self, client: socket.socket, question: bytes) -> None:
        check_http_answer(read_to_end(client), "200 OK", b"Hello, world!")

    def check_large_answer(self, client: socket.socket, question: bytes) -> None:
        check_http_answer(read_to_end(client), "200 OK", self._large_body.encode())


def read_exactly(client: socket.socket, count: int) -> bytes:
    received = bytearray()
    while len(received) < count and (data := client.recv(count - len(received))):
        received += data
    return bytes(received)


def read_to_end(client: socket.socket) -> bytes:
    received = bytearray()
    while data := client.recv(65536):
        received += data
    return bytes(received)


def check_http_answer(answer: bytes, status: str, body: bytes) -> None:
    head, _, rest = answer.partition(b"\r\n\r\n")
    lines = head.decode("ascii").split("\r\n")
    assert re.fullmatch(rf"HTTP/1\.[01] {status}", lines[0])
    assert rest == body
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:])}
    assert fields["content-length"] == str(len(body))
    assert fields["content-type"].startswith("text/plain")
