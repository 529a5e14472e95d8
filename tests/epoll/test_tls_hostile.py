"""Peers that break TLS at every stage: nothing is different from asyncio, on both of our ways."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import epoll
from tests.epoll import hostile
from tests.epoll.hostile import ALERT, CHANGE_CIPHER, DATA, HANDSHAKE, Attack, Outcome, Record, play
from tests.epoll.openssl import ask_for_new_keys, needs_openssl
from tests.epoll.tls import (
    TLS_LOOPS,
    client_context,
    connected,
    refuses_new_keys,
    server_context,
    start_transport,
)
from tests.epoll.twins import Loop, Recorder, run, tcp_pair, turn, turn_until, unix_pair

SIDES = pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])
VERSIONS = pytest.mark.parametrize("version", hostile.VERSIONS[:2])
WAYS = list(TLS_LOOPS)[1:]

#: asyncio fails at what it has let go of.
MISTAKES = ("AttributeError", "AssertionError")


def received(outcome: Outcome) -> bytes:
    return b"".join(event[1] for event in outcome.events if event[0] == "data")


def seen(outcome: Outcome) -> list[Any]:
    """Return all that is seen but the data, and asyncio's own mistakes."""
    events = [event for event in outcome.events if event[0] != "data"]
    return [outcome.handshake, events, [it for it in outcome.reports if it not in MISTAKES]]


def compare(attack: Attack) -> Outcome:
    """Check that it is for us what it is for asyncio; return our outcome.

    When a broken record comes together with good ones before it, asyncio forgets their data.
    """
    expected = play(TLS_LOOPS["asyncio"], attack)
    fails = ("lost", "SSLError") in expected.events
    for way in WAYS:
        outcome = play(TLS_LOOPS[way], attack)
        assert seen(outcome) == seen(expected), way
        assert received(outcome) == received(expected) or (
            fails and received(outcome).startswith(received(expected))
        ), way
    return outcome


places = some.integers(0, 5)
bodies = some.one_of(
    some.binary(max_size=40),
    some.sampled_from([b"", b"\x01\x00", b"\x02\x28", b"\x01", bytes(4), b"\x01\xff\xff\xff"]),
    some.integers(1, 3).map(lambda count: bytes(count * 16384)),
)
kinds = some.sampled_from([CHANGE_CIPHER, ALERT, HANDSHAKE, DATA, 24, 0, 99, 0x80, 255])
inserted = some.builds(Record, kinds, bodies)
sizes = some.sampled_from([0, 1, 2, 4, 5, 17, 40])


def with_records(change: Any, **arguments: Any) -> some.SearchStrategy[Any]:  # noqa: ANN401
    """Make changes of records, with the arguments that are drawn."""
    drawn = some.fixed_dictionaries({"place": places, **arguments})
    return drawn.map(lambda values: functools.partial(change, **values))


changes = some.one_of(
    with_records(hostile.alter, kind=kinds),
    with_records(
        hostile.alter,
        version=some.sampled_from(
            [b"\x00\x00", b"\x02\x00", b"\x03\x00", b"\x03\x05", b"\xff\xff"]
        ),
    ),
    with_records(hostile.alter, body=bodies),
    with_records(hostile.lengthen, count=some.sampled_from([-5, -1, 1, 100, 20_000, 0xF000])),
    with_records(hostile.flip, offset=some.integers(0, 60), bit=some.integers(0, 7)),
    with_records(hostile.cut, size=sizes),
    with_records(hostile.split, size=sizes),
    with_records(hostile.drop),
    with_records(hostile.double),
    with_records(hostile.insert, record=inserted, count=some.sampled_from([1, 2, 40])),
    some.builds(
        lambda one, other: functools.partial(hostile.swap, one=one, other=other), places, places
    ),
)


