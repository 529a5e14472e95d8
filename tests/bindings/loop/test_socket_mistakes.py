"""What sock_recv() and its like refuse: asyncio is the oracle, and taken for ours."""

from __future__ import annotations

import asyncio
import collections.abc
import inspect
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.bindings.loop.socket_twins import MUCH, Loop
from tests.epoll.twins import LOOPS, run


def failure_of(loop: Loop, make: Callable[[Loop], Coroutine[Any, Any, Any]]) -> tuple[type, str]:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - compared by the caller
        run(loop, make(loop))
    return caught.type, str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda loop, sock: loop.sock_recv(sock, -1),
        lambda loop, sock: loop.sock_recv(sock, "1"),
        lambda loop, sock: loop.sock_recv(sock, 2**70),
        lambda loop, sock: loop.sock_recv(None, 1),
        lambda loop, sock: loop.sock_recv_into(sock, b"read-only"),
        lambda loop, sock: loop.sock_recv_into(sock, None),
        lambda loop, sock: loop.sock_recvfrom(sock, -1),
        lambda loop, sock: loop.sock_recvfrom(sock, None),
        lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(3), 4),
        lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(3), -4),
        lambda loop, sock: loop.sock_recvfrom_into(sock, b"read-only"),
        lambda loop, sock: loop.sock_recvfrom_into(sock, 7),
        lambda loop, sock: loop.sock_sendall(sock, "text"),
        lambda loop, sock: loop.sock_sendall(sock, None),
        lambda loop, sock: loop.sock_sendall(sock, memoryview(b"1234")[::2]),
        lambda loop, sock: loop.sock_sendto(sock, "text", ("127.0.0.1", 1)),
        lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 1 << 16)),
        lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1",)),
        lambda loop, sock: loop.sock_sendto(sock, b"x", None),
        lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1 << 16)),
        lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1",)),
        lambda loop, sock: loop.sock_connect(sock, None),
        lambda loop, sock: loop.sock_accept(sock),
        lambda loop, sock: loop.sock_accept(None),
    ],
)
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_mistakes_raise_what_asyncio_raises(
    sockets: Callable[..., socket.socket], make: Callable[..., Any], closed: bool
) -> None:
    failures = []
    for kind in LOOPS.values():
        loop: Loop = kind()
        sock = sockets(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        if closed:
            sock.close()
        failures.append(failure_of(loop, lambda loop, sock=sock: make(loop, sock)))
        loop.close()
    assert failures[1] == failures[0]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sock_recv", (1,)),
        ("sock_recv_into", (bytearray(1),)),
        ("sock_recvfrom", (1,)),
        ("sock_recvfrom_into", (bytearray(1),)),
        ("sock_sendall", (b"x",)),
        ("sock_sendto", (b"x", ("127.0.0.1", 1))),
        ("sock_connect", (("127.0.0.1", 1),)),
        ("sock_accept", ()),
    ],
)
class TestEachOfThem:
    def test_blocking_sockets_are_refused_in_debug_mode(
        self, loop: Loop, name: str, arguments: tuple[Any, ...]
    ) -> None:
        loop.set_debug(True)
        with socket.socket() as sock:
            for timeout in None, 1.5:
                sock.settimeout(timeout)
                with pytest.raises(ValueError, match=r"^the socket must be non-blocking$"):
                    run(loop, getattr(loop, name)(sock, *arguments))

    def test_tls_sockets_are_refused(
        self, loop: Loop, name: str, arguments: tuple[Any, ...]
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with context.wrap_socket(socket.socket()) as sock:
            sock.setblocking(False)
            with pytest.raises(TypeError, match=r"^Socket cannot be of type SSLSocket$"):
                run(loop, getattr(loop, name)(sock, *arguments))

    def test_nothing_happens_before_it_is_awaited(
        self, loop: Loop, name: str, arguments: tuple[Any, ...]
    ) -> None:
        with socket.socket() as sock:
            sock.close()
            coroutine = getattr(loop, name)(sock, *arguments)
            assert asyncio.iscoroutine(coroutine)
            assert isinstance(coroutine, collections.abc.Coroutine)
            assert inspect.isawaitable(coroutine)
            assert coroutine.__name__ == name
            assert coroutine.cr_await is None
            coroutine.close()
            coroutine.close()
            with pytest.raises(RuntimeError, match=r"^cannot reuse already awaited coroutine$"):
                coroutine.send(None)

    def test_one_that_is_never_awaited_says_so(
        self, loop: Loop, name: str, arguments: tuple[Any, ...]
    ) -> None:
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.warns(RuntimeWarning, match=rf"\.{name}' was never awaited"):
                getattr(loop, name)(sock, *arguments)

    def test_signature(self, loop: Loop, name: str, arguments: tuple[Any, ...]) -> None:
        oracle = asyncio.SelectorEventLoop()
        oracle.close()
        assert inspect.signature(getattr(loop, name)) == inspect.signature(getattr(oracle, name))
        with pytest.raises(TypeError):
            getattr(loop, name)()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sock_recv", (1,)),
        ("sock_recv_into", (bytearray(1),)),
        ("sock_recvfrom", (1,)),
        ("sock_recvfrom_into", (bytearray(1),)),
        ("sock_sendall", (MUCH,)),
    ],
)
def test_who_would_wait_for_the_socket_of_a_transport_is_refused(
    loop: Loop, name: str, arguments: tuple[Any, ...]
) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)

    async def main() -> None:
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=near)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await getattr(loop, name)(near, *arguments)
        transport.abort()
        await asyncio.sleep(0)

    with far:
        run(loop, main())
