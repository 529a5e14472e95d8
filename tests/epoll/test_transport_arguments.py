"""The methods of transports and streams take each argument by name, as asyncio's do."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from epoll import _loop
from tests.epoll.streaming import connected_pair
from tests.epoll.twins import Loop, Recorder, adopted, receive, run, turn

Native = asyncio.selector_events._SelectorSocketTransport


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


METHODS = [
    *[(_loop.SocketTransport, Native, name) for name in vars(_loop.SocketTransport)],
    *[
        (getattr(_loop, name), getattr(asyncio, name), method)
        for name in ("StreamReader", "StreamWriter", "StreamReaderProtocol")
        for method in vars(getattr(_loop, name).__base__)
    ],
]


@pytest.mark.parametrize(
    ("ours", "original", "name"),
    [
        pytest.param(ours, original, name, id=f"{ours.__name__}.{name}")
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
