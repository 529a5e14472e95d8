"""Peers that break TLS: records to be changed, records made with the keys, and what comes of it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import functools
import hmac
import os
import socket
import ssl
import struct
import tempfile
import termios
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.epoll.openssl import library
from tests.epoll.tls import Peer, certificates, client_context, server_context, start_transport
from tests.epoll.twins import Loop, Recorder, finish, turn, turn_until, unix_pair

CHANGE_CIPHER, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
MOST_TURNS = 400

#: The last of them is TLS 1.2 whose keys are known, so that a test can make records.
VERSIONS = ("TLSv1_2", "TLSv1_3", "sealed")
SEALED_CIPHER = "ECDHE-ECDSA-AES128-GCM-SHA256"


@dataclass(frozen=True)
class Record:
    """A record of TLS; `length` is what its head says, if that is not true."""

    kind: int
    body: bytes = b""
    version: bytes = b"\x03\x03"
    length: int | None = None

    def __bytes__(self) -> bytes:
        length = len(self.body) if self.length is None else self.length
        return struct.pack("!B2sH", self.kind, self.version, length & 0xFFFF) + self.body


def records_of(flight: bytes) -> list[Record]:
    """Cut up what an honest end sends."""
    records = []
    while flight:
        kind, version, length = struct.unpack_from("!B2sH", flight)
        records.append(Record(kind, flight[5 : 5 + length], version))
        flight = flight[5 + length :]
    return records


Records = list[Record]
#: What is done to the records of a flight.
Change = Callable[[Records], Records]


def _at(records: Records, place: int) -> int:
    return min(place, len(records) - 1)


def alter(records: Records, place: int, **fields: Any) -> Records:  # noqa: ANN401
    """Give the record at a place another head or body."""
    place = _at(records, place)
    return [*records[:place], replace(records[place], **fields), *records[place + 1 :]]


def lengthen(records: Records, place: int, count: int) -> Records:
    """Have a record say that it is longer than it is, or shorter."""
    return alter(records, place, length=len(records[_at(records, place)].body) + count)


def flip(records: Records, place: int, offset: int, bit: int) -> Records:
    body = bytearray(records[_at(records, place)].body)
    if body:
        body[min(offset, len(body) - 1)] ^= 1 << bit
    return alter(records, place, body=bytes(body))


def cut(records: Records, place: int, size: int) -> Records:
    """Leave out the end of a record, and not say so."""
    body = records[_at(records, place)].body
    return alter(records, place, body=body[:size], length=len(body))


def split(records: Records, place: int, size: int) -> Records:
    """Send a record as two, which is allowed for handshakes."""
    place = _at(records, place)
    record = records[place]
    parts = [replace(record, body=record.body[:size]), replace(record, body=record.body[size:])]
    return [*records[:place], *parts, *records[place + 1 :]]


def drop(records: Records, place: int) -> Records:
    place = _at(records, place)
    return [*records[:place], *records[place + 1 :]]


def insert(records: Records, place: int, record: Record, count: int) -> Records:
    return [*records[:place], *[record] * count, *records[place:]]


def double(records: Records, place: int) -> Records:
    return insert(records, place, records[_at(records, place)], 1)


def swap(records: Records, one: int, other: int) -> Records:
    one, other = _at(records, one), _at(records, other)
    changed = list(records)
    changed[one], changed[other] = changed[other], changed[one]
    return changed


class Keys:
    """Makes records that a connection of SEALED_CIPHER takes for the peer's own."""

    def __init__(self, key_log: Path, server_random: bytes, *, of_server: bool) -> None:
        _, client_random, master = key_log.read_text().split()[-3:]
        seed = b"key expansion" + server_random + bytes.fromhex(client_random)
        keys, link = b"", seed
        while len(keys) < 40:
            link = hmac.digest(bytes.fromhex(master), link, "sha256")
            keys += hmac.digest(bytes.fromhex(master), link + seed, "sha256")
        self._key = keys[16:32] if of_server else keys[:16]
        self._salt = keys[36:40] if of_server else keys[32:36]
        self._number = 1  # Finished was 0

    def seal(self, record: Record) -> Record:
        number = struct.pack("!Q", self._number)
        self._number += 1
        head = struct.pack("!B2sH", record.kind, record.version, len(record.body))
        sealed = _encipher(self._key, self._salt + number, number + head, record.body)
        return replace(record, body=number + sealed)


def _encipher(key: bytes, nonce: bytes, head: bytes, body: bytes) -> bytes:
    """AES-GCM of OpenSSL: the standard library has none."""
    openssl = library()
    context = ctypes.c_void_p(openssl.EVP_CIPHER_CTX_new())
    cipher = ctypes.c_void_p(openssl.EVP_aes_128_gcm())
    result, size = ctypes.create_string_buffer(len(body) + 16), ctypes.c_int()
    tag = ctypes.create_string_buffer(16)
    assert openssl.EVP_EncryptInit_ex(context, cipher, None, key, nonce)
    assert openssl.EVP_EncryptUpdate(context, None, ctypes.byref(size), head, len(head))
    assert openssl.EVP_EncryptUpdate(context, result, ctypes.byref(size), body, len(body))
    assert openssl.EVP_EncryptFinal_ex(context, result, ctypes.byref(size))
    assert openssl.EVP_CIPHER_CTX_ctrl(context, 16, 16, tag)  # EVP_CTRL_AEAD_GET_TAG
    openssl.EVP_CIPHER_CTX_free(context)
    return result.raw[: len(body)] + tag.raw


