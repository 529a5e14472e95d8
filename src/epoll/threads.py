"""Several loops in one process, one in each thread: serve_threads()."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import queue
import signal
import sys
import threading
import time
import types
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .loop import EventLoop, new_event_loop

if TYPE_CHECKING:
    import socket
    from types import FrameType, TracebackType

__all__ = ["ThreadedServer", "serve_threads"]

Started = asyncio.AbstractServer | Iterable[asyncio.AbstractServer] | None
Factory = Callable[[int], Awaitable[Started]]
_News: TypeAlias = "queue.SimpleQueue[_Worker | None]"

#: How long a thread may take to end when all its connections have, in seconds.
_PATIENCE = 5.0

_LONGEST_GRACE = 86400.0


def serve_threads(factory: Factory, n: int | None = None, *, grace: float = 10.0) -> None:
    """Run a server in each of n threads, each on a loop of its own, until a signal ends them.

    The kernel spreads connections over the loops when each of them listens on the same port with
    SO_REUSEPORT. Without the GIL the threads run in parallel; with it they take turns, and then
    several processes are better.

    SIGINT and SIGTERM end it, when it is called in the main thread: no loop accepts any more,
    connections have `grace` to end, what is left then is cut off, tasks are cancelled. A second
    signal cuts off at once. An exception in one thread ends all of them in the same way.

    Args:
        factory: Called with the number of the thread, in its loop: `await factory(index)` starts
            what shall be served and returns an asyncio.Server, several of them, or None.
        n: How many threads; None: one for each processor that the process may use.
        grace: How long connections may take to end, in seconds.

    Raises:
        ExceptionGroup: What was raised in the threads; TimeoutError for one that does not end in
            time: its callback blocks, or a task goes on after it was cancelled.
        ValueError: n is less than 1, or grace less than 0 or more than a day.

        async def start(index):
            return await asyncio.start_server(chat, "0.0.0.0", 8000, reuse_port=True)

        epoll.serve_threads(start)
    """
    server = ThreadedServer(factory, n, grace=grace)
    with server.stopped_by_signals(), server:
        server.wait()


class ThreadedServer:
    """What serve_threads() runs, as a context manager: its threads serve while the block runs.

    Entering it returns when the factory has returned in every thread. Leaving it stops the servers,
    waits for the threads, and raises what they raised, together with what the block has raised, in
    an ExceptionGroup. It is good for one use.

        with epoll.ThreadedServer(start, 4) as server:
            print(server.sockets[0].getsockname())
    """

    def __init__(self, factory: Factory, n: int | None = None, *, grace: float = 10.0) -> None:
        count = len(os.sched_getaffinity(0)) if n is None else n
        if count < 1:
            raise ValueError(f"there must be one thread or more, not {count}")
        if not 0 <= grace <= _LONGEST_GRACE:
            raise ValueError(f"the grace is between 0 and {_LONGEST_GRACE} s, not {grace}")
        self._grace = grace
        self._news: _News = queue.SimpleQueue()
        self._loops: dict[str, EventLoop] = {}
        self._workers = [_Worker(index, factory, self) for index in range(count)]
        self._stops = 0

    @property
    def loops(self) -> Mapping[str, EventLoop]:
        """The loops by the numbers of their threads, for epoll.prometheus_text().

        It grows while the threads start: a factory may hand it to epoll.serve_metrics().
        """
        return types.MappingProxyType(self._loops)

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets of all servers that are asyncio.Servers; none when they stop."""
        return [sock for worker in self._workers for sock in worker.sockets]

    def stop(self) -> None:
        """Begin to stop; at the second call cut off at once. Any thread, and signal handlers."""
        self._stops += 1
        self._news.put(None)

    def wait(self) -> None:
        """Wait until stop() is called, or a thread has ended, which it does when it fails."""
        while not self._stops and not any(worker.has_ended for worker in self._workers):
            self._news.get()

    @contextlib.contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Have SIGINT and SIGTERM call stop() in a `with` block, in the main thread; else nothing.

        with server.stopped_by_signals(), server:
            server.wait()
        """

        def stop(number: int, frame: FrameType | None) -> None:
            self.stop()

        previous = {}
        try:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):
                    with contextlib.suppress(ValueError):  # not the main interpreter
                        previous[number] = signal.signal(number, stop)
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def __enter__(self) -> ThreadedServer:
        try:
            for worker in self._workers:
                worker.thread.start()
            while not (self._stops or all(worker.has_started for worker in self._workers)):
                self._news.get()
                if any(worker.has_ended for worker in self._workers):
                    break
        except BaseException:
            self._end()
            raise
        if any(worker.has_ended for worker in self._workers):
            self.__exit__(None, None, None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        failures = self._end()
        if failures:
            raised = [value] if value is not None else []
            raise BaseExceptionGroup("threads of a server have failed", [*raised, *failures])

    def _end(self) -> list[BaseException]:
        """Stop all threads, wait for them, and answer how they have failed."""
        is_cut = False
        deadline = time.monotonic() + self._grace + _PATIENCE
        started = [worker for worker in self._workers if worker.thread.ident is not None]
        for worker in started:
            worker.stop(is_cut=False)
        while not all(worker.has_ended for worker in started):
            if self._stops > 1 and not is_cut:
                is_cut = True
                deadline = time.monotonic() + _PATIENCE
                for worker in started:
                    worker.stop(is_cut=True)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=left)
        failures = [worker.failure for worker in started if worker.failure is not None]
        for worker in started:
            if worker.has_ended:
                worker.thread.join()
            else:
                failures.append(TimeoutError(f"the thread {worker.thread.name!r} does not end"))
        return failures


class _Worker:
    """One thread with its loop. Its attributes are the thread's; others look when news came."""

    def __init__(self, index: int, factory: Factory, server: ThreadedServer) -> None:
        self.index = index
        self.loop: EventLoop | None = None
        self.servers: list[asyncio.AbstractServer] = []
        self.sockets: tuple[socket.socket, ...] = ()
        self.failure: BaseException | None = None
        self.has_started = False
        self.has_ended = False
        self.thread = threading.Thread(
            target=self._run, name=f"epoll.serve_threads {index}", daemon=True
        )
        self._factory = factory
        self._grace = server._grace
        self._news = server._news
        self._loops = server._loops
        self._lock = threading.Lock()
        self._is_stop_asked = False
        self._is_cut_asked = False
        self._end_at = math.inf  #: when the grace is over, as loop.time()

    def stop(self, *, is_cut: bool) -> None:
        """Begin to stop, gracefully or not. From any other thread."""
        with self._lock:
            self._is_stop_asked = True
            self._is_cut_asked = self._is_cut_asked or is_cut
            if self.loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self.loop.call_soon_threadsafe(self._look)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as failure:
            self.failure = failure
        finally:
            self.has_ended = True
            self._news.put(self)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        self._stopped = loop.create_future()
        self._cut = loop.create_future()
        with self._lock:
            self.loop = self._loops[str(self.index)] = cast("EventLoop", loop)
        self._look()
        starting = asyncio.ensure_future(self._factory(self.index))
        self._stopped.add_done_callback(lambda _: loop.call_at(self._end_at, starting.cancel))
        self._cut.add_done_callback(lambda _: starting.cancel())
        try:
            started = await starting
        except asyncio.CancelledError:
            if not self._stopped.done():
                raise
            return
        if started is not None:
            self.servers = (
                [started] if isinstance(started, asyncio.AbstractServer) else list(started)
            )
        self.sockets = tuple(
            sock
            for server in self.servers
            if isinstance(server, asyncio.Server)
            for sock in server.sockets
        )
        self.has_started = True
        self._news.put(self)
        try:
            await self._stopped
        finally:
            self.sockets = ()
            for server in self.servers:
                server.close()
        await self._end_connections()

    def _look(self) -> None:
        """Take note of what stop() was asked for."""
        with self._lock:
            asked = (self._stopped, self._is_stop_asked), (self._cut, self._is_cut_asked)
        for future, is_asked in asked:
            if is_asked and not future.done():
                future.set_result(None)
                self._end_at = min(self._end_at, future.get_loop().time() + self._grace)

    async def _end_connections(self) -> None:
        """Let them end by themselves, or end them."""
        all_end = asyncio.ensure_future(_connections_end(self.servers))
        await asyncio.wait(
            [all_end, self._cut],
            timeout=max(self._end_at - asyncio.get_running_loop().time(), 0),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if all_end.done():
            all_end.result()
        for transport in cast("EventLoop", asyncio.get_running_loop())._open_transports():
            transport.abort()


async def _connections_end(servers: list[asyncio.AbstractServer]) -> None:
    """Wait until servers that were closed have no connection any more."""
    for server in servers:
        if sys.version_info >= (3, 12) or not isinstance(server, asyncio.Server):
            await server.wait_closed()
            continue
        private: Any = server  # whose wait_closed() returns at once
        if private._active_count != 0:
            waiter = asyncio.get_running_loop().create_future()
            private._waiters.append(waiter)
            await waiter
