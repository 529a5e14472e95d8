"""asyncio's stream functions, for whichever loop runs: on ours the streams are native.

Creating an `EventLoop` calls `install()`, so that `asyncio.open_connection`,
`asyncio.start_server` and their Unix versions take the native classes when an `EventLoop` of ours
is the running loop, and are asyncio's own on any other. A name that a program has imported before
(`from asyncio import open_connection`) stays asyncio's, which works on our loop as well, only
slower. `uninstall()` is the way back, and holds, whatever loops are made afterwards.
"""

from __future__ import annotations

import asyncio
import asyncio.streams
import functools
from typing import TYPE_CHECKING, Any

from . import _loop

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import TypeAlias

    Pair: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ClientConnected: TypeAlias = Callable[
        [asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None
    ]
    StreamFunction: TypeAlias = Callable[..., Coroutine[Any, Any, Any]]

__all__ = [
    "install",
    "open_connection",
    "open_unix_connection",
    "start_server",
    "start_unix_server",
    "uninstall",
]

_DEFAULT_LIMIT = 2**16


def _asyncio_unless_native(native: StreamFunction) -> StreamFunction:
    """Decorate the native version of a function of asyncio: on other loops asyncio's is called."""
    original: StreamFunction = getattr(asyncio.streams, native.__name__)

    @functools.wraps(original)
    async def dispatch(*args: object, **kwds: object) -> object:
        loop = asyncio.get_running_loop()
        if isinstance(loop, _loop.Loop):
            return await native(*args, **kwds)
        return await original(*args, **kwds)

    return dispatch


def _client(
    limit: int,
) -> tuple[Any, _loop.StreamReaderProtocol, _loop.StreamReader]:
    loop = asyncio.get_running_loop()
    reader = _loop.StreamReader(limit, loop)
    return loop, _loop.StreamReaderProtocol(reader, None, loop), reader


def _protocol_factory(
    client_connected_cb: ClientConnected, limit: int
) -> tuple[Any, Callable[[], _loop.StreamReaderProtocol]]:
    loop = asyncio.get_running_loop()

    def make_protocol() -> _loop.StreamReaderProtocol:
        reader = _loop.StreamReader(limit, loop)
        return _loop.StreamReaderProtocol(reader, client_connected_cb, loop)

    return loop, make_protocol


@_asyncio_unless_native
async def open_connection(
    host: str | None = None,
    port: int | str | None = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,  # noqa: ANN401
) -> Pair:
    loop, protocol, reader = _client(limit)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, _loop.StreamWriter(transport, protocol, reader, loop)


@_asyncio_unless_native
async def start_server(
    client_connected_cb: ClientConnected,
    host: str | None = None,
    port: int | str | None = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,  # noqa: ANN401
) -> asyncio.Server:
    loop, make_protocol = _protocol_factory(client_connected_cb, limit)
    server: asyncio.Server = await loop.create_server(make_protocol, host, port, **kwds)
    return server


@_asyncio_unless_native
async def open_unix_connection(
    path: str | os.PathLike[str] | None = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,  # noqa: ANN401
) -> Pair:
    loop, protocol, reader = _client(limit)
    transport, _ = await loop.create_unix_connection(lambda: protocol, path, **kwds)
    return reader, _loop.StreamWriter(transport, protocol, reader, loop)


@_asyncio_unless_native
async def start_unix_server(
    client_connected_cb: ClientConnected,
    path: str | os.PathLike[str] | None = None,
    *,
    limit: int = _DEFAULT_LIMIT,
    **kwds: Any,  # noqa: ANN401
) -> asyncio.Server:
    loop, make_protocol = _protocol_factory(client_connected_cb, limit)
    server: asyncio.Server = await loop.create_unix_server(make_protocol, path, **kwds)
    return server


_FUNCTIONS = (open_connection, start_server, open_unix_connection, start_unix_server)


_is_refused = False  # by uninstall(); there is one module asyncio in a process, and so one of these


def install(*, again: bool = False) -> None:
    """Put the functions of this module in the place of those in asyncio and asyncio.streams.

    Each new `EventLoop` calls this. Nothing happens where they are there already, nor after
    `uninstall()`, unless it is said that they shall be used `again`. A function that somebody else
    has replaced stays as it is.
    """
    global _is_refused
    if _is_refused and not again:
        return
    _is_refused = False
    for function in _FUNCTIONS:
        for module in (asyncio, asyncio.streams):
            if getattr(module, function.__name__) is function.__wrapped__:  # type: ignore[attr-defined]
                setattr(module, function.__name__, function)


def uninstall() -> None:
    """Undo install(), and let no new loop install anything: until `install(again=True)`.

    It may be called before the first loop is made. Streams that exist go on as they are.
    """
    global _is_refused
    _is_refused = True
    for function in _FUNCTIONS:
        for module in (asyncio, asyncio.streams):
            if getattr(module, function.__name__) is function:
                setattr(module, function.__name__, function.__wrapped__)
