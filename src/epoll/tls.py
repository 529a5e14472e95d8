"""TLS of the event loop, the cold half: which of two ways it goes, and what comes before that.

The native way is `_loop.SSLTransport`. Where the interpreter's OpenSSL cannot be reached it is
asyncio's own `sslproto.SSLProtocol` over the native transport, with the same behaviour; likewise
where an `SSLContext` makes objects that read and write in their own way, and over transports that
are not ours, as TLS in TLS. `EventLoop._native_tls = False` forces it.
"""

from __future__ import annotations

import asyncio
from asyncio import constants, sslproto
from typing import TYPE_CHECKING, Any

from . import _loop

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import TypeAlias

    from .loop import EventLoop

    Waiter: TypeAlias = asyncio.Future[Any]
    Protocol: TypeAlias = "_loop.SSLTransport | SSLProtocol"

    class AsyncioProtocol(asyncio.BufferedProtocol):  # what the stubs leave out
        _app_state: sslproto.AppProtocolState
        _app_transport: asyncio.Transport
        _incoming: ssl.MemoryBIO
        _loop: asyncio.AbstractEventLoop
        _outgoing: ssl.MemoryBIO
        _transport: asyncio.Transport

        def __init__(self, *args: Any, **kwds: Any) -> None: ...  # noqa: ANN401
        def _do_read(self) -> None: ...
        def _on_handshake_complete(self, handshake_exc: Any) -> None: ...  # noqa: ANN401

else:
    ssl = sslproto.ssl  # None where the interpreter was built without it
    AsyncioProtocol = sslproto.SSLProtocol

__all__ = ["SSLProtocol", "accepting_factory", "make_protocol", "start", "transport_of"]


class SSLProtocol(AsyncioProtocol):
    """asyncio's protocol, with what the native one does better."""

    _is_first_read_due = False

    def _on_handshake_complete(self, handshake_exc: Any) -> None:  # noqa: ANN401
        if handshake_exc is not None and self._outgoing.pending:
            self._transport.write(self._outgoing.read())  # the alert that tells the peer why
            self._transport.get_write_buffer_size()  # and now, not at the end of the turn
        is_upgrade = self._app_state is sslproto.AppProtocolState.STATE_CON_MADE
        self._is_first_read_due = is_upgrade and handshake_exc is None
        super()._on_handshake_complete(handshake_exc)

    def _do_read(self) -> None:
        if self._is_first_read_due:  # start_tls(): who waits has to get the transport first
            self._is_first_read_due = False
            self._loop.call_soon(self._do_read)
        else:
            super()._do_read()


def make_protocol(
    loop: EventLoop,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext | None,
    waiter: Waiter | None,
    *,
    is_over_socket: bool = True,
    report_failure: bool = False,
    **options: Any,  # noqa: ANN401
) -> Protocol:
    """Return what has to be the protocol of a transport for `protocol` to speak TLS over it.

    The options are those of sslproto.SSLProtocol, and so are the errors: ValueError for a timeout
    that is not positive or a host name that does not fit, RuntimeError without the ssl module.
    `report_failure`: in debug mode a failed handshake is reported, as nobody waits for it.
    """
    if loop._native_tls and is_over_socket and ssl is not None:
        native = _make_native(loop, protocol, sslcontext, waiter, report_failure, **options)
        if native is not None:
            return native
    if report_failure:
        waiter = loop.create_future()
    made = SSLProtocol(loop, protocol, sslcontext, waiter, **options)
    if report_failure and waiter is not None:
        _report_failure_of(loop, waiter, protocol, made._app_transport)
    return made


def _make_native(
    loop: EventLoop,
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext | None,
    waiter: Waiter | None,
    report_failure: bool,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    call_connection_made: bool = True,
) -> _loop.SSLTransport | None:
    handshake_timeout = _judge(
        "ssl_handshake_timeout", ssl_handshake_timeout, constants.SSL_HANDSHAKE_TIMEOUT
    )
    shutdown_timeout = _judge(
        "ssl_shutdown_timeout", ssl_shutdown_timeout, constants.SSL_SHUTDOWN_TIMEOUT
    )
    context = sslcontext or sslproto._create_transport_context(server_side, server_hostname)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ssl_object = context.wrap_bio(
        incoming,
        outgoing,
        server_side=server_side,
        server_hostname=server_hostname if server_hostname and not server_side else None,
    )
    if not _has_usual_records(ssl_object):
        return None
    return loop._make_tls_transport(
        protocol,
        ssl_object,
        incoming,
        outgoing,
        context,
        waiter,
        handshake_timeout,
        shutdown_timeout,
        call_connection_made,
        report_failure,
    )


