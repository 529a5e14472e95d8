"""The answer of getaddrinfo(3) for literal addresses, without a thread and without the resolver."""

from __future__ import annotations

import functools
import socket

__all__ = ["literal_infos"]

Info = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]

_getaddrinfo = socket.getaddrinfo

_EXAMPLES: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


def literal_infos(
    host: object, port: object, family: int, kind: int, proto: int, flags: int
) -> list[Info] | None:
    """Return what ``socket.getaddrinfo`` would, or None where only it knows.

    That is for an IPv4 address in four parts or an IPv6 address without a scope, with a port as an
    int and without flags; and not where a program has put its own ``socket.getaddrinfo``.
    """
    if socket.getaddrinfo is not _getaddrinfo:
        return None
    if type(host) is not str or type(port) is not int or not 0 <= port <= 65535 or flags:
        return None
    own_family, numeric = _parse(host)
    if numeric is None or family not in (own_family, socket.AF_UNSPEC):
        return None
    try:
        shapes = _shapes(own_family, kind, proto)
    except (OSError, ValueError, OverflowError, TypeError):
        return None  # an error whose words are the resolver's
    address = (numeric, port) if own_family == socket.AF_INET else (numeric, port, 0, 0)
    # glibc names nothing that it was not asked to name; musl repeats what it was given.
    return [(own, kind, proto, name and host, address) for own, kind, proto, name in shapes]


@functools.lru_cache(maxsize=1024)
def _parse(host: str) -> tuple[int, str | None]:
    """Return the family of a literal and its usual form; of a name, no form."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # inet_pton knows no scopes; it takes fewer forms than getaddrinfo, and no others.
        return family, socket.inet_ntop(family, socket.inet_pton(family, host))
    except (OSError, ValueError):  # a null character, a lone surrogate: the resolver's to refuse
        return family, None


@functools.cache
def _shapes(family: int, kind: int, proto: int) -> list[tuple[int, int, int, str]]:
    """Return the socket types that this C library offers: they do not depend on the address."""
    infos = _getaddrinfo(_EXAMPLES[family], 0, family, kind, proto, flags=socket.AI_NUMERICHOST)
    return [info[:4] for info in infos]
