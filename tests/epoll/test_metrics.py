"""prometheus_text() and serve_metrics(): a parser reads what a scraper would."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

import epoll
from tests.epoll.twins import finish, run, turn

# The text format 0.0.4.
NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
KINDS = {"counter", "gauge", "histogram"}

Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """All samples of one metric."""

    kind: str
    text: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), value)


def parse(text: str) -> dict[str, Family]:
    """Read the text format; whatever does not belong to it fails."""
    assert text.endswith("\n")
    families: dict[str, Family] = {}
    help_text = name = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            _, _, name, help_text = line.split(" ", 3)
            assert name not in families, "its lines stand together"
        elif line.startswith("# TYPE "):
            _, _, typed, kind = line.split(" ")
            assert typed == name
            assert kind in KINDS
            families[name] = Family(kind, help_text)
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert match[1].removeprefix(name) in ("", "_bucket", "_sum", "_count"), line
            pairs = re.findall(LABEL, match[2] or "")
            labels = tuple((key, unescaped(value)) for key, value in pairs)
            assert (match[1], labels) not in families[name].samples
            families[name].samples[match[1], labels] = float(match[match.lastindex or 0])
    return families


@pytest.fixture
def loop() -> Iterator[epoll.EventLoop]:
    loop = epoll.EventLoop()
    yield loop
    finish(loop)


def test_text_says_what_statistics_say(loop: epoll.EventLoop) -> None:
    loop.call_later(0, loop.stop)
    loop.run_forever()
    statistics = loop.statistics()
    families = parse(epoll.prometheus_text(loop))
    turns = families["epoll_loop_turns_total"]
    assert (turns.kind, turns.text) == ("counter", "Rounds of the loop.")
    assert turns.samples == {("epoll_loop_turns_total", ()): statistics.turns}
    running = families["epoll_loop_running_seconds_total"].samples
    assert list(running.values()) == [statistics.running_ns / 1e9]
    assert families["epoll_loop_descriptors_watched"].kind == "gauge"
    assert {name for name in families if not name.startswith("epoll_loop_")} == set()


def test_every_number_has_a_metric(loop: epoll.EventLoop) -> None:
    families = parse(epoll.prometheus_text(loop))
    stems = {re.sub(r"_seconds|_total|^epoll_loop_", "", name) for name in families}
    fields = {name.removesuffix("_ns") for name in epoll.LoopStatistics.__dataclass_fields__}
    assert stems == fields | {"connections_open"}


@pytest.mark.parametrize("metric", ["timer_lag", "run_time"])
def test_histograms_are_cumulative_and_end_with_all(loop: epoll.EventLoop, metric: str) -> None:
    for late in (0, 1e-3, 1.0, 100.0):
        loop.call_at(loop.time() - late, int)
    turn(loop)
    name = f"epoll_loop_{metric}_seconds"
    family = parse(epoll.prometheus_text(loop))[name]
    durations = getattr(loop.statistics(), metric)
    assert family.kind == "histogram"
    buckets = [
        (float(dict(labels)["le"]), count)
        for (sample, labels), count in family.samples.items()
        if sample == f"{name}_bucket"
    ]
    assert buckets == sorted(buckets)
    assert buckets[0][0] == 1.024e-06
    assert buckets[-1] == (math.inf, durations.count)
    assert family.samples[f"{name}_count", ()] == durations.count
    assert family.samples[f"{name}_sum", ()] == durations.total_ns / 1e9


def test_loops_get_their_names_as_labels(loop: epoll.EventLoop) -> None:
    other = epoll.EventLoop()
    turn(other, 3)
    text = epoll.prometheus_text({"one": loop, "two": other}, labels={"service": "chat"})
    other.close()
    assert parse(text)["epoll_loop_turns_total"].samples == {
        ("epoll_loop_turns_total", (("loop", "one"), ("service", "chat"))): 0,
        ("epoll_loop_turns_total", (("loop", "two"), ("service", "chat"))): 3,
    }


@pytest.mark.parametrize("value", ['a "quote"', "a\nline", "back\\slash", "\\n", "ü {} , =", ""])
def test_values_of_labels_are_escaped(loop: epoll.EventLoop, value: str) -> None:
    family = parse(epoll.prometheus_text(loop, labels={"name": value}))["epoll_loop_ready"]
    assert list(family.samples) == [("epoll_loop_ready", (("name", value),))]


@pytest.mark.parametrize("name", ["", "two words", "1st", "ä", "le", "a-b", 'x="1",y'])
def test_name_that_is_no_label_is_refused(loop: epoll.EventLoop, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a label"):
        epoll.prometheus_text(loop, labels={name: "value"})


async def request(server: asyncio.Server, text: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Send a request; return the first line, the headers and the body of the response."""
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(text)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode().split("\r\n")
    return first.encode(), dict(line.split(": ", 1) for line in lines), body


def ask(loop: epoll.EventLoop, text: bytes) -> tuple[bytes, dict[str, str], bytes]:
    async def serve_and_ask() -> tuple[bytes, dict[str, str], bytes]:
        server = await epoll.serve_metrics(loop, labels={"service": "x"})
        try:
            return await request(server, text)
        finally:
            server.close()
            await server.wait_closed()

    return run(loop, serve_and_ask())


def test_server_answers_with_the_text(loop: epoll.EventLoop) -> None:
    line, headers, body = ask(loop, b"GET /metrics?all HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert line == b"HTTP/1.1 200 OK"
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(headers["Content-Length"]) == len(body)
    opened = parse(body.decode())["epoll_loop_connections_accepted_total"].samples
    assert opened == {("epoll_loop_connections_accepted_total", (("service", "x"),)): 1}


def test_head_is_answered_without_a_body(loop: epoll.EventLoop) -> None:
    line, headers, body = ask(loop, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert line == b"HTTP/1.1 200 OK"
    assert int(headers["Content-Length"]) > 1000
    assert body == b""


def test_other_paths_and_methods_are_refused(loop: epoll.EventLoop) -> None:
    assert ask(loop, b"GET / HTTP/1.1\r\n\r\n")[0] == b"HTTP/1.1 404 Not Found"
    line, headers, _ = ask(loop, b"POST /metrics HTTP/1.1\r\n\r\n")
    assert line == b"HTTP/1.1 405 Method Not Allowed"
    assert headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("text", [b"GET /metrics HTTP/1.1\r\nX: " + 20000 * b"x", b"\r\n\r\n"])
def test_what_is_no_request_is_refused(loop: epoll.EventLoop, text: bytes) -> None:
    try:
        line, _, _ = ask(loop, text)
    except ConnectionResetError:
        line = b""
    assert not line.startswith(b"HTTP/1.1 200")


def test_wrong_label_is_refused_before_anything_is_served(loop: epoll.EventLoop) -> None:
    with pytest.raises(ValueError, match="no name for a label"):
        run(loop, epoll.serve_metrics(loop, labels={"a b": "c"}))
