from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import epoll
from epoll import _literals
from epoll._literals import literal_infos

KINDS = st.sampled_from([0, socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW])
PROTOS = st.sampled_from([0, socket.IPPROTO_TCP, socket.IPPROTO_UDP])
FAMILIES = st.sampled_from([socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6])
HOSTS = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded.upper()),
    st.sampled_from(
        ["127.1", "1", "0x7f.0.0.1", "010.0.0.1", "::ffff:1.2.3.4", "1.2.3", ":", "::"]
    ),
)


@given(HOSTS, st.integers(0, 65535), FAMILIES, KINDS, PROTOS)
def test_literal_infos_are_those_of_getaddrinfo(
    host: str, port: int, family: int, kind: int, proto: int
) -> None:
    infos = literal_infos(host, port, family, kind, proto, 0)
    if infos is not None:
        expected = socket.getaddrinfo(host, port, family, kind, proto)
        assert infos == expected
        assert [list(map(type, info)) for info in infos] == [
            list(map(type, info)) for info in expected
        ]


def test_a_library_that_names_the_host_names_the_one_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As musl does: each info has the host as it was given."""
    resolve = socket.getaddrinfo

    def naming(host: str, *args: Any, **kwds: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401
        return [(*info[:3], host, info[4]) for info in resolve(host, *args, **kwds)]

    monkeypatch.setattr(_literals, "_getaddrinfo", naming)
    monkeypatch.setattr(socket, "getaddrinfo", naming)
    monkeypatch.setattr(_literals, "_shapes", _literals._shapes.__wrapped__)
    for host in ("192.0.2.1", "2001:DB8::1"):
        assert literal_infos(host, 80, 0, socket.SOCK_STREAM, 0, 0) == naming(
            host, 80, type=socket.SOCK_STREAM
        )


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("localhost", 80),
        ("::1%lo", 80),
        ("127.0.0.1", "http"),
        ("127.0.0.1", None),
        ("127.0.0.1", -1),
        ("127.0.0.1", 65536),
        (b"127.0.0.1", 80),
        (None, 80),
        ("", 80),
        ("1.2.3.4\0", 80),
        ("\u0661.1.1.1", 80),
    ],
)
def test_what_only_the_resolver_knows_is_left_to_it(host: object, port: object) -> None:
    assert literal_infos(host, port, 0, 0, 0, 0) is None


def test_another_family_and_flags_are_left_to_the_resolver() -> None:
    assert literal_infos("127.0.0.1", 80, socket.AF_INET6, 0, 0, 0) is None
    assert literal_infos("127.0.0.1", 80, 0, 0, 0, socket.AI_CANONNAME) is None
    assert literal_infos("127.0.0.1", 80, 0, 12345, 0, 0) is None


def test_loop_answers_a_literal_without_a_thread() -> None:
    async def ask() -> object:
        with mock.patch.object(threading.Thread, "start", side_effect=AssertionError):
            return await asyncio.get_running_loop().getaddrinfo("::1", 80)

    assert epoll.run(ask()) == socket.getaddrinfo("::1", 80)


def test_loop_asks_the_resolver_for_a_name() -> None:
    async def ask() -> object:
        return await asyncio.get_running_loop().getaddrinfo("localhost", 80, family=socket.AF_INET)

    assert epoll.run(ask()) == socket.getaddrinfo("localhost", 80, family=socket.AF_INET)


def test_a_resolver_of_the_program_is_asked_for_literals_too() -> None:
    infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 81))]

    async def ask() -> object:
        with mock.patch("socket.getaddrinfo", return_value=infos):
            return await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)

    assert epoll.run(ask()) == infos
