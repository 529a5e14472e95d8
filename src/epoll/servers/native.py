"""Native servers: C++ accepts, reads, frames, holds back and sends; Python answers messages.

A handler is called once for each complete message, and what it returns is sent back with the same
framing. All messages of one read are handled before their answers leave with one system call.

    from epoll.servers import native

    def shout(message: bytes) -> bytes:
        return message.upper()

    native.serve(shout, port=8000, framing="line")

What the server does so that no peer can hurt it:

* *A message longer than* ``max_message``: the connection is closed, after the answers to the
  messages before it were sent. Raw framing has no messages to measure. A request head for "hello"
  may have 16 KiB and gets 431.
* *A handler that raises*: the traceback is logged (logger ``epoll.servers``), this connection is
  closed, the others do not notice. KeyboardInterrupt and SystemExit end the server.
* *A slow reader*: when more than ``high_water`` bytes of answers wait and the socket is full, its
  messages are neither handled nor read until a quarter of that is left.
* *A peer that has finished sending* (half-close) gets all its answers, then the connection is
  closed. An incomplete message is dropped.
* *A peer that vanished* is found out by TCP keep-alive after two minutes (after a quarter of an
  hour when answers are on their way: tcp(7), tcp_retries2); one that is silent, or takes nothing,
  after ``idle_timeout``, if there is one.
* *No descriptor left* (EMFILE): logged once; who waits is served as soon as there is one again.

Memory for each connection is bounded: ``max_message`` + 64 KiB of input, ``high_water`` + one
answer of output, and below one KiB when it is idle.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Literal, NamedTuple, Self, TypedDict, Unpack

from .. import _core
from ._listening import Address, address_of, bind_tcp, bind_unix, text_of, unlinked_at_exit

__all__ = ["Address", "Connection", "Options", "Server", "Statistics", "serve", "text_of"]

Connection = _core.Connection
Answer = bytes | bytearray | memoryview | None
Handler = (
    Literal["echo", "hello"]
    | Callable[[bytes], Answer]
    | Callable[[bytes, _core.Connection], Answer]
)
_logger = logging.getLogger("epoll.servers")


class Statistics(NamedTuple):
    """What a server has done since it was made; ``open`` is the present number of connections."""

    accepted: int = 0
    open: int = 0
    messages: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    accept_errors: int = 0
    handler_errors: int = 0
    too_long: int = 0
    idle: int = 0
    failed: int = 0
    turns: int = 0


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a server listens and serves. Sizes are in bytes, times in seconds.

    Attributes:
        host: a name or an address; all addresses of a name are used. "" is the wildcard.
        port: TCP port; 0 takes any free one, see ``Server.address``.
        unix: listen on this path instead; a name that begins with NUL is abstract (unix(7)).
        sock: listen on this bound or listening stream socket instead, or on several; they are taken
            over, and the file of a Unix one is left alone.
        framing: raw, line, null, length16 or length32 (big-endian). Not for the handler "hello".
        backlog: connections that the kernel keeps until they are accepted (listen(2)).
        max_message: a longer message closes its connection.
        high_water: unsent answers of a connection at which its reading stops.
        idle_timeout: a connection on which nothing moves for so long is closed; 0 is never.
        grace: how long what is in flight may take when the server stops.
        no_delay: TCP_NODELAY, for clients that send several small messages without waiting.
        reuse_port: SO_REUSEPORT, to share the port with other processes.
        shared: other processes accept from the same socket (EPOLLEXCLUSIVE, epoll_ctl(2)).
        on_open: called with each new connection.
        on_close: called with each connection that has ended, the reason in words and an errno or 0.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    unix: str | None = None
    sock: socket.socket | Sequence[socket.socket] | None = None
    framing: str = "raw"
    backlog: int = 1024
    max_message: int = 1024 * 1024
    high_water: int = 64 * 1024
    idle_timeout: float = 0.0
    grace: float = 5.0
    no_delay: bool = False
    reuse_port: bool = False
    shared: bool = False
    on_open: Callable[[_core.Connection], object] | None = None
    on_close: Callable[[_core.Connection, str, int], object] | None = None

    def bind(self) -> list[socket.socket]:
        """Return the bound sockets that these options ask for, not listening yet.

        Raises:
            OSError: an address does not exist, or is in use.
        """
        if self.sock is not None:
            given = [self.sock] if isinstance(self.sock, socket.socket) else list(self.sock)
            if not given:
                raise ValueError("sock is an empty sequence")
            for sock in given:
                sock.setblocking(False)
            return given
        if self.unix is not None:
            return [bind_unix(self.unix)]
        return bind_tcp(self.host, self.port, reuse_port=self.reuse_port, no_delay=self.no_delay)


class OptionValues(TypedDict, total=False):
    """The attributes of ``Options`` as keyword arguments."""

    host: str
    port: int
    unix: str | None
    sock: socket.socket | Sequence[socket.socket] | None
    framing: str
    backlog: int
    max_message: int
    high_water: int
    idle_timeout: float
    grace: float
    no_delay: bool
    reuse_port: bool
    shared: bool
    on_open: Callable[[_core.Connection], object] | None
    on_close: Callable[[_core.Connection, str, int], object] | None


class Server:
    """A native server, for a thread of its own or for the calling one.

    It listens as soon as it is made. As a context manager it serves in the background::

        with Server(shout, port=0, framing="line") as server:
            print(server.address)

    Everything but ``run`` may be called from any thread; the handler and the callbacks run on the
    server's thread. A server serves once.

    Args:
        handler: "echo", "hello" (HTTP), ``handler(message)`` or ``handler(message, connection)``,
            which returns bytes to be sent or None.
        options: the attributes of ``Options``.

    Raises:
        OSError: it cannot listen.
        TypeError, ValueError: an option makes no sense.
    """

    def __init__(self, handler: Handler, **options: Unpack[OptionValues]) -> None:
        self.options = Options(**options)
        self._engine = _core.Server(
            handler,
            framing=self.options.framing,
            max_message=self.options.max_message,
            high_water=self.options.high_water,
            idle_timeout=self.options.idle_timeout,
            takes_connection=_takes_connection(handler),
            on_open=self.options.on_open,
            on_close=self.options.on_close,
            on_error=_log_failure,
        )
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._cleanup = contextlib.ExitStack()
        self._addresses: list[Address] = []
        for sock in self.options.bind():
            sock.listen(self.options.backlog)
            self._addresses.append(address_of(sock))
            if self.options.sock is None:
                self._cleanup.enter_context(unlinked_at_exit(sock))
            self._engine.listen(sock.detach(), shared=self.options.shared)

    @property
    def address(self) -> Address:
        """Where it listens: (host, port) with the real port, or the path of the Unix socket."""
        return self._addresses[0]

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses, if the host has several."""
        return tuple(self._addresses)

    def run(self, signal_fd: int = -1) -> None:
        """Serve on this thread until ``stop``.

        Args:
            signal_fd: what ``signal.set_wakeup_fd`` writes to, so that signal handlers run at once.

        Raises:
            RuntimeError: it serves or served already.
            BaseException: what a signal handler raised, or a handler, if it is no Exception.
        """
        with self._cleanup:
            self._engine.run(signal_fd)

    def start(self) -> None:
        """Serve on a new thread. Raises RuntimeError when it was started already."""
        if self._thread is not None:
            raise RuntimeError("this server was started already")
        name = f"epoll-server {text_of(self.address)}"
        self._thread = threading.Thread(target=self._run_in_thread, name=name, daemon=True)
        self._thread.start()

    def stop(self, grace: float | None = None) -> None:
        """Stop in order: accept no more, answer what has arrived, close; and return at once.

        Args:
            grace: seconds until the connections that are still busy are cut off.
        """
        self._engine.stop(self.options.grace if grace is None else grace)

    def join(self) -> None:
        """Wait until the thread has ended. Raises what ended it, if that was no ``stop``."""
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def statistics(self) -> Statistics:
        """Return the counters of this moment."""
        return Statistics(**self._engine.statistics())

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> bool:
        """Call ``callback(*args)`` on the server's thread, where connections may be used.

        Returns:
            False when the server has ended, and the callback will not be called.
        """
        return self._engine.call_soon_threadsafe(functools.partial(callback, *args))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.join()

    def _run_in_thread(self) -> None:
        try:
            self.run()
        except BaseException as failure:
            self._failure = failure


