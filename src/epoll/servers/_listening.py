"""Listening sockets for the native servers: addresses in, open sockets out, nothing left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

#: Where a server listens: (host, port), or the path of a Unix socket.
Address = tuple[str, int] | str

# tcp(7): a peer that vanished without a word is found out after 60 + 6 * 10 seconds.
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6),
)


def address_of(sock: socket.socket) -> Address:
    """Return where a socket is bound: (host, port), or the path of a Unix socket."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return os.fsdecode(name)
    return name[0], name[1]


def text_of(address: Address) -> str:
    """Return an address as people write it: ``127.0.0.1:80``, ``[::1]:80``, ``unix:/run/x``."""
    if isinstance(address, str):
        return f"unix:{address.replace(chr(0), '@', 1)}"
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind_tcp(host: str, port: int, *, reuse_port: bool, no_delay: bool) -> list[socket.socket]:
    """Return sockets bound to all addresses of ``host``, not listening yet.

    With port 0 they all share one free port. SO_KEEPALIVE and, if asked for, TCP_NODELAY are set:
    on Linux the connections inherit them, which costs nothing for each of them.

    Raises:
        OSError: the host has no address, or one of them cannot be bound.
        ValueError: there is no such port.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be between 0 and 65535, not {port}")  # libc takes it modulo
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = undo.enter_context(socket.socket(family, kind, protocol))
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, int(no_delay))
            for option in _KEEP_ALIVE:
                sock.setsockopt(*option)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if port == 0 and sockets:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sock.bind(address)
            except OSError as error:
                where = text_of((str(address[0]), int(address[1])))
                text = f"cannot listen on {where}: {error.strerror}"
                raise OSError(error.errno, text) from None
            sockets.append(sock)
        undo.pop_all()
    return sockets


def bind_unix(path: str) -> socket.socket:
    """Return a Unix socket bound to ``path`` (abstract if it begins with NUL), not listening yet.

    The file of a server that has died is replaced; that of one that lives is not.

    Raises:
        OSError: EADDRINUSE and all that bind(2) says.
        ValueError: the path is empty.
    """
    if not path:
        raise ValueError("the path of a Unix socket is empty")
    if not path.startswith("\0"):
        _remove_dead_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(path)
    except OSError as error:
        sock.close()
        text = f"cannot listen on unix:{path}: {error.strerror or error}"
        raise OSError(error.errno, text) from None
    return sock


def _remove_dead_socket(path: str) -> None:
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return  # bind(2) will say EADDRINUSE: it is somebody's file
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            Path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def unlinked_at_exit(sock: socket.socket) -> Iterator[None]:
    """Remove the file of a bound Unix socket at the end, if it still is the same file."""
    path = os.fsdecode(sock.getsockname()) if sock.family == socket.AF_UNIX else ""
    if not path or path.startswith("\0"):
        yield
        return
    before = Path(path).stat()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            now = Path(path).stat()
            if (now.st_dev, now.st_ino) == (before.st_dev, before.st_ino):
                Path(path).unlink()