def transport_of(made: Protocol) -> asyncio.Transport:
    """Return the transport of the program's protocol, for what make_protocol() has made."""
    if isinstance(made, _loop.SSLTransport):
        return made
    return made._app_transport


def accepting_factory(
    loop: EventLoop,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    sslcontext: ssl.SSLContext,
    **timeouts: Any,  # noqa: ANN401
) -> Callable[[], Protocol]:
    """Return the protocol factory of a server that speaks TLS."""

    def make() -> Protocol:
        return make_protocol(
            loop,
            protocol_factory(),
            sslcontext,
            None,
            server_side=True,
            report_failure=True,
            **timeouts,
        )

    return make


async def start(
    loop: EventLoop,
    transport: Any,  # noqa: ANN401
    protocol: asyncio.BaseProtocol,
    sslcontext: ssl.SSLContext,
    *,
    server_side: bool,
    **options: Any,  # noqa: ANN401
) -> asyncio.Transport | None:
    """Upgrade a connection to TLS: loop.start_tls()."""
    if ssl is None:
        raise RuntimeError("Python ssl module is not available")
    if not isinstance(sslcontext, ssl.SSLContext):
        raise TypeError(
            f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
        )
    if not getattr(transport, "_start_tls_compatible", False):
        raise TypeError(f"transport {transport!r} is not supported by start_tls()")
    waiter = loop.create_future()
    made = make_protocol(
        loop,
        protocol,
        sslcontext,
        waiter,
        server_side=server_side,
        call_connection_made=False,
        is_over_socket=type(transport) is _loop.SocketTransport,
        **options,
    )
    transport.pause_reading()  # nothing may arrive before connection_made()
    if server_side:
        _move_unread(protocol, made)
    transport.set_protocol(made)
    made_handle = loop.call_soon(made.connection_made, transport)
    resume_handle = loop.call_soon(transport.resume_reading)
    try:
        await waiter
    except BaseException:
        transport.close()
        made_handle.cancel()
        resume_handle.cancel()
        raise
    if isinstance(made, _loop.SSLTransport) and made._protocol is None:
        return None  # the connection is lost, and nobody has been told why
    return transport_of(made)


def _judge(name: str, seconds: float | None, default: float) -> float:
    if seconds is None:
        return default
    if seconds <= 0:
        raise ValueError(f"{name} should be a positive number, got {seconds}")
    return seconds


def _has_usual_records(ssl_object: object) -> bool:
    """Return whether reading and writing is OpenSSL's and nobody else's."""
    if not isinstance(ssl_object, ssl.SSLObject):
        return False
    kind = type(ssl_object)
    return kind.read is ssl.SSLObject.read and kind.write is ssl.SSLObject.write


def _move_unread(protocol: asyncio.BaseProtocol, made: Protocol) -> None:
    """Give what a client has sent ahead, and a stream has read, to the handshake."""
    reader = getattr(protocol, "_stream_reader", None)
    if not isinstance(protocol, asyncio.StreamReaderProtocol) or reader is None:
        return
    buffer = reader._buffer
    if buffer:
        give = made._give if isinstance(made, _loop.SSLTransport) else made._incoming.write
        give(bytes(buffer))
        buffer.clear()


def _report_failure_of(
    loop: EventLoop,
    waiter: Waiter,
    protocol: asyncio.BaseProtocol,
    transport: asyncio.BaseTransport,
) -> None:
    """Report, in debug mode, that the handshake of an accepted connection has failed."""

    def report(waiter: Waiter) -> None:
        exception = None if waiter.cancelled() else waiter.exception()
        if exception is None:
            return
        transport.close()
        if loop.get_debug():
            loop.call_exception_handler(
                {
                    "message": "Error on transport creation for incoming connection",
                    "exception": exception,
                    "protocol": protocol,
                    "transport": transport,
                }
            )

    waiter.add_done_callback(report)
