"""Every callback of a datagram protocol does everything, with the same outcome as on asyncio."""

from __future__ import annotations

import functools
import sys
from asyncio.selector_events import _SelectorDatagramTransport  # type: ignore[attr-defined]
from collections.abc import Callable
from typing import Any

import pytest

from tests.epoll.datagrams import DatagramRecorder, endpoint, full, inet_peers
from tests.epoll.twins import LOOPS, Loop, finish, turn, turn_until

SETTLED = 6

#: The first releases of 3.13 add the header of a queued datagram, and never take it off again.
MISCOUNTS = sys.version_info >= (3, 13) and not hasattr(_SelectorDatagramTransport, "_header_size")

#: asyncio tells the end twice when a transport ends in resume_writing(): the second time, which has
#: the exception, it fails at a protocol that it has let go.
ENDS = ("close", "abort", "close and abort", "fatal error")


class Actor(DatagramRecorder):
    """Does what is to be done in one of its callbacks, once."""

    def __init__(self, loop: Loop, callback: str, action: str) -> None:
        super().__init__()
        self.loop = loop
        self.callback = callback
        self.action = action
        self.target: Any = None

    def note(self, *event: Any) -> None:  # noqa: ANN401
        super().note(*event)
        if event[0] == self.callback and self.action:
            action, self.action = self.action, ""
            self.events.append(("action", action))
            ACTIONS[action](self)


def replace_protocol(actor: Actor) -> None:
    successor = DatagramRecorder()
    successor.events = actor.events
    successor.transport = actor.transport
    successor.note("replaced")
    actor.transport.set_protocol(successor)


def pause_and_resume(actor: Actor) -> None:
    actor.transport.pause_reading()
    actor.loop.call_soon(actor.transport.resume_reading)


def fail(actor: Actor) -> None:
    raise LookupError("of a test")


ACTIONS: dict[str, Callable[[Actor], object]] = {
    "close": lambda actor: actor.transport.close(),
    "abort": lambda actor: actor.transport.abort(),
    "close and abort": lambda actor: (actor.transport.close(), actor.transport.abort()),
    "fatal error": lambda actor: actor.transport._fatal_error(OSError("of a test"), "test"),
    "sendto": lambda actor: actor.transport.sendto(b"sent inside", actor.target),
    "send too much": lambda actor: actor.transport.sendto(b"x" * 300_000, actor.target),
    "set_protocol": replace_protocol,
    "pause and resume": pause_and_resume,
    "set limits": lambda actor: actor.transport.set_write_buffer_limits(0),
    "schedule": lambda actor: actor.loop.call_soon(actor.note, "scheduled"),
    "raise": fail,
}


def received(peer: Any) -> list[bytes]:  # noqa: ANN401
    peer.setblocking(False)
    taken = []
    try:
        while True:
            taken.append(peer.recv(1 << 18)[:20])
    except BlockingIOError:
        return taken


def play_receiving(loop: Loop, actor: Actor) -> list[bytes]:
    """The callbacks made, data and error."""
    with inet_peers() as (ours, peer):
        ours.connect(peer.getsockname())
        fd = ours.getsockname()
        with endpoint(loop, actor, sock=ours):
            peer.sendto(b"one", fd)
            turn(loop, 2)
            peer.sendto(b"two", fd)
            turn(loop, SETTLED)
            taken = received(peer)
            peer.close()
            if not actor.transport.is_closing():
                actor.transport.sendto(b"refused")
            turn(loop, SETTLED)
            actor.transport.close()
            turn(loop, SETTLED)
    return taken


def play_sending(loop: Loop, actor: Actor) -> list[bytes]:
    """The callbacks pause, resume and lost."""
    with full(loop, actor) as (transport, peer, _):
        transport.set_write_buffer_limits(high=200, low=100)
        transport.sendto(b"x" * 300)
        turn(loop)
        taken = received(peer)
        for _ in range(SETTLED):
            turn(loop)
            taken += received(peer)
        if not transport.is_closing():
            turn_until(loop, lambda: ("resume",) in actor.events or transport.is_closing())
        transport.close()
        turn(loop, SETTLED)
        taken += received(peer)
    return taken


def play(make_loop: Callable[[], Loop], callback: str, action: str) -> list[Any]:
    loop = make_loop()
    actor = Actor(loop, callback, action)
    reports = []
    loop.set_exception_handler(
        lambda _, context: reports.append(type(context.get("exception")).__name__)
    )
    scene = play_receiving if callback in ("made", "data", "error") else play_sending
    try:
        taken = scene(loop, actor)
    finally:
        finish(loop)
    return [*actor.events, ("reports", sorted(reports)), ("taken", taken)]


@functools.cache
def expected(callback: str, action: str) -> list[Any]:
    return play(LOOPS["asyncio"], callback, action)


@pytest.mark.parametrize("kind", LOOPS)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("callback", ["made", "data", "error", "pause", "resume", "lost"])
def test_action_in_callback(kind: str, callback: str, action: str) -> None:
    if MISCOUNTS and action == "set limits":
        pytest.skip("this asyncio counts what is not queued any more")
    trace = play(LOOPS[kind], callback, action)
    assert ("action", action) in trace, "the callback was not called"
    assert sum(1 for event in trace if event[0] == "lost") == 1
    if callback == "resume" and action in ENDS:
        assert kind == "asyncio" or ("reports", []) in trace
    else:
        assert trace == expected(callback, action)
