"""The native half of the event loop; see epoll.loop."""

import asyncio
import contextvars
import socket
import ssl
import traceback
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, TypeVar, TypeVarTuple, Unpack, final

from _typeshed import FileDescriptorLike, ReadableBuffer, WriteableBuffer

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

@final
class Handle(asyncio.Handle):
    # The slots of asyncio's class.
    _callback: Callable[..., object]
    _context: contextvars.Context
    _loop: asyncio.AbstractEventLoop
    _source_traceback: traceback.StackSummary | None

@final
class TimerHandle(asyncio.TimerHandle):
    _context: contextvars.Context

class Loop:
    # What asyncio's own code reads and writes.
    _closed: bool
    _debug: bool
    _stopping: bool
    _task_factory: Callable[..., Any] | None
    _thread_id: int | None

    # Running.
    def stop(self) -> None: ...
    def is_running(self) -> bool: ...
    def is_closed(self) -> bool: ...
    def get_debug(self) -> bool: ...
    def _check_closed(self) -> None: ...
    def _run(self) -> None: ...
    def _run_once(self) -> None: ...
    def _write_to_self(self) -> None: ...
    def _close_native(self) -> None: ...

    # Scheduling.
    def time(self) -> float: ...
    def call_soon(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle: ...
    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle: ...
    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle: ...
    def _add_callback(self, handle: asyncio.Handle) -> None: ...
    def create_future(self) -> asyncio.Future[Any]: ...
    def create_task(
        self,
        coro: Generator[Any, None, _T] | Coroutine[Any, Any, _T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[_T]: ...

    # Watched descriptors.
    def add_reader(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None: ...
    def add_writer(
        self, fd: FileDescriptorLike, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts
    ) -> None: ...
    def remove_reader(self, fd: FileDescriptorLike) -> bool: ...
    def remove_writer(self, fd: FileDescriptorLike) -> bool: ...
    def _add_reader(
        self,
        fd: FileDescriptorLike,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle: ...
    def _add_writer(
        self,
        fd: FileDescriptorLike,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle: ...
    def _remove_reader(self, fd: FileDescriptorLike) -> bool: ...
    def _remove_writer(self, fd: FileDescriptorLike) -> bool: ...
    def _waited_for(self, fd: int, /) -> int: ...
    def _ensure_fd_no_transport(self, fd: FileDescriptorLike) -> None: ...

    # Operations on sockets.
    def sock_recv(self, sock: socket.socket, n: int) -> Coroutine[Any, Any, bytes]: ...
    def sock_recv_into(
        self, sock: socket.socket, buf: WriteableBuffer
    ) -> Coroutine[Any, Any, int]: ...
    def sock_recvfrom(
        self, sock: socket.socket, bufsize: int
    ) -> Coroutine[Any, Any, tuple[bytes, Any]]: ...
    def sock_recvfrom_into(
        self, sock: socket.socket, buf: WriteableBuffer, nbytes: int = 0
    ) -> Coroutine[Any, Any, tuple[int, Any]]: ...
    def sock_sendall(
        self, sock: socket.socket, data: ReadableBuffer
    ) -> Coroutine[Any, Any, None]: ...
    def sock_sendto(
        self, sock: socket.socket, data: ReadableBuffer, address: object
    ) -> Coroutine[Any, Any, int]: ...
    def sock_connect(self, sock: socket.socket, address: object) -> Coroutine[Any, Any, None]: ...
    def sock_accept(
        self, sock: socket.socket
    ) -> Coroutine[Any, Any, tuple[socket.socket, Any]]: ...

    # Transports.
    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[Any] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
        context: contextvars.Context | None = None,
    ) -> SocketTransport: ...
    def _make_tls_transport(
        self,
        protocol: asyncio.BaseProtocol,
        ssl_object: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        sslcontext: ssl.SSLContext,
        waiter: asyncio.Future[Any] | None,
        ssl_handshake_timeout: float,
        ssl_shutdown_timeout: float,
        call_connection_made: bool,
        report_failure: bool,
    ) -> SSLTransport | None: ...
    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: object = None,
        waiter: asyncio.Future[Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> asyncio.DatagramTransport: ...
    def _start_accepting(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        server: asyncio.AbstractServer | None,
        context: contextvars.Context | None,
    ) -> None: ...
    def _stop_accepting(self, sock: socket.socket, /) -> bool: ...

@final
class SocketTransport(asyncio.Transport):
    def write(self, data: ReadableBuffer) -> None: ...
    def writelines(self, list_of_data: Iterable[ReadableBuffer]) -> None: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _protocol(self) -> asyncio.BaseProtocol | None: ...
    @property
    def _server(self) -> asyncio.AbstractServer | None: ...
    @property
    def _sock(self) -> socket.socket | None: ...
    @property
    def _sock_fd(self) -> int: ...
    @property
    def _extra(self) -> dict[str, Any]: ...
    @property
    def _protocol_paused(self) -> bool: ...
    def _force_close(self, exc: BaseException | None) -> None: ...
    def _fatal_error(
        self, exc: BaseException, message: str = "Fatal error on transport"
    ) -> None: ...
    def _make_empty_waiter(self) -> asyncio.Future[None]: ...
    def _reset_empty_waiter(self) -> None: ...

@final
class SSLTransport(asyncio.Transport, asyncio.BaseProtocol):
    def write(self, data: ReadableBuffer, /) -> None: ...
    def writelines(self, list_of_data: Iterable[ReadableBuffer], /) -> None: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol, /) -> None: ...
    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_read_buffer_limits(self) -> tuple[int, int]: ...
    def get_read_buffer_size(self) -> int: ...
    def connection_made(self, transport: SocketTransport, /) -> None: ...  # type: ignore[override]
    def _give(self, data: ReadableBuffer, /) -> None: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _protocol(self) -> asyncio.BaseProtocol | None: ...
    @property
    def _ssl_protocol(self) -> SSLTransport: ...
    @property
    def _protocol_paused(self) -> bool: ...
    def _force_close(self, exc: BaseException | None, /) -> None: ...

class DatagramTransport(asyncio.DatagramTransport, asyncio.Transport):
    def sendto(self, data: ReadableBuffer, addr: object = None) -> None: ...
    @property
    def _loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def _protocol(self) -> asyncio.BaseProtocol | None: ...
    @property
    def _sock(self) -> socket.socket | None: ...
    @property
    def _sock_fd(self) -> int: ...
    @property
    def _address(self) -> object: ...
    @property
    def _extra(self) -> dict[str, Any]: ...
    @property
    def _protocol_paused(self) -> bool: ...
    def _force_close(self, exc: BaseException | None) -> None: ...
    def _fatal_error(
        self, exc: BaseException, message: str = "Fatal error on transport"
    ) -> None: ...

# The streams of open_connection() and start_server(): asyncio's classes with a native half.
# Attributes and methods that asyncio's classes have are there, `_buffer` as a copy that writes its
# changes back.

class StreamReader(asyncio.StreamReader):
    _buffer: bytearray
    def __init__(
        self, limit: float = 65536, loop: asyncio.AbstractEventLoop | None = None
    ) -> None: ...

class StreamReaderProtocol(asyncio.StreamReaderProtocol):
    def __init__(
        self,
        stream_reader: StreamReader | None,
        client_connected_cb: Callable[[Any, Any], Any] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None: ...

class StreamWriter(asyncio.StreamWriter):
    def __init__(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        reader: asyncio.StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None: ...

def _adopt_methods(type: type[Loop], /) -> None: ...
