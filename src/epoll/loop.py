"""The asyncio event loop: a native hot half (epoll._loop), and asyncio's own code for the rest."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from . import _executors, _loop, processes, streams, tls
from ._literals import literal_infos
from ._stand_ins import Reactor, SignalPipe
from .statistics import LoopStatistics, statistics_of
from .watchdog import BlockedCallback, BlockingWatch

if TYPE_CHECKING:
    import contextvars
    import socket
    import ssl
    from collections.abc import AsyncGenerator, Callable

__all__ = ["EventLoop", "new_event_loop"]


class EventLoop(_loop.Loop, asyncio.SelectorEventLoop):
    """An asyncio event loop over the reactor of the C++ core.

    It is made, used and closed as any loop of asyncio: see asyncio.AbstractEventLoop. What it does
    differently is written down in docs/guide/asyncio.md. After a fork the child must make a loop of
    its own; one that the parent made can only be closed there.

    Raises OSError when the process has no descriptors left.
    """

    #: False: TLS goes through asyncio's sslproto, as where OpenSSL cannot be reached. For tests.
    _native_tls = True

    # All that asyncio's classes keep in a loop, in any version. As long as a loop has no dictionary
    # of its own the interpreter finds its methods without a search.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_blocking_watches",
        "_children",
        "_clock_resolution",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_csock",
        "_current_handle",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_internal_fds",
        "_native_wakeup_fd",
        "_old_agen_hooks",
        "_ready",
        "_scheduled",
        "_selector",
        "_signal_handlers",
        "_ssock",
        "_timer_cancelled_count",
        "_transports",
        "_unix_server_sockets",
        "_watcher",
        "slow_callback_duration",
    )

    if TYPE_CHECKING:  # what asyncio has and its stubs leave out
        slow_callback_duration: float
        _current_handle: asyncio.Handle | None
        _old_agen_hooks: sys._asyncgen_hooks | None
        _csock: SignalPipe
        _ssock: SignalPipe
        _internal_fds: int
        _default_executor: concurrent.futures.Executor | None
        _signal_handlers: dict[int, asyncio.Handle]
        _asyncgen_firstiter_hook: Callable[[AsyncGenerator[Any, Any]], None]
        _asyncgen_finalizer_hook: Callable[[AsyncGenerator[Any, Any]], None]

        def _check_callback(self, callback: object, method: str) -> None: ...
        def _check_default_executor(self) -> None: ...
        def _check_running(self) -> None: ...
        def _read_from_self(self) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...

    def __init__(self) -> None:
        self._native_wakeup_fd = False
        self._old_agen_hooks = None
        self._children: set[processes.ChildWatch] = set()
        self._blocking_watches: set[BlockingWatch] = set()
        try:
            super().__init__(Reactor(self._waited_for))  # type: ignore[arg-type]
        except BaseException:
            self._closed = True
            self._close_native()
            raise
        streams.install()

    def __init_subclass__(cls, **options: Any) -> None:  # noqa: ANN401
        """Have timers ask the clock of a class that has one of its own."""
        super().__init_subclass__(**options)
        if cls.time is not EventLoop.time:
            for method in (_call_later, _call_at):
                name = method.__name__[1:]
                if getattr(cls, name) is getattr(EventLoop, name):
                    setattr(cls, name, method)

    if sys.version_info < (3, 13):

        def _run_forever_setup(self) -> None:
            self._set_coroutine_origin_tracking(self._debug)
            self._old_agen_hooks = sys.get_asyncgen_hooks()
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            asyncio._set_running_loop(self)

        def _run_forever_cleanup(self) -> None:
            self._stopping = False
            self._thread_id = None
            asyncio._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            if self._old_agen_hooks is not None:
                sys.set_asyncgen_hooks(*self._old_agen_hooks)
                self._old_agen_hooks = None

    def run_forever(self) -> None:
        """Run until stop() is called.

        In the main thread a signal wakes the loop even when no handler was added for it.

        Raises:
            RuntimeError: The loop is closed or runs already, or another one runs in this thread.
            KeyboardInterrupt, SystemExit: A callback raised it; what is scheduled stays scheduled.
        """
        self._check_closed()
        self._check_running()
        try:  # a signal may end the first step, too
            self._run_forever_setup()
            self._watch_signals()
            self._run()
        finally:
            try:
                self._unwatch_signals()
            finally:
                self._run_forever_cleanup()

    def _watch_signals(self) -> None:
        """Have every signal written to the self-pipe, unless somebody else gets them."""
        if threading.get_ident() != threading.main_thread().ident:
            return
        own = self._csock.fileno()
        self._native_wakeup_fd = True  # before it is true: a signal may end this at any point
        try:
            previous = signal.set_wakeup_fd(own, warn_on_full_buffer=False)
        except ValueError:  # the main thread, but not of the main interpreter
            self._native_wakeup_fd = False
            return
        if previous not in (-1, own):
            signal.set_wakeup_fd(previous)
            self._native_wakeup_fd = False

    def _unwatch_signals(self) -> None:
        """Take the self-pipe away again, but no descriptor that was set meanwhile."""
        if not self._native_wakeup_fd:
            return
        self._native_wakeup_fd = False
        if not self._signal_handlers:
            present = signal.set_wakeup_fd(-1)
            if present not in (-1, self._csock.fileno()):
                signal.set_wakeup_fd(present)

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove a handler; return whether there was one. Main thread only."""
        removed = super().remove_signal_handler(sig)
        if removed and not self._signal_handlers and self._thread_id == threading.get_ident():
            self._watch_signals()
        return removed

    def statistics(self) -> LoopStatistics:
        """Return what the loop has done since it was made. From any thread, at any time."""
        return statistics_of(self)

    def watch_blocking(
        self,
        threshold: float = 0.1,
        *,
        report: Callable[[BlockedCallback], object] | None = None,
    ) -> BlockingWatch:
        """Report the Python stack of each callback that blocks the loop, while it does so.

        A thread looks four times in `threshold` whether the loop gets on. Each callback is reported
        once, at the earliest after `threshold`. What holds the GIL all the time, in C, is not seen.
        It works until it is stopped, by stop() or `with`, or the loop is closed.

        Args:
            threshold: How long a callback may take, in seconds.
            report: Called in that thread, with an epoll.BlockedCallback. None: a warning of the
                logger "asyncio".

        Raises:
            ValueError: The threshold is not more than 0.
            RuntimeError: The loop is closed; or this is a sub-interpreter without daemon threads.

            with loop.watch_blocking(0.05):
                loop.run_until_complete(main())
        """
        self._check_closed()
        watch = BlockingWatch(self, threshold, report)
        self._blocking_watches.add(watch)
        return watch

    def run_in_executor(  # type: ignore[override]
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[..., Any],
        *args: Any,  # noqa: ANN401
    ) -> asyncio.Future[Any]:
        """Have an executor call `func(*args)`; return the future of what it returns.

        Args:
            executor: None is the default one: threads that are made when they are needed.

        Raises:
            RuntimeError: The loop is closed, or its default executor has been shut down.
            TypeError: In debug mode: `func` is a coroutine, or cannot be called.
        """
        self._check_closed()
        if self._debug:
            self._check_callback(func, "run_in_executor")
        if executor is None:
            self._check_default_executor()
            executor = self._default_executor
            if executor is None:
                executor = concurrent.futures.ThreadPoolExecutor(thread_name_prefix="asyncio")
                self._default_executor = executor
        return _executors.wrap(executor.submit(func, *args), self)

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Resolve a name in a thread; a literal address at once. Errors as socket.getaddrinfo."""
        infos: list[Any] | None = literal_infos(host, port, family, type, proto, flags)
        if infos is None:
            infos = await super().getaddrinfo(
                host, port, family=family, type=type, proto=proto, flags=flags
            )
        return infos

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        waiter: Any = None,  # noqa: ANN401
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
        context: contextvars.Context | None = None,
        **timeouts: Any,  # noqa: ANN401
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        made = tls.make_protocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side=server_side,
            server_hostname=server_hostname,
            **timeouts,
        )
        self._make_socket_transport(rawsock, made, extra=extra, server=server, context=context)
        return tls.transport_of(made)

    async def start_tls(  # type: ignore[override]
        self,
        transport: asyncio.WriteTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Upgrade a connection to TLS; return its new transport, which `protocol` has to use.

        None, as asyncio has it, when the transport was closed or aborted just before.
        What a client has sent ahead, and the StreamReader of `protocol` has read, is taken as the
        beginning of its handshake.

        Raises:
            TypeError: It is no SSLContext, or the transport is none that TLS can go over.
            ssl.SSLError, OSError: The handshake has failed; the connection is closed.
        """
        return await tls.start(
            self,
            transport,
            protocol,
            sslcontext,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )

    async def _make_subprocess_transport(
        self,
        protocol: asyncio.SubprocessProtocol,
        *arguments: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> asyncio.SubprocessTransport:
        return await processes.make_process_transport(self, protocol, *arguments, **options)

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: ssl.SSLContext | None = None,
        server: asyncio.AbstractServer | None = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        if sslcontext is not None:
            protocol_factory = tls.accepting_factory(
                self,
                protocol_factory,
                sslcontext,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
        self._start_accepting(protocol_factory, sock, server, context)

    def _stop_serving(self, sock: socket.socket) -> None:
        self._stop_accepting(sock)
        super()._stop_serving(sock)  # type: ignore[misc]

    async def _sendfile_native(
        self,
        transp: Any,  # noqa: ANN401
        file: IO[bytes],
        offset: int,
        count: int | None,
    ) -> int:
        # A duplicate, as the transport goes on watching its own descriptor.
        was_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            with transp._sock.dup() as sock:
                return await self.sock_sendfile(sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            if was_reading:
                transp.resume_reading()

    def _make_self_pipe(self) -> None:
        self._ssock, self._csock = map(SignalPipe, os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
        self._internal_fds += 1
        self._add_reader(self._ssock, self._read_from_self)

    def _close_self_pipe(self) -> None:
        if self._ssock.fileno() != -1:  # else the garbage collector has been there first
            super()._close_self_pipe()  # type: ignore[misc]

    def close(self) -> None:
        """Close the loop; nothing happens when it is closed already.

        What is scheduled is dropped, and the default executor does not wait for its threads.

        Raises:
            RuntimeError: The loop runs.
        """
        if not self.is_closed():
            super().close()
            for watch in list(self._blocking_watches):
                watch.stop()
        self._close_native()
        for child in list(getattr(self, "_children", ())):  # none before __init__()
            child.forget()


# What asyncio has, for a class derived from ours that has its own time(). The difference is what
# counts: the reactor goes by the clock that it has.


def _call_later(
    self: EventLoop,
    delay: float,
    callback: Callable[..., object],
    *args: Any,  # noqa: ANN401
    context: contextvars.Context | None = None,
) -> asyncio.TimerHandle:
    """As EventLoop.call_later()."""
    if delay is None:
        raise TypeError("delay must not be None")
    handle = self.call_at(self.time() + delay, callback, *args, context=context)
    _forget_caller(handle)
    return handle


def _call_at(
    self: EventLoop,
    when: float,
    callback: Callable[..., object],
    *args: Any,  # noqa: ANN401
    context: contextvars.Context | None = None,
) -> asyncio.TimerHandle:
    """As EventLoop.call_at()."""
    if when is None:
        raise TypeError("when cannot be None")
    left = when - self.time()
    handle = EventLoop.call_at(self, _loop.Loop.time(self) + left, callback, *args, context=context)
    handle._when = when  # type: ignore[attr-defined]
    _forget_caller(handle)
    return handle


def _forget_caller(handle: Any) -> None:  # noqa: ANN401
    """Take the function that calls this out of what debug mode says of where a handle was made."""
    if handle._source_traceback:
        del handle._source_traceback[-1]


_loop._adopt_methods(EventLoop)


def new_event_loop() -> EventLoop:
    """Return a new event loop: what asyncio.Runner(loop_factory=...) takes.

    Raises OSError when the process has no descriptors left.

        with asyncio.Runner(loop_factory=epoll.new_event_loop) as runner:
            runner.run(main())
    """
    return EventLoop()