def bounded(examples: int) -> settings:
    """Always the same examples."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.slow
@SIDES
@VERSIONS
@bounded(60)
@given(
    stage=some.integers(0, 3),
    changes=some.lists(changes, min_size=1, max_size=3).map(tuple),
    piece=some.sampled_from([1 << 20, 1 << 20, 100, 7]),
    ends=some.sampled_from(["eof", "close"]),
)
def test_broken_records(server_side: bool, version: str, **drawn: Any) -> None:  # noqa: ANN401
    compare(Attack(server_side, version, **drawn))


def message(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a message of the handshake; `length` is what it says, if that is not true."""
    return bytes([kind]) + (len(body) if length is None else length).to_bytes(3, "big") + body


#: What a peer may send with the right keys: (records, how it ends).
SEALED: dict[str, tuple[list[Record], tuple[str, str | None]]] = {
    "empty records": ([Record(DATA)] * 32 + [Record(DATA, b"x")], ("lost", None)),
    "too many empty records": ([Record(DATA)] * 40, ("lost", "SSLError")),
    "empty records, again": (
        ([Record(DATA)] * 9 + [Record(DATA, b"x")]) * 50,
        ("lost", None),
    ),
    "warnings": ([Record(ALERT, b"\x01\x5a")] * 4 + [Record(DATA, b"x")], ("lost", None)),
    "too many warnings": ([Record(ALERT, b"\x01\x5a")] * 6, ("lost", "SSLError")),
    "fatal alert": ([Record(ALERT, b"\x02\x28")], ("lost", "SSLError")),
    "alert of no level": ([Record(ALERT, b"\x09\x28")], ("lost", "SSLError")),
    "half an alert": ([Record(ALERT, b"\x02")], ("lost", "SSLError")),
    "no alert": ([Record(ALERT)], ("lost", "SSLError")),
    "two alerts in one": ([Record(ALERT, b"\x01\x5a\x01\x5a")], ("lost", "SSLError")),
    "data after the end": ([Record(ALERT, b"\x01\x00"), Record(DATA, b"x")], ("lost", None)),
    "the end twice": ([Record(ALERT, b"\x01\x00")] * 2, ("lost", None)),
    "another cipher": ([Record(CHANGE_CIPHER, b"\x01")], ("lost", "SSLError")),
    "unknown type": ([Record(99, b"x")], ("lost", "SSLError")),
    "heartbeat": ([Record(24, b"\x01\xff\xff")], ("lost", "SSLError")),
    "the largest record": ([Record(DATA, bytes(16384))], ("lost", None)),
    "a larger one": ([Record(DATA, bytes(16385))], ("lost", "SSLError")),
    "huge message": ([Record(HANDSHAKE, message(1, bytes(10), 0xFFFFFF))], ("lost", "SSLError")),
    "unknown message": ([Record(HANDSHAKE, message(77))], ("lost", "SSLError")),
    "finished again": ([Record(HANDSHAKE, message(20, bytes(12)))], ("lost", "SSLError")),
}


@SIDES
@pytest.mark.parametrize("what", SEALED)
@pytest.mark.parametrize("piece", [1 << 20, 11])
def test_records_of_a_peer_with_keys(server_side: bool, what: str, piece: int) -> None:
    records, end = SEALED[what]
    attack = Attack(server_side, "sealed", 2, sealed=tuple(records), piece=piece)
    assert compare(attack).events[-1] == end


@pytest.mark.slow
@SIDES
@bounded(60)
@given(
    stage=some.integers(2, 3),
    sealed=some.lists(inserted, min_size=1, max_size=4).map(tuple),
    changes=some.lists(changes, max_size=1).map(tuple),
    ends=some.sampled_from(["eof", "close"]),
)
def test_sealed_records(server_side: bool, **drawn: Any) -> None:  # noqa: ANN401
    compare(Attack(server_side, "sealed", **drawn))


HELLO_REQUEST = message(0)
CLIENT_HELLO = message(1, b"\x03\x03" + bytes(33) + b"\x00\x02\xc0\x2b\x01\x00")


@SIDES
@pytest.mark.parametrize("count", [1, 50])
def test_wish_for_another_handshake(server_side: bool, count: int) -> None:
    wish = Record(HANDSHAKE, CLIENT_HELLO if server_side else HELLO_REQUEST)
    sealed = (wish,) * count + (Record(DATA, b"x"),)
    compare(Attack(server_side, "sealed", 2, sealed=sealed))


