"""create_connection and connect_accepted_socket: addresses, options, failures."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from typing import Any

import pytest

from tests.epoll.peers import HOST, Answers, Echo, address_of, echo, ended
from tests.epoll.twins import Loop, Recorder, run, tcp_pair


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": HOST, "port": 1, "sock": ...}, "host/port and sock can not be specified"),
        ({}, "Neither host/port nor sock were specified"),
        ({"sock": "datagram"}, "A Stream Socket was expected"),
    ],
    ids=str,
)
@pytest.mark.parametrize("maker", ["create_server", "create_connection"])
def test_contradictions_are_refused(
    loop: Loop, maker: str, arguments: dict[str, Any], message: str
) -> None:
    if maker == "create_connection":
        message = message.replace("Neither host/port nor", "host and port was not specified and no")
        message = message.replace("no sock were", "no sock")
    kind = socket.SOCK_DGRAM if arguments.get("sock") == "datagram" else socket.SOCK_STREAM
    with socket.socket(type=kind) as sock:
        given = {key: sock if key == "sock" else value for key, value in arguments.items()}
        with pytest.raises(ValueError, match=message):
            run(loop, getattr(loop, maker)(Echo, **given))
        assert sock.fileno() >= 0


def test_connection_refused(loop: Loop) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        address = unused.getsockname()
        with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
            run(loop, loop.create_connection(Recorder, *address))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
def test_all_errors(loop: Loop) -> None:
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        with pytest.raises(ExceptionGroup) as failure:
            run(loop, loop.create_connection(Recorder, *unused.getsockname(), all_errors=True))
        assert [type(error) for error in failure.value.exceptions] == [ConnectionRefusedError]


@pytest.mark.parametrize("delay", [None, 0.25])
def test_the_next_address_is_tried(
    loop: Loop, delay: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with echo(loop) as server:
            port = address_of(server)[1]

            async def resolve(*_: object, **__: object) -> list[Any]:
                kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
                return [(*kind, ("127.0.0.9", port)), (*kind, (HOST, port))]

            monkeypatch.setattr(loop, "getaddrinfo", resolve)
            transport, _ = await loop.create_connection(
                Recorder, "two.test", port, happy_eyeballs_delay=delay
            )
            assert transport.get_extra_info("peername") == (HOST, port)
            await ended(transport)

    run(loop, main())


def test_local_address(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop) as server:
            transport, _ = await loop.create_connection(
                Recorder, *address_of(server), local_addr=("127.0.0.3", 0)
            )
            assert transport.get_extra_info("sockname")[0] == "127.0.0.3"
            await ended(transport)
            with pytest.raises(OSError, match="error while attempting to bind on address"):
                await loop.create_connection(
                    Recorder, *address_of(server), local_addr=address_of(server)
                )

    run(loop, main())


def test_a_connection_over_a_given_socket(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop) as server:
            sock = socket.create_connection(address_of(server))
            sock.setblocking(False)
            transport, protocol = await loop.create_connection(Answers, sock=sock)
            transport.write(b"x")
            await protocol.until("data", b"x")
            await ended(transport)
            assert sock.fileno() == -1

    run(loop, main())


# asyncio leaves the socket to the garbage collector, which warns of it.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_failing_factory_of_a_connection(loop: Loop) -> None:
    async def main() -> None:
        async with echo(loop) as server:
            with pytest.raises(ZeroDivisionError):
                await loop.create_connection(lambda: 1 / 0, *address_of(server))

    run(loop, main())
    gc.collect()


def test_an_accepted_socket(loop: Loop) -> None:
    async def main() -> None:
        accepted, client = tcp_pair()
        with client:
            transport, protocol = await loop.connect_accepted_socket(Echo, accepted)
            assert protocol.events == [("made",)]
            client.setblocking(False)
            await loop.sock_sendall(client, b"hello")
            assert await loop.sock_recv(client, 10) == b"hello"
            await ended(transport)
        with socket.socket(type=socket.SOCK_DGRAM) as wrong:
            coroutine = loop.connect_accepted_socket(Echo, wrong)
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await coroutine

    run(loop, main())


def test_the_order_of_callbacks_of_a_connection(loop: Loop) -> None:
    """connection_made() of the client comes before create_connection() returns."""
    events: list[Any] = []

    async def main() -> None:
        server = await loop.create_server(lambda: Recorder("server", events), HOST, 0)
        transport, _ = await loop.create_connection(
            lambda: Recorder("client", events), *address_of(server)
        )
        events.append("connected")
        while ("server", "made") not in events:
            await asyncio.sleep(0)
        transport.write(b"x")
        transport.close()
        while ("server", "lost", None) not in events:
            await asyncio.sleep(0)
        server.close()

    run(loop, main())
    client = [event for event in events if event == "connected" or event[0] == "client"]
    assert client == [("client", "made"), "connected", ("client", "lost", None)]
    assert [event[1:] for event in events if event[0] == "server"] == [
        ("made",),
        ("data", b"x"),
        ("eof",),
        ("lost", None),
    ]