def serve(
    handler: Handler,
    *,
    workers: int = 1,
    on_listening: Callable[[Address], object] | None = None,
    **options: Unpack[OptionValues],
) -> Statistics:
    """Serve until SIGINT, SIGTERM or, on another thread than the main one, for ever.

    The first signal stops in order, within ``grace`` seconds; a second one cuts off what is left.

    Args:
        handler: as for ``Server``.
        workers: serve with so many processes. They share the port (SO_REUSEPORT) or the Unix
            socket; one that dies is replaced, and its successor serves those who were waiting for
            it. Needs the main thread, and no other threads (fork).
        on_listening: called with the address as soon as clients can connect.
        options: the attributes of ``Options``.

    Returns:
        What was done; with several workers, by all of them that ended in order.

    Raises:
        OSError: it cannot listen.
        TypeError, ValueError: an option makes no sense.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if workers > 1:
        from ._workers import supervise

        return supervise(handler, workers, on_listening, options)
    server = Server(handler, **options)
    with contextlib.ExitStack() as undo:
        signal_fd = -1
        if threading.current_thread() is threading.main_thread():
            signals = stopped_by_signals(server, signal.SIGINT, signal.SIGTERM)
            signal_fd = undo.enter_context(signals)
        if on_listening is not None:
            on_listening(server.address)
        server.run(signal_fd)
    return server.statistics()


@contextlib.contextmanager
def stopped_by_signals(server: Server, *signals: signal.Signals) -> Iterator[int]:
    """Have signals stop a server while this context lasts; for the main thread.

    Yields:
        The descriptor that ``Server.run`` watches for signals.
    """
    count = 0

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        server.stop(None if count == 1 else 0.0)

    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, readable)
        undo.callback(os.close, writable)
        undo.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(writable))
        for number in signals:
            undo.callback(signal.signal, number, signal.signal(number, on_signal))
        yield readable


def _takes_connection(handler: Handler) -> bool:
    """Tell whether a handler wants the connection as its second argument."""
    if not callable(handler):
        return False
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False  # a builtin without a signature: bytes.upper and the like
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in parameters if p.kind in positional and p.default is p.empty]
    return len(required) > 1


def _log_failure(what: str, peer: object, error: BaseException) -> None:
    if what == "accept":
        _logger.error("cannot accept connections for the moment: %s", error)
    else:
        _logger.error("%s failed, peer %s", what, peer, exc_info=error)
