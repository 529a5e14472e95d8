"""What the HTTP rungs answer, and to what. Nothing here touches a socket.

A request is complete when its head ends with an empty line. The rungs read no bodies: an answer
goes out when the head is there, and what follows is discarded. HTTP/1.0, one request for each
connection: the end of the connection is the end of the answer.
"""

from __future__ import annotations

import enum
from email.utils import formatdate

BODY = b"Hello, world!"
#: A request head may have this many bytes. Without a limit one client can fill the memory.
HEAD_LIMIT = 16 * 1024
#: How many bytes after a request are read and thrown away before the connection is cut. Closing a
#: socket with unread bytes makes the kernel send RST, which may destroy the answer on its way.
DISCARD_LIMIT = 4 * 1024 * 1024

_ENDS = (b"\n\r\n", b"\n\n")


class Phase(enum.Enum):
    """Where a connection is, and what it waits for."""

    READING = enum.auto()  #: for the rest of the request
    ANSWERING = enum.auto()  #: for room in the send buffer
    LEAVING = enum.auto()  #: for the client to close, after the answer
    GONE = enum.auto()  #: for nothing: the connection is to be closed


def is_complete(request: bytes | bytearray) -> bool:
    """Say whether the head of the request has ended."""
    return any(end in request for end in _ENDS)


def answer_to(request: bytes | bytearray, body: bytes = BODY) -> tuple[bytes, bytes] | None:
    """Return head and body of the answer, or None while the request is incomplete.

    A head of more than HEAD_LIMIT bytes is answered with 431, however it goes on.
    """
    if is_complete(request[:HEAD_LIMIT]):
        return _response("200 OK", body)
    if len(request) >= HEAD_LIMIT:
        return _response("431 Request Header Fields Too Large", b"The head is too large.\n")
    return None


def _response(status: str, body: bytes) -> tuple[bytes, bytes]:
    head = (
        f"HTTP/1.0 {status}\r\n"
        f"Date: {formatdate(usegmt=True)}\r\n"
        "Content-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Connection: close\r\n"
        "\r\n"
    )
    return head.encode("ascii"), body
