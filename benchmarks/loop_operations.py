"""The registry of what is measured on event loops: loops, servers, work, targets.

It belongs to ``operations.py``, which has the types and the list of cases. Every target is a ratio
against uvloop, unless it says something else; above 1 it is in favour of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.operations import DATAGRAMS, Load, Server, Trace


@dataclass(frozen=True)
class Loop:
    """An event loop: what makes it (``module:attribute``), and the module that must be there."""

    factory: str
    needs: str
    is_peer: bool = False  # compared where it is installed, and not missed where it is not


LOOPS: dict[str, Loop] = {
    "epoll": Loop("epoll:new_event_loop", needs="epoll._loop"),
    "uvloop": Loop("uvloop:new_event_loop", needs="uvloop"),
    "asyncio": Loop("asyncio:new_event_loop", needs="asyncio"),
    "rloop": Loop("rloop:new_event_loop", needs="rloop", is_peer=True),
    "blazio": Loop("blazio:new_event_loop", needs="blazio", is_peer=True),
    "zuvloop": Loop("zuvloop:new_event_loop", needs="zuvloop", is_peer=True),
    "rsloop": Loop("rsloop:new_event_loop", needs="rsloop", is_peer=True),
    "aiofastnet": Loop(
        "benchmarks.loops.choice:make_aiofastnet_loop", needs="aiofastnet", is_peer=True
    ),
}
SUBJECT = "epoll"
BASELINE = "uvloop"
C_SERVER = "C echo server"


def server_name(style: str, loop: str) -> str:
    """Return the name of a server in LOOP_SERVERS."""
    return f"{style} on {loop}"


ECHO_STYLES = ("protocol", "two-writes", "buffered", "streams", "sock", DATAGRAMS)
HELLO = "uvicorn"

LOOP_SERVERS: dict[str, Server] = {
    server_name(style, name): Server(
        ("{python}", "-m", "benchmarks.loops.echo", name, style), needs=(loop.needs,)
    )
    for style in ECHO_STYLES
    for name, loop in LOOPS.items()
} | {
    server_name(HELLO, name): Server(
        ("{python}", "-m", "benchmarks.loops.hello", name),
        needs=(loop.needs, "uvicorn", "httptools"),
    )
    for name, loop in LOOPS.items()
}


@dataclass(frozen=True)
class LoopRace:
    """One style of server on every loop, under one load."""

    title: str
    style: str
    load: Load
    target: float  # messages/s, uvloop = 1
    against_c: float | None = None  # messages/s, the simplest C server = 1
    user_us: float | None = None  # at most so much user time for a message


LOOP_RACES = (
    LoopRace("Protocol", "protocol", Load(10), target=1.15, against_c=0.95, user_us=0.4),
    LoopRace("head and body in two writes", "two-writes", Load(10), target=1.3),
    LoopRace("BufferedProtocol", "buffered", Load(10), target=1.2),
    LoopRace("streams, readline", "streams", Load(10, framing="line"), target=1.6),
    LoopRace("sock_recv, sock_sendall", "sock", Load(10), target=2.2),
    LoopRace("UDP, 10 peers", DATAGRAMS, Load(10, framing=DATAGRAMS), target=1.6),
    LoopRace(
        "UDP, 32 under way for each of 2 peers",
        DATAGRAMS,
        Load(2, pipeline=32, framing=DATAGRAMS),
        target=2,
    ),
    LoopRace("uvicorn, hello world", HELLO, Load(10, framing="http"), target=1.15),
)

# One connection in the steady state, by strace.
LOOP_SYSCALLS = tuple(
    Trace(server_name(style, name), load, *(targets if name == SUBJECT else (None, (), None)))
    for style, load, targets in (
        ("protocol", Load(1), (3.0, ("epoll_ctl",), 1.0)),
        ("two-writes", Load(1), (3.0, ("epoll_ctl",), 1.0)),
        # A task makes the loop look at the kernel when some time has passed; strace makes it pass.
        ("streams", Load(1, framing="line"), (4.0, ("epoll_ctl",), 1.0)),
        ("sock", Load(1), (4.0, (), 1.0)),
    )
    for name in (SUBJECT, BASELINE, "asyncio")
)


@dataclass(frozen=True)
class LoopWork:
    """Work inside one process: a function of benchmarks/loops, how much of it at once."""

    title: str
    work: str
    count: int
    target: float  # operations/s, uvloop = 1


LOOP_WORK: dict[str, tuple[LoopWork, ...]] = {
    "loop-scheduling": (
        LoopWork("call_soon chain", "scheduling:call_soon_chain", 20_000, target=5.5),
        LoopWork("500,000 call_soon at once", "scheduling:call_soon_at_once", 500_000, target=5),
        LoopWork("200,000 call_later, all due", "scheduling:call_later_due", 200_000, target=3.3),
        LoopWork("call_later, cancel", "scheduling:call_later_cancel", 20_000, target=9),
        LoopWork("sleep(0)", "scheduling:sleep_zero", 10_000, target=2.7),
        LoopWork("gather of 100 tasks", "scheduling:gather", 5_000, target=1.3),
        LoopWork("future set by call_soon", "scheduling:future", 10_000, target=2.5),
        LoopWork("call_soon_threadsafe", "scheduling:call_soon_threadsafe", 20_000, target=2.2),
        LoopWork("run_in_executor", "scheduling:run_in_executor", 2_000, target=1.2),
    ),
    "loop-network": (
        LoopWork("connect, accept, close (streams)", "networking:connect_and_close", 200, 1.2),
        LoopWork("64 KiB writes (streams)", "networking:bulk_writes", 500, target=3),
        LoopWork("getaddrinfo of a literal", "networking:getaddrinfo_literal", 500, target=11),
    ),
    # Most of the time is OpenSSL's, the same for all: the targets are the best peer's and more.
    "loop-tls": (
        LoopWork("TLS echo, 1 KiB, 10 connections", "tls:echo", 5_000, target=1.46),
        LoopWork("TLS, 16 MiB there and back (streams)", "tls:bulk", 1, target=1.2),
        LoopWork("TLS handshakes", "tls:handshakes", 100, target=1.1),
    ),
    "loop-children": (
        LoopWork("start /bin/true, wait", "children:processes", 50, target=3.5),
        LoopWork("communicate with /bin/cat", "children:processes_with_pipes", 50, target=2),
        LoopWork("100 bytes through two pipes", "children:pipe_echo", 5_000, target=1),
    ),
}

# One file over loopback, against a loop of sendfile(2).
FILE_SIZE = 1 << 30
FILE_STYLES = ("socket", "transport")
FILE_TARGET = 0.95


# Connections that have exchanged one message each and keep still, beside some that do not. The
# target is to be below uvloop in both.
CROWD_IDLE = 10_000
CROWD_LOAD = Load(100, framing="line")
CROWD_STYLES = ("protocol", "streams")
