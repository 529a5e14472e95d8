"""The methods of transports and streams take each argument by name, as asyncio's do."""

from __future__ import annotations

import asyncio
import inspect
from asyncio import selector_events, sslproto, unix_events
from typing import Any

import pytest

from epoll import _loop
from tests.epoll.streaming import connected_pair
from tests.epoll.tls import connected
from tests.epoll.twins import Loop, Recorder, adopted, receive, run, turn


def test_a_transport_writes_what_is_named(loop: Loop) -> None:
    with adopted(loop, Recorder()) as (transport, peer):
        transport.write(data=b"one ")
        transport.writelines(list_of_data=[b"two ", bytearray(b"three")])
        turn(loop)
        assert receive(peer, 13) == b"one two three"
        transport.set_protocol(protocol=(other := Recorder()))
        assert transport.get_protocol() is other
        transport._force_close(exc=KeyError("mine"))
        turn(loop)
        assert other.events == [("lost", "KeyError")]


def test_a_transport_of_tls_writes_what_is_named(tls_loop: Loop) -> None:
    with connected(tls_loop, Recorder()) as (transport, peer):
        transport.write(data=b"one ")
        transport.writelines(list_of_data=[b"two ", bytearray(b"three")])
        peer.until(tls_loop, lambda: peer.received == b"one two three")
        transport.set_protocol(protocol=(other := Recorder()))
        assert transport.get_protocol() is other


@pytest.mark.parametrize(
    ("arguments", "names"),
    [((), {}), ((b"x", b"y"), {}), ((b"x",), {"data": b"y"}), ((), {"other": b"x"})],
)
def test_wrong_arguments(loop: Loop, arguments: tuple[Any, ...], names: dict[str, Any]) -> None:
    with (
        adopted(loop, Recorder()) as (transport, _),
        pytest.raises(TypeError, match=r"write\(\)"),
    ):
        transport.write(*arguments, **names)


def test_streams_take_what_is_named(loop: Loop) -> None:
    async def main() -> None:
        reader, writer, peer = await connected_pair()
        with peer:
            writer.write(data=b"one ")
            writer.writelines(data=[b"two ", b"three"])
            await asyncio.sleep(0)
            assert receive(peer, 13) == b"one two three"
            reader.feed_data(data=b"fed")
            assert await reader.read(n=3) == b"fed"
            with pytest.raises(AssertionError, match="Transport already set"):
                reader.set_transport(transport=writer.transport)
            protocol: Any = writer.transport.get_protocol()
            protocol.data_received(data=b"received")
            assert await reader.readexactly(n=8) == b"received"
            reader.set_exception(exc=KeyError("mine"))
            with pytest.raises(KeyError):
                await reader.readuntil(separator=b"x")
            writer.close()
            await writer.wait_closed()

    run(loop, main())


# Each transport of ours, and what asyncio has in its place: for TLS two objects.
TRANSPORTS: list[tuple[Any, Any]] = [
    (_loop.SocketTransport, selector_events._SelectorSocketTransport),
    (_loop.DatagramTransport, selector_events._SelectorDatagramTransport),
    (_loop.SSLTransport, sslproto._SSLProtocolTransport),
    (_loop.SSLTransport, sslproto.SSLProtocol),
    (_loop.ReadPipeTransport, unix_events._UnixReadPipeTransport),
    (_loop.WritePipeTransport, unix_events._UnixWritePipeTransport),
]
METHODS = [
    *[(ours, original, name) for ours, original in TRANSPORTS for name in vars(ours)],
    *[
        (getattr(_loop, name), getattr(asyncio, name), method)
        for name in ("StreamReader", "StreamWriter", "StreamReaderProtocol")
        for method in vars(getattr(_loop, name).__base__)
    ],
]


@pytest.mark.parametrize(
    ("ours", "original", "name"),
    [
        pytest.param(ours, original, name, id=f"{original.__name__}.{name}")
        for ours, original, name in METHODS
        if inspect.isfunction(getattr(original, name, None)) and not name.startswith("__")
    ],
)
def test_methods_have_the_parameters_of_asyncio(ours: Any, original: Any, name: str) -> None:  # noqa: ANN401
    found = inspect.signature(getattr(ours, name)).parameters
    expected = inspect.signature(getattr(original, name)).parameters
    assert [(p.name, p.default) for p in found.values()] == [
        (p.name, p.default) for p in expected.values()
    ]
    named = [p for p in found.values() if p.name != "self"]
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in named)
