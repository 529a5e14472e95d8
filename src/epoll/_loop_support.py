"""The cold half of epoll._loop: what its C++ code leaves to Python."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import socket
from asyncio.base_events import _format_handle  # type: ignore[attr-defined]
from asyncio.format_helpers import _format_callback_source, extract_stack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import _loop
    from .loop import EventLoop

__all__ = [
    "CREATE_TASK_TEXT",
    "ReaderBuffer",
    "create_future",
    "create_task",
    "datagram_address",
    "extract_stack",
    "log_os_error",
    "log_tls",
    "make_datagram_transport",
    "report_failure",
    "report_handle_failure",
    "run",
    "run_in_debug",
    "run_unless_cancelled",
    "warn_lost_pipe_write",
    "warn_lost_tls_write",
    "warn_lost_write",
    "warn_tls_eof",
]

logger = logging.getLogger("asyncio")

_FORMAT_OPTIONS = inspect.signature(_format_callback_source).parameters

create_task = asyncio.BaseEventLoop.create_task
"""For calls with a task factory, or with keywords that the native method does not know."""

create_future = asyncio.BaseEventLoop.create_future
"""For a program that has replaced asyncio.futures.Future."""

CREATE_TASK_TEXT = f"""create_task{inspect.signature(create_task)}
--

Return a new asyncio.Task, or what the task factory makes, that runs a coroutine.

The keywords are those of asyncio.Task, or whatever the task factory takes. Raises RuntimeError when
the loop is closed. On the loop's thread only.""".replace("(self", "($self", 1)


def run(_loop: EventLoop, handle: asyncio.Handle) -> None:
    """Run a handle whose slots were filled with something unusual."""
    try:
        handle._run()
    finally:
        del handle  # the frames of an exception that a task keeps lead here: no cycle


def run_in_debug(loop: EventLoop, handle: asyncio.Handle) -> None:
    """Run a handle as asyncio does it in debug mode: slow callbacks are logged."""
    try:
        loop._current_handle = handle
        start = loop.time()
        handle._run()
        duration = loop.time() - start
        if duration >= loop.slow_callback_duration:
            logger.warning("Executing %s took %.3f seconds", _format_handle(handle), duration)
    finally:
        loop._current_handle = None
        del handle  # the frames of an exception that a task keeps lead here: no cycle


def run_unless_cancelled(handle: asyncio.Handle) -> None:
    """Run a handle that is not of a native class."""
    try:
        if not handle.cancelled():
            handle._run()
    finally:
        del handle  # the frames of an exception that a task keeps lead here: no cycle


def report_failure(
    loop: EventLoop,
    message: str,
    exception: BaseException,
    protocol: object,
    transport: object,
) -> None:
    """Tell the loop's exception handler; None stands for what does not belong to the failure."""
    context: dict[str, Any] = {"message": message, "exception": exception}
    if transport is not None:
        context["transport"] = transport
    if protocol is not None:
        context["protocol"] = protocol
    loop.call_exception_handler(context)


def report_handle_failure(loop: EventLoop, handle: _loop.Handle, exception: BaseException) -> None:
    """Tell the loop's exception handler that a callback has raised, as Handle._run() does."""
    options = {"debug": loop.get_debug()} if "debug" in _FORMAT_OPTIONS else {}
    callback = _format_callback_source(handle._callback, handle._args, **options)
    context: dict[str, Any] = {
        "message": f"Exception in callback {callback}",
        "exception": exception,
        "handle": handle,
    }
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    loop.call_exception_handler(context)


def log_os_error(transport: object, message: str, exception: OSError) -> None:
    """Log what ended a connection, in debug mode: the peer's doing is no failure of the program."""
    logger.debug("%r: %s", transport, message, exc_info=exception)


def log_tls(transport: object, message: str, milliseconds: float) -> None:
    """Log a step of a TLS connection, in debug mode; `message` is about one or both of the two."""
    logger.debug(message, *(transport, milliseconds)[: message.count("%")])


def warn_tls_eof() -> None:
    """Warn of a protocol that wants to keep a TLS connection half-open."""
    logger.warning("returning true from eof_received() has no effect when using ssl")


def warn_lost_tls_write() -> None:
    """Warn of a protocol that goes on writing to a TLS connection that is closed."""
    logger.warning("SSL connection is closed")


def make_datagram_transport(
    loop: EventLoop,
    sock: socket.socket,
    protocol: asyncio.DatagramProtocol,
    address: Any,  # noqa: ANN401
    waiter: asyncio.Future[None] | None,
    extra: dict[str, Any] | None,
) -> asyncio.DatagramTransport:
    """Make asyncio's own transport, of a socket whose addresses the native one does not know.

    That is a socket of another family than IPv4, IPv6 and Unix, and an object of a class derived
    from socket.socket, whose sendto() may do anything.
    """
    make = asyncio.SelectorEventLoop._make_datagram_transport  # type: ignore[attr-defined]
    transport: asyncio.DatagramTransport = make(loop, sock, protocol, address, waiter, extra)
    return transport


def datagram_address(sock: socket.socket, address: Any) -> Any:  # noqa: ANN401
    """Look up where `sock` would send to, while it cannot. Blocks as its sendto() does.

    Raises:
        OSError: There is no such host.
        TypeError, ValueError: It is no address.
    """
    if sock.family == socket.AF_UNIX:
        if isinstance(address, str):  # any other one needs no look-up
            raise OSError("AF_UNIX path too long")
        return bytes(memoryview(address))
    host, port, *rest = address
    special = {"": "0.0.0.0" if sock.family == socket.AF_INET else "::"}
    special["<broadcast>"] = "255.255.255.255"
    found = socket.getaddrinfo(special.get(host, host), port, sock.family, sock.type)[0][4]
    return (*found[:2], *(rest or found[2:]))


def warn_lost_write() -> None:
    """Warn of a protocol that goes on writing to a connection that is lost."""
    logger.warning("socket.send() raised exception.")


def warn_lost_pipe_write() -> None:
    """Warn of a program that goes on writing to a pipe that is closed."""
    logger.warning("pipe closed by peer or os.write(pipe, data) raised exception.")


class ReaderBuffer(bytearray):
    """What a native StreamReader has as its `_buffer`: a copy of what nobody has read yet.

    What changes it changes the reader in the same way, whatever has come or was read since: asyncio
    itself, in start_tls(), and other libraries take bytes out of there.
    """

    __slots__ = ("_reader",)

    def __init__(self, reader: _loop.StreamReader, content: bytes) -> None:
        super().__init__(content)
        self._reader = reader


def _write_back(original: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(original)
    def method(buffer: ReaderBuffer, *args: object) -> object:
        reader = buffer._reader
        bytearray.__setitem__(buffer, slice(None), reader._buffer)
        result = original(buffer, *args)
        reader._buffer = buffer
        return result

    return method


for _name in (
    *("__delitem__", "__iadd__", "__imul__", "__setitem__"),
    *("append", "clear", "extend", "insert", "pop", "remove", "reverse"),
):
    setattr(ReaderBuffer, _name, _write_back(getattr(bytearray, _name)))
