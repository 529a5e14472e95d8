"""What loops have done, for Prometheus: the text format 0.0.4, and a server for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .loop import EventLoop
    from .statistics import Durations, LoopStatistics

__all__ = ["CONTENT_TYPE", "prometheus_text", "serve_metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""What a response with the text has as its Content-Type."""

_COUNTERS = {
    "turns": "Rounds of the loop.",
    "waits": "Times that the kernel was asked for events.",
    "events": "Events that the kernel has reported.",
    "epoll_ctl_calls": "System calls that changed what the kernel watches.",
    "timers_fired": "Timers that have come due.",
    "callbacks_run": "Callbacks, timers and event handlers that were called.",
    "connections_opened": "Connections made, by either side.",
    "connections_closed": "Connections that have ended.",
    "connections_accepted": "Connections that servers have accepted.",
    "accept_errors": "Times that a server could not accept.",
    "bytes_received": "Bytes that transports have read.",
    "bytes_sent": "Bytes that transports have sent.",
}
_TIMES = {
    "waiting": "Time in waits for the kernel that may block.",
    "running": "Time outside of those waits.",
}
_GAUGES = {
    "ready": "Scheduled callbacks that the last turn had to run.",
    "most_ready": "The most scheduled callbacks that any turn had to run.",
    "descriptors_watched": "Descriptors that the loop watches.",
    "connections_open": "Connections that have not ended.",
}
_HISTOGRAMS = {
    "timer_lag": "How late timers were fired.",
    "run_time": "How long the loop ran between two waits.",
}
_SECOND = 1_000_000_000

# What a client may send, and how long it may take.
_HEAD_LIMIT = 8192
_PATIENCE = 10.0

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]


def prometheus_text(
    loops: EventLoop | Mapping[str, EventLoop], *, labels: Labels | None = None
) -> str:
    r"""Return the statistics of loops in the text format 0.0.4 of Prometheus.

    Times are in seconds, as its conventions want them. From any thread.

    Args:
        loops: One loop, or several, each of which gets its key as the label "loop".
        labels: More labels for every sample: name and value. Values may have any characters.

    Raises:
        ValueError: The name of a label is none.

        >>> print(epoll.prometheus_text(loop, labels={"service": "chat"}))
        # HELP epoll_loop_turns_total Rounds of the loop.
        # TYPE epoll_loop_turns_total counter
        epoll_loop_turns_total{service="chat"} 3
        ...
    """
    common = dict(labels or {})
    for name in common:
        if not (name.isascii() and name.isidentifier()) or name == "le":
            raise ValueError(f"this is no name for a label: {name!r}")
    if isinstance(loops, Mapping):
        parts = [({"loop": str(name), **common}, loop) for name, loop in list(loops.items())]
    else:
        parts = [(common, loops)]
    statistics = [(named, loop.statistics()) for named, loop in parts]
    return "".join(f"{line}\n" for line in _lines(statistics))


def _lines(statistics: Sequence[tuple[Labels, LoopStatistics]]) -> Iterator[str]:
    def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
        yield f"# HELP epoll_loop_{name} {text}"
        yield f"# TYPE epoll_loop_{name} {kind}"
        for suffix, labels, value in samples:
            yield f"epoll_loop_{name}{suffix}{_label_text(labels)} {value!r}"

    for field, text in _COUNTERS.items():
        samples = [("", labels, getattr(all_, field)) for labels, all_ in statistics]
        yield from family(f"{field}_total", "counter", text, samples)
    for field, text in _TIMES.items():
        samples = [
            ("", labels, getattr(all_, f"{field}_ns") / _SECOND) for labels, all_ in statistics
        ]
        yield from family(f"{field}_seconds_total", "counter", text, samples)
    for field, text in _GAUGES.items():
        samples = [("", labels, getattr(all_, field)) for labels, all_ in statistics]
        yield from family(field, "gauge", text, samples)
    for field, text in _HISTOGRAMS.items():
        samples = [
            sample
            for labels, all_ in statistics
            for sample in _histogram(labels, getattr(all_, field))
        ]
        yield from family(f"{field}_seconds", "histogram", text, samples)


def _histogram(labels: Labels, durations: Durations) -> Iterator[Sample]:
    total = 0
    for bound, count in zip(durations.bounds_ns, durations.counts, strict=False):
        total += count
        yield "_bucket", {**labels, "le": repr(bound / _SECOND)}, total
    yield "_bucket", {**labels, "le": "+Inf"}, durations.count
    yield "_sum", labels, durations.total_ns / _SECOND
    yield "_count", labels, durations.count


def _label_text(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


async def serve_metrics(
    loops: EventLoop | Mapping[str, EventLoop],
    host: str | None = "127.0.0.1",
    port: int = 0,
    *,
    path: str = "/metrics",
    labels: Labels | None = None,
) -> asyncio.Server:
    """Serve prometheus_text() over HTTP, on the loop that runs; return the server.

    It answers one GET or HEAD of `path` for each connection, and nothing else. Its own connections
    are in the statistics of that loop, too. When a Mapping is changed the next answer shows it.

    Args:
        loops, labels: As for prometheus_text().
        host, port: As for asyncio.start_server(); port 0 is any free one.

    Raises:
        OSError: The address cannot be bound.
        ValueError: The name of a label is none.

        server = await epoll.serve_metrics(asyncio.get_running_loop(), port=9400)
    """
    prometheus_text(loops, labels=labels)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, path, lambda: prometheus_text(loops, labels=labels)))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
            writer.transport.abort()  # no client of ours
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, port, limit=_HEAD_LIMIT)


def _response(head: bytes, path: str, make_text: Callable[[], str]) -> bytes:
    method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    target = rest.partition(b" ")[0].partition(b"?")[0]
    kind = CONTENT_TYPE
    if target != path.encode():
        status, body, kind = "404 Not Found", b"not found\n", "text/plain"
    elif method not in (b"GET", b"HEAD"):
        status, body, kind = "405 Method Not Allowed", b"only GET and HEAD\n", "text/plain"
    else:
        status, body = "200 OK", make_text().encode()
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if status.startswith("405"):
        lines.append("Allow: GET, HEAD")
    text = "\r\n".join([*lines, "", ""]).encode()
    return text if method == b"HEAD" else text + body