@needs_openssl
@pytest.mark.slow
def test_answers_that_nobody_reads_are_bounded() -> None:
    """asyncio keeps all of them."""
    protocol = Recorder()
    ours, theirs = unix_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    loop = epoll.EventLoop()
    with (
        contextlib.closing(loop),
        hostile.sealed_client(loop, protocol, (ours, theirs)) as (transport, keys),
    ):
        wishes = [keys.seal(Record(HANDSHAKE, CLIENT_HELLO)) for _ in range(14_000)]
        unsent = memoryview(b"".join(map(bytes, [*wishes, keys.seal(Record(DATA, b"x"))])))

        def go_on() -> None:
            nonlocal unsent
            with contextlib.suppress(BlockingIOError):
                unsent = unsent[theirs.send(unsent) :] if unsent else unsent

        answers = idle = 0
        while idle < 50:
            idle += 1
            go_on()
            turn(loop)
            if transport.get_write_buffer_size() != answers:
                answers = transport.get_write_buffer_size()
                idle = 0
        assert 256 * 1024 <= answers < 384 * 1024
        assert protocol.received == b""

        def has_arrived() -> bool:
            with contextlib.suppress(BlockingIOError):
                theirs.recv(1 << 20)
            go_on()
            return protocol.received == b"x"

        turn_until(loop, has_arrived)


@needs_openssl
@SIDES
def test_flood_of_key_updates(tls_loop: Loop, server_side: bool) -> None:
    if refuses_new_keys(tls_loop):
        pytest.skip("the kernel takes no new keys: see test_tls_kernel")
    protocol = Recorder()
    with connected(tls_loop, protocol, server_side=server_side) as (transport, peer):
        assert peer.object.version() == "TLSv1.3"
        for number in range(500):
            ask_for_new_keys(peer.object)
            peer.write(b"%d " % number)
        expected = b"".join(b"%d " % number for number in range(500))
        turn_until(tls_loop, lambda: protocol.received == expected)
        transport.write(b"still there")
        peer.until(tls_loop, lambda: peer.received == b"still there")
        assert transport.get_write_buffer_size() == 0


@SIDES
def test_a_handshake_that_goes_on_and_on_is_limited(tls_loop: Loop, server_side: bool) -> None:
    context = server_context() if server_side else client_context()
    ours, peer = tcp_pair()
    first = message(1, b"", 100_000) if server_side else message(2, b"", 20_000)
    with peer:
        task = start_transport(
            tls_loop, Recorder(), ours, context,
            server_side=server_side, ssl_handshake_timeout=0.05,
        )  # fmt: skip
        peer.sendall(bytes(Record(HANDSHAKE, first)))

        def is_over() -> bool:
            with contextlib.suppress(ConnectionError):
                peer.sendall(bytes(Record(HANDSHAKE, b"\x00")))
            return task.done()

        turn_until(tls_loop, is_over)
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than"):
            task.result()
        turn(tls_loop, 4)


@pytest.mark.slow
@SIDES
@pytest.mark.parametrize("state", ["handshake", "connected", "closing"])
def test_half_a_record_is_waited_for(tls_loop: Loop, server_side: bool, state: str) -> None:
    """The loop sleeps meanwhile."""
    half = bytes(Record(HANDSHAKE if state == "handshake" else DATA, bytes(100), length=200))
    with contextlib.ExitStack() as until_the_end:
        if state == "handshake":
            context = server_context() if server_side else client_context()
            ours, sock = tcp_pair()
            until_the_end.enter_context(sock)
            task = start_transport(tls_loop, Recorder(), ours, context, server_side=server_side)
            until_the_end.callback(turn, tls_loop, 4)
            until_the_end.callback(task.cancel)
        else:
            pair = connected(tls_loop, Recorder(), server_side=server_side)
            transport, peer = until_the_end.enter_context(pair)
            sock = peer.sock
            if state == "closing":
                transport.close()
        sock.sendall(half)
        turn(tls_loop, 10)
        began = time.thread_time()
        run(tls_loop, asyncio.sleep(0.2))
        assert time.thread_time() - began < 0.05
