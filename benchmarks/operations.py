"""The single registry of what is measured: servers, loads, low-level operations, targets.

Nothing here runs anything. ``run.py`` times these entries, ``instructions.py`` counts the
instructions of the low-level ones. A target is a wish that is printed beside the measured ratio as
'held' or 'missed'; it never fails a run. A ratio above 1 is always in favour of the subject.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Server:
    """One echo server: how to start it. ``{python}`` and ``{build}`` are filled in."""

    command: tuple[str, ...]
    needs: tuple[str, ...] = ()  # Python modules without which it cannot run


def _native(target: str, *options: str) -> Server:
    command = ("{python}", "-m", "epoll", "serve", target, "--port", "0", *options)
    return Server(command, needs=("epoll",))


def _uvloop(mode: str) -> Server:
    command = ("{python}", "-m", "benchmarks.echo.uvloop_servers", mode)
    return Server(command, needs=("uvloop",))


SERVERS: dict[str, Server] = {
    "epoll serve echo": _native("echo", "--no-delay"),
    "epoll serve handler": _native(
        "benchmarks.echo.handlers:echo", "--no-delay", "--framing", "line"
    ),
    "C echo server": Server(("{build}/c_echo_server", "127.0.0.1", "0")),
    "uvloop raw": _uvloop("raw"),
    "uvloop lines": _uvloop("lines"),
    "uvloop lines, joined": _uvloop("lines-joined"),
}


DATAGRAMS = "datagrams"


@dataclass(frozen=True)
class Load:
    """What the load client sends. A message has ``size`` bytes, its framing included.

    The framing ``http`` is a GET that has no body; its answer is asked for once and expected again
    and again, so ``size`` does not matter. ``datagrams`` are those of UDP: each peer has as many of
    them under way as are pipelined.
    """

    connections: int
    pipeline: int = 1
    size: int = 1024
    framing: str = "raw"

    def __str__(self) -> str:
        pipelined = f", {self.pipeline} pipelined" if self.pipeline > 1 else ""
        plural = "s" if self.connections > 1 else ""
        return (
            f"{self.connections} connection{plural}, {self.size} bytes, {self.framing}{pipelined}"
        )


@dataclass(frozen=True)
class Race:
    """Servers under one load. ``baselines`` maps a peer to the wanted ratio of message rates."""

    load: Load
    subject: str
    baselines: dict[str, float | None]


ECHO = (
    Race(Load(10), "epoll serve echo", {"C echo server": 0.97}),
    Race(Load(100), "epoll serve echo", {"C echo server": 0.97}),
)

HANDLER = (
    Race(
        Load(10, framing="line"),
        "epoll serve handler",
        {"uvloop lines": 1.2, "uvloop raw": None},
    ),
    Race(
        Load(10, pipeline=16, framing="line"),
        "epoll serve handler",
        {"uvloop lines": 3.0, "uvloop lines, joined": 3.0, "uvloop raw": None},
    ),
)


@dataclass(frozen=True)
class Trace:
    """A server whose system calls are counted for one connection in the steady state."""

    server: str
    load: Load
    target: float | None = None  # calls per message
    without: tuple[str, ...] = ()  # calls that must not happen at all
    sends: float | None = None  # calls per message that send, whatever their names


SYSCALLS = (
    Trace("epoll serve echo", Load(1), target=3, without=("epoll_ctl",)),
    Trace("epoll serve handler", Load(1, framing="line"), target=3, without=("epoll_ctl",)),
    Trace("C echo server", Load(1)),
    Trace("uvloop raw", Load(1)),
    Trace("uvloop lines", Load(1, framing="line")),
)


@dataclass(frozen=True)
class Micro:
    """One low-level operation with ``ready`` descriptors. The names are those of micro/loops.py.

    ``iterate`` says whether the result is also walked through, event by event. ``baselines`` maps a
    peer to the wanted ratio of times (peer / subject).
    """

    subjects: tuple[str, ...]
    baseline: str
    ready: int
    iterate: bool
    targets: dict[str, float | None] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.ready} ready, {'call and iteration' if self.iterate else 'call only'}"


POLL = tuple(
    Micro(
        subjects=("Epoll.poll", "epoll.wait", "Epoll.wait_into"),
        baseline="select.epoll.poll",
        ready=ready,
        iterate=iterate,
        targets={
            "Epoll.poll": 1.0,
            "epoll.wait": 1.0,
            "Epoll.wait_into": 2.0 if iterate else None,
        },
    )
    for ready in (1, 10, 1000)
    for iterate in (False, True)
)

SELECTOR = tuple(
    Micro(
        subjects=("epoll.EpollSelector.select",),
        baseline="selectors.EpollSelector.select",
        ready=ready,
        iterate=iterate,
        targets={"epoll.EpollSelector.select": 3.0},
    )
    for ready in (1, 100)
    for iterate in (False, True)
)


# One ready descriptor among so many idle ones; the names are those of micro/waiters.py.
SCALING_IDLE = (10, 100, 1000, 10_000)
SCALING_WAITERS = ("select.select", "select.poll", "select.epoll", "epoll.Epoll")

# Connections that have exchanged one message each and then keep still.
IDLE_CONNECTIONS = 10_000
IDLE_SECONDS = 5.0
IDLE_SERVERS = ("epoll serve echo", "C echo server", "uvloop raw")


@dataclass(frozen=True)
class Case:
    """A named group of measurements; ``module`` in benchmarks/cases knows how to take them."""

    title: str
    module: str


CASES: dict[str, Case] = {
    "echo": Case("Native echo against the simplest C server", "races"),
    "handler": Case("A Python handler for lines against uvloop", "races"),
    "syscalls": Case("System calls per echoed message", "syscalls"),
    "poll": Case("Waiting: epoll against select.epoll", "micro"),
    "selector": Case("EpollSelector against selectors.EpollSelector", "micro"),
    "scaling": Case("One active descriptor among many idle ones", "scaling"),
    "idle": Case("Ten thousand idle connections", "idle"),
    "loop-servers": Case("Event loops: servers", "loop_servers"),
    "loop-syscalls": Case("Event loops: system calls per message", "syscalls"),
    "loop-scheduling": Case("Event loops: callbacks, timers, tasks", "loop_work"),
    "loop-network": Case("Event loops: connections, streams, names", "loop_work"),
    "loop-tls": Case("Event loops: TLS", "loop_work"),
    "loop-children": Case("Event loops: children and pipes", "loop_work"),
    "loop-files": Case("Event loops: a file by sendfile", "loop_files"),
    "loop-idle": Case("Event loops: ten thousand idle connections", "loop_idle"),
}

RACES: dict[str, tuple[Race, ...]] = {"echo": ECHO, "handler": HANDLER}
MICROS: dict[str, tuple[Micro, ...]] = {"poll": POLL, "selector": SELECTOR}
