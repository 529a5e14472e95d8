"""How the interpreter's OpenSSL is looked for: what is not as expected is left to the fallback."""

from __future__ import annotations

import _ssl
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import epoll
from epoll import _loop
from tests.epoll.openssl import is_in_reach, needs_openssl
from tests.epoll.tls import certificates
from tests.epoll.twins import Recorder

PROJECT = Path(__file__).parents[3]

#: A TLS connection of both ends on one loop; prints what carries it, and what it has carried.
_TALK = """
import _ssl, asyncio, gc, ssl, sys, {library}
{fault}
import epoll

async def answer(reader, writer):
    writer.write(await reader.read(100))
    await reader.read()
    writer.close()

async def talk(folder):
    of_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    of_server.load_cert_chain(folder + "/localhost.pem")
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=of_server)
    host, port = server.sockets[0].getsockname()
    context = ssl.create_default_context(cafile=folder + "/ca.pem")
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname="localhost"
    )
    writer.write(b"hello")
    print((await reader.readexactly(5)).decode(), type(writer.transport).__name__)
    writer.close()
    await writer.wait_closed()
    server.close()

epoll.run(asyncio.wait_for(talk(sys.argv[1]), 20))
gc.collect()
"""


def carrier(fault: str, library: str = "socket") -> str:
    """Talk in a process of its own in which something was done to `_ssl` before."""
    program = _TALK.format(fault=fault, library=library)
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(certificates().folder)],
        cwd=PROJECT,
        capture_output=True,
        timeout=50,
        check=False,
        text=True,
    )
    assert child.stderr == ""
    assert child.returncode == 0
    hello, name = child.stdout.split()
    assert hello == "hello"
    return name


@pytest.mark.slow
def test_it_is_found() -> None:
    native, fallback = "SSLTransport", "_SSLProtocolTransport"
    assert carrier("") == (native if is_in_reach() else fallback)


#: What a process may find, and what is wrong there: (statements, an extension module they use).
WRONG = {
    "_ssl is linked statically": ("del _ssl.__file__", "socket"),
    "_ssl has a path that is none": ("_ssl.__file__ = 1", "socket"),
    "_ssl has a path that cannot be text": ("_ssl.__file__ = '\\udcff'", "socket"),
    "_ssl has a path that no file has": ("_ssl.__file__ = '/none/_ssl.so'", "socket"),
    "the library has no function of OpenSSL": (
        "_ssl.__file__ = epoll._core.__file__",
        "epoll._core",
    ),
    "the library has some functions": ("_ssl.__file__ = _hashlib.__file__", "_hashlib"),
    "the version is not told": ("del _ssl.OPENSSL_VERSION_NUMBER", "socket"),
    "the version is no number": ("_ssl.OPENSSL_VERSION_NUMBER = '3.0'", "socket"),
    "the version is no version": ("_ssl.OPENSSL_VERSION_NUMBER = -1", "socket"),
    "the version is too large": ("_ssl.OPENSSL_VERSION_NUMBER = 1 << 80", "socket"),
    "the version is another's": ("_ssl.OPENSSL_VERSION_NUMBER += 0x100000", "socket"),
    "a connection is of an unknown type": ("_ssl._SSLSocket = object", "socket"),
    "a connection has no type": ("del _ssl._SSLSocket", "socket"),
    "a BIO is of an unknown type": ("_ssl.MemoryBIO = object", "socket"),
}


@pytest.mark.slow
@pytest.mark.parametrize("wrong", WRONG)
def test_the_fallback_carries_what_is_not_reached(wrong: str) -> None:
    assert carrier(*WRONG[wrong]) == "_SSLProtocolTransport"


class Foreign:
    """As large as `_ssl`'s own, and nothing is where a pointer to an SSL would be."""

    __slots__ = tuple("abcdefgh")


class Other:
    """What holds a connection."""

    def __init__(self, connection: object) -> None:
        self._sslobj = connection


def reaches(connection: object, incoming: Any, outgoing: Any) -> bool:  # noqa: ANN401
    loop = epoll.EventLoop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        made = loop._make_tls_transport(
            Recorder(), Other(connection), incoming, outgoing, context, None, 1.0, 1.0, True, False
        )
        assert made is None or type(made) is _loop.SSLTransport
        return made is not None
    finally:
        loop.close()


@pytest.mark.parametrize("connection", [1, Foreign()], ids=["size", "no SSL"])
def test_connections_of_another_layout(monkeypatch: pytest.MonkeyPatch, connection: object) -> None:
    monkeypatch.setattr(_ssl, "_SSLSocket", type(connection))
    assert not reaches(connection, ssl.MemoryBIO(), ssl.MemoryBIO())


@needs_openssl
def test_bios_of_another_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    connection = context.wrap_bio(incoming, outgoing, server_side=True)._sslobj
    assert reaches(connection, incoming, outgoing)
    connection = context.wrap_bio(incoming, outgoing, server_side=True)._sslobj
    monkeypatch.setattr(_ssl, "MemoryBIO", bytes)
    assert not reaches(connection, b"", b"")
