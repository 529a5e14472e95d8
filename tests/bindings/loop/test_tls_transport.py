"""The type SSLTransport by itself, and how its OpenSSL is reached."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import epoll
from epoll import _loop
from tests.epoll.openssl import needs_openssl
from tests.epoll.tls import connected, server_context
from tests.epoll.twins import Recorder, turn, turn_until


@pytest.fixture
def loop() -> Iterator[epoll.EventLoop]:
    loop = epoll.EventLoop()
    yield loop
    loop.close()


def bios() -> tuple[ssl.MemoryBIO, ssl.MemoryBIO, ssl.SSLObject]:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return incoming, outgoing, server_context().wrap_bio(incoming, outgoing, server_side=True)


def make(loop: epoll.EventLoop, ssl_object: Any, incoming: Any, outgoing: Any) -> Any:  # noqa: ANN401
    return loop._make_tls_transport(
        Recorder(), ssl_object, incoming, outgoing, server_context(), None, 60.0, 30.0, True, False
    )


def test_it_is_what_asyncio_expects() -> None:
    assert issubclass(_loop.SSLTransport, asyncio.Transport)
    assert issubclass(_loop.SSLTransport, asyncio.transports._FlowControlMixin)
    assert _loop.SSLTransport._start_tls_compatible
    with pytest.raises(TypeError, match="cannot create"):
        _loop.SSLTransport()


@needs_openssl
def test_openssl_is_reached(loop: epoll.EventLoop) -> None:
    """Where this fails the fallback works, and is all that the other tests have tested."""
    incoming, outgoing, ssl_object = bios()
    made = make(loop, ssl_object, incoming, outgoing)
    assert type(made) is _loop.SSLTransport
    assert made._sendfile_compatible.name == "FALLBACK"


@pytest.mark.parametrize("wrong", ["incoming", "outgoing", "swapped", "no bios", "object"])
def test_what_is_unknown_is_not_touched(loop: epoll.EventLoop, wrong: str) -> None:
    incoming, outgoing, ssl_object = bios()
    given: dict[str, tuple[Any, Any, Any]] = {
        "incoming": (ssl_object, ssl.MemoryBIO(), outgoing),
        "outgoing": (ssl_object, incoming, ssl.MemoryBIO()),
        "swapped": (ssl_object, outgoing, incoming),
        "no bios": (ssl_object, object(), b""),
        "object": (type("Other", (), {"_sslobj": object()})(), incoming, outgoing),
    }
    assert make(loop, *given[wrong]) is None


def test_an_object_without_a_socket_is_an_error(loop: epoll.EventLoop) -> None:
    incoming, outgoing, _ = bios()
    with pytest.raises(AttributeError, match="_sslobj"):
        make(loop, object(), incoming, outgoing)


@needs_openssl
def test_one_that_was_never_used_goes_quietly(loop: epoll.EventLoop) -> None:
    incoming, outgoing, ssl_object = bios()
    transport = make(loop, ssl_object, incoming, outgoing)
    dead = weakref.ref(transport)
    del transport
    gc.collect()
    assert dead() is None
    with pytest.raises(ssl.SSLWantReadError):  # its own BIOs are back
        ssl_object.do_handshake()


@needs_openssl
def test_needs_a_socket_transport(loop: epoll.EventLoop) -> None:
    incoming, outgoing, ssl_object = bios()
    transport = make(loop, ssl_object, incoming, outgoing)
    with pytest.raises(TypeError, match="a SocketTransport is needed, not Transport"):
        transport.connection_made(asyncio.Transport())


@needs_openssl
def test_what_asyncio_calls_takes_its_argument_by_name(loop: epoll.EventLoop) -> None:
    with connected(loop, protocol := Recorder()) as (transport, peer):
        with pytest.raises(TypeError, match="SocketTransport"):
            transport.connection_made(transport=asyncio.Transport())
        transport._test__append_write_backlog(data=b"later")
        transport.write(b", now")
        peer.until(loop, lambda: peer.received == b"later, now")
        protocol.events.clear()
        transport._force_close(exc=KeyError("mine"))
        turn_until(loop, lambda: protocol.events)
        assert protocol.events == [("lost", "KeyError")]


@needs_openssl
def test_the_ssl_object_outlives_the_connection(loop: epoll.EventLoop) -> None:
    with connected(loop, Recorder()) as (transport, _):
        ssl_object = transport.get_extra_info("ssl_object")
    del transport
    gc.collect()
    assert ssl_object.cipher() is not None
    with pytest.raises(ssl.SSLError):
        ssl_object.read(1)


def test_the_program_may_use_the_ssl_object(loop: epoll.EventLoop) -> None:
    with connected(loop, Recorder()) as (transport, peer):
        ssl_object = transport.get_extra_info("ssl_object")
        assert ssl_object.pending() == 0
        assert ssl_object.write(b"hello") == 5
        transport.write(b" world")
        peer.until(loop, lambda: len(peer.received) == 11)
        assert peer.received == b"hello world"


def test_writes_in_a_callback_of_openssl_wait(loop: epoll.EventLoop) -> None:
    """A message callback runs in the middle of a record."""
    context = server_context()
    protocol = Recorder()
    to_act: list[Any] = []

    def callback(*_: object) -> None:
        if to_act:
            transport = to_act.pop()
            transport.write(b"from inside" * 100_000)
            transport.close()

    context._msg_callback = callback  # type: ignore[attr-defined]
    with connected(loop, protocol, ours=context) as (transport, peer):
        to_act.append(transport)
        peer.write(b"hello")
        peer.until(loop, lambda: peer.has_notified)
        assert not to_act
        assert peer.received == b"from inside" * 100_000
        assert protocol.received == b"hello"


@needs_openssl
def test_attributes_and_weak_references(loop: epoll.EventLoop) -> None:
    with connected(loop, Recorder()) as (transport, _):
        transport.anything = 1
        assert transport.__dict__ == {"anything": 1}
        assert weakref.ref(transport)() is transport
        assert transport._ssl_protocol is transport
        assert transport._loop is loop
        assert "SSLTransport" in repr(transport)


@needs_openssl
def test_data_for_a_reader_that_is_gone(loop: epoll.EventLoop) -> None:
    reader = _loop.StreamReader(1000, loop)
    protocol = _loop.StreamReaderProtocol(reader, None, loop)
    with connected(loop, protocol) as (_, peer):
        del reader
        gc.collect()
        for _ in range(10):
            peer.write(bytes(10_000))
            turn(loop, 2)
        peer.notify()
        turn_until(loop, lambda: protocol._connection_lost)


def test_a_stream_pauses_the_transport(loop: epoll.EventLoop) -> None:
    reader = _loop.StreamReader(1000, loop)
    protocol = _loop.StreamReaderProtocol(reader, None, loop)
    with connected(loop, protocol) as (transport, peer):
        peer.write(bytes(50_000))
        turn_until(loop, lambda: not transport.is_reading())
        data = loop.run_until_complete(reader.readexactly(50_000))
        assert len(data) == 50_000
        assert transport.is_reading()