@dataclass(frozen=True)
class Attack:
    """What a peer does.

    It shakes hands honestly up to `stage`: 0 and 1 are its flights of the handshake, 2 what comes
    after it, 3 the same when our end is closing. Then the changes are made. With `sealed` records
    those are sent, with keys, in place of data.
    """

    server_side: bool  #: our end is
    version: str
    stage: int
    changes: tuple[Change, ...] = ()
    sealed: tuple[Record, ...] = ()
    piece: int = 1 << 20  #: bytes that arrive in one go
    ends: str = "eof"


class Outcome(NamedTuple):
    """What the program sees of it."""

    handshake: str
    events: list[Any]
    reports: list[str]


class Attacker(Peer):
    """A peer that is honest for a while."""

    server_random = b""

    def flight(self) -> bytes:
        """Go on with the handshake; return what an honest end would send now."""
        if not self.object.server_side and not self.server_random:
            with contextlib.suppress(BlockingIOError):
                self.server_random = self.sock.recv(43, socket.MSG_PEEK)[11:]
        self._take()
        if not self.is_shaken:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.object.do_handshake()
                self.is_shaken = True
        return self.outgoing.read()

    def honest(self, loop: Loop, task: asyncio.Task[Any], stage: int) -> Records | None:
        """Return the flight of that stage of the handshake; None: the handshake is done before."""
        for _ in range(MOST_TURNS):
            flight = self.flight()
            if flight:
                if self.object.server_side and not self.server_random:
                    self.server_random = flight[11:43]
                if stage == 0:
                    return records_of(flight)
                stage -= 1
                self.sock.sendall(flight)
            elif self.is_shaken and task.done():
                return None
            turn(loop)
        raise AssertionError("the handshake comes to no end")

    def send(self, loop: Loop, data: bytes, piece: int) -> None:
        """Send, as long as somebody takes it."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for start in range(0, len(data), piece):
                self._send_piece(loop, data[start : start + piece])

    def _send_piece(self, loop: Loop, data: bytes) -> None:
        for _ in range(MOST_TURNS):
            with contextlib.suppress(BlockingIOError):
                data = data[self.sock.send(data) :]
            turn(loop)
            if not data and self._unread() == 0:
                return

    def _unread(self) -> int:
        (count,) = struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)))
        return int(count)


@functools.cache
def _contexts(version: str) -> tuple[ssl.SSLContext, ssl.SSLContext, Path]:
    """A server's, a client's, and where their keys are written to."""
    handle, name = tempfile.mkstemp(dir=certificates().folder)
    os.close(handle)
    of_server, of_client = server_context(), client_context()
    if version == "sealed":
        of_client.keylog_filename = name
    for context in (of_server, of_client):
        context.minimum_version = context.maximum_version = ssl.TLSVersion[
            "TLSv1_2" if version == "sealed" else version
        ]
        if version == "sealed":
            context.set_ciphers(SEALED_CIPHER)
    return of_server, of_client, Path(name)


@contextlib.contextmanager
def sealed_client(
    loop: Loop, protocol: Recorder, sockets: tuple[socket.socket, socket.socket]
) -> Iterator[tuple[Any, Keys]]:
    """A transport of a server after the handshake, and the keys of its client."""
    of_server, of_client, key_log = _contexts("sealed")
    ours, theirs = sockets
    with theirs:
        client = Attacker(theirs, of_client, server_side=False)
        task = start_transport(loop, protocol, ours, of_server, server_side=True)
        turn(loop, 2)
        client.honest(loop, task, 2)
        transport = task.result()
        yield transport, Keys(key_log, client.server_random, of_server=False)
        transport.abort()
        turn(loop, 4)


def _records(attack: Attack, attacker: Attacker, flight: Records | None, key_log: Path) -> Records:
    if attack.sealed and attacker.is_shaken:
        server_random = attacker.server_random
        keys = Keys(key_log, server_random, of_server=not attack.server_side)
        records = [keys.seal(record) for record in attack.sealed]
    elif flight is None:
        for data in (b"hello", b"world"):
            attacker.object.write(data)
        records = records_of(attacker.outgoing.read())
    else:
        records = flight
    for change in attack.changes:
        records = change(records) if records else records
    return records


def _play(loop: Loop, attack: Attack, sockets: tuple[socket.socket, socket.socket]) -> Outcome:
    reports: list[str] = []
    loop.set_exception_handler(
        lambda _, context: reports.append(type(context.get("exception")).__name__)
    )
    of_server, of_client, key_log = _contexts(attack.version)
    mine, its = (of_server, of_client) if attack.server_side else (of_client, of_server)
    ours, theirs = sockets
    attacker = Attacker(theirs, its, server_side=not attack.server_side)
    protocol = Recorder()
    task = start_transport(loop, protocol, ours, mine, server_side=attack.server_side)
    turn(loop, 2)
    flight = attacker.honest(loop, task, attack.stage)
    records = _records(attack, attacker, flight, key_log)
    if attack.stage == 3 and task.done():
        task.result().close()
    attacker.send(loop, b"".join(map(bytes, records)), attack.piece)
    turn(loop, 5)
    if attack.ends == "eof":
        with contextlib.suppress(OSError):
            theirs.shutdown(socket.SHUT_WR)
    else:
        theirs.close()
    turn_until(loop, task.done)
    failure = task.exception()
    if failure is None:
        turn_until(loop, lambda: protocol.is_lost)
    turn(loop, 5)
    return Outcome("done" if failure is None else type(failure).__name__, protocol.events, reports)


def play(new_loop: Callable[[], Loop], attack: Attack) -> Outcome:
    """Attack an end of one of our connections, and see that the descriptors are gone."""
    if attack.sealed:
        library()  # or the test is skipped, before anything is open
    _contexts(attack.version)  # which opens a file
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    loop = new_loop()
    sockets = unix_pair()
    try:
        return _play(loop, attack, sockets)
    finally:
        sockets[1].close()
        finish(loop)
        assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
