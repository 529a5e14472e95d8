"""The registry of the ladder: which servers the shared suite tests, and what does not apply to one.

A further server is one more line in RUNGS. It must listen on ``--port 0``, print
``listening on HOST:PORT``, and end with code 0 on SIGTERM.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tests.servers.dialects import Dialect, Echo, Http


class Behaviour(enum.Enum):
    """What the shared suite asks of a server."""

    SEVERAL = "answers several clients that are connected at the same time"
    ONE_BY_ONE = "answers client after client, whoever came and left before"
    PARTIAL = "puts a message together that arrives byte by byte"
    SLOW_READER = "answers others while a client does not read, and loses nothing of its answer"
    HALF_CLOSE = "answers a client that has finished sending, then closes"
    RESET = "survives a client that resets its connection"
    MEBIBYTE = "copes with a message of one MiB"
    SILENT = "answers others while a client is connected and never sends"
    HUNDRED = "answers a hundred clients that come at once"
    DESCRIPTORS = "survives having no free descriptor, and then serves those who waited"
    QUIET_LOOP = "makes no turns of its loop when nothing happens"


@dataclass(frozen=True)
class Rung:
    """One server and what is to be known of it."""

    name: str
    command: tuple[str, ...]  #: what follows ``python -m``
    dialect: Dialect
    exempt: Mapping[Behaviour, str] = field(default_factory=dict)  #: not asked of it, and why
    turns: str = r"^(?s:.*)turns: (\d+)"  #: how it prints the turns of its loop when it ends
    send_buffer: bool = True  #: its sockets are made by Python, so launcher.py can shrink them


def ladder(name: str, *options: str) -> tuple[str, ...]:
    return f"epoll.servers.{name}", *options


def native(target: str, dialect: Dialect, exempt: Mapping[Behaviour, str] | None = None) -> Rung:
    return Rung(
        f"serve_{target}",
        ("epoll", "serve", target),
        dialect,
        exempt or {},
        turns=r" turns=(\d+)",
        send_buffer=False,
    )


_one_at_a_time = {
    Behaviour.SEVERAL: "it talks with one client at a time; the others wait in the queue",
    Behaviour.SLOW_READER: "it waits in sendall for the client that does not read",
    Behaviour.SILENT: "it waits in recv for the client that never sends",
    Behaviour.DESCRIPTORS: "it never has more than one client open",
    Behaviour.QUIET_LOOP: "it has no loop over events; it sleeps inside its calls",
}
_only_once = {
    **_one_at_a_time,
    Behaviour.ONE_BY_ONE: "it ends after the first client",
    Behaviour.RESET: "it ends with its only client, however that one left",
    Behaviour.HUNDRED: "it ends after the first client",
}
_always_turning = {
    Behaviour.QUIET_LOOP: "its loop turns all the time; that is what it teaches",
}

_small_answers = {
    Behaviour.SLOW_READER: "its answer is always the same, and fits every socket's buffer",
}

RUNGS = (
    Rung("blocking", ladder("blocking"), Echo(), _one_at_a_time),
    Rung("busy_loop", ladder("busy_loop", "--pause", "0.001"), Echo(), _always_turning),
    Rung("with_select", ladder("with_select"), Echo()),
    Rung("with_poll", ladder("with_poll"), Echo()),
    Rung("with_epoll", ladder("with_epoll"), Echo()),
    Rung("http_blocking_once", ladder("http_blocking_once"), Http(), _only_once),
    Rung("http_blocking", ladder("http_blocking"), Http(), _one_at_a_time),
    Rung("level_triggered", ladder("level_triggered"), Http()),
    Rung("edge_triggered", ladder("edge_triggered"), Http()),
    Rung("one_shot", ladder("one_shot"), Http()),
    Rung("corked", ladder("corked"), Http()),
    Rung("no_delay", ladder("no_delay"), Http()),
    native("echo", Echo()),
    native("hello", Http(), _small_answers),
)


def asked_of(behaviour: Behaviour, *, small_send_buffer: bool = False) -> pytest.MarkDecorator:
    """Return the parametrisation ``rung`` over all to which a behaviour applies."""
    rungs = [
        rung
        for rung in RUNGS
        if behaviour not in rung.exempt and (rung.send_buffer or not small_send_buffer)
    ]
    return pytest.mark.parametrize("rung", rungs, ids=lambda rung: rung.name)
