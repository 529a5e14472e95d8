"""What a program does to reader._buffer it does to the native reader."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

import epoll
from epoll import _loop


@pytest.fixture
def loop() -> Iterator[epoll.EventLoop]:
    made = epoll.new_event_loop()
    yield made
    made.close()


@pytest.fixture(params=[asyncio.StreamReader, _loop.StreamReader])
def reader(
    request: pytest.FixtureRequest, loop: epoll.EventLoop
) -> asyncio.StreamReader | _loop.StreamReader:
    made: asyncio.StreamReader = request.param(loop=loop)
    made.feed_data(b"cabbage")
    return made


def delete_three(buffer: bytearray) -> None:
    del buffer[:3]


def replace_one(buffer: bytearray) -> None:
    buffer[0] = ord("C")


def add_in_place(buffer: bytearray) -> None:
    buffer += b"!"


def multiply_in_place(buffer: bytearray) -> None:
    buffer *= 2


CHANGES: dict[str, tuple[Callable[[bytearray], object], bytes]] = {
    "clear": (lambda buffer: buffer.clear(), b""),
    "del": (delete_three, b"bage"),
    "set": (replace_one, b"Cabbage"),
    "extend": (lambda buffer: buffer.extend(b"s"), b"cabbages"),
    "append": (lambda buffer: buffer.append(0x73), b"cabbages"),
    "+=": (add_in_place, b"cabbage!"),
    "*=": (multiply_in_place, b"cabbagecabbage"),
    "insert": (lambda buffer: buffer.insert(0, 0x73), b"scabbage"),
    "pop": (lambda buffer: buffer.pop(), b"cabbag"),
    "remove": (lambda buffer: buffer.remove(ord("c")), b"abbage"),
    "reverse": (lambda buffer: buffer.reverse(), b"egabbac"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_made_in_the_reader(
    loop: epoll.EventLoop, reader: asyncio.StreamReader, change: str
) -> None:
    function, expected = CHANGES[change]
    function(reader._buffer)
    assert reader._buffer == expected
    reader.feed_eof()
    assert loop.run_until_complete(reader.read()) == expected


def test_a_change_counts_what_has_come_since(reader: asyncio.StreamReader) -> None:
    buffer = reader._buffer
    reader.feed_data(b" soup")
    del buffer[:3]
    assert reader._buffer == b"bage soup"
    assert buffer == b"bage soup"


def test_a_failed_change_leaves_all_as_it_is(reader: asyncio.StreamReader) -> None:
    with pytest.raises(ValueError, match="not found"):
        reader._buffer.remove(0)
    assert reader._buffer == b"cabbage"


def test_it_is_a_bytearray(reader: asyncio.StreamReader) -> None:
    assert isinstance(reader._buffer, bytearray)
    assert bytes(reader._buffer[:3]) == b"cab"
    assert reader._buffer.find(b"age") == 4
