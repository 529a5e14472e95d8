"""A scene in which one callback does one thing, and the trace of what comes of it.

Everything is over Unix socket pairs, whose kernel side is synchronous, so that a trace depends on
the loop alone. Two things of a trace are no promise of a loop and are left out of it: in how many
pieces a stream arrives (see Recorder), and how much of what was written before an abort the kernel
had taken already (the trace only tells whether it was all).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable
from typing import Any

from tests.epoll.twins import BufferedRecorder, Loop, Recorder, turn

BIG = bytes(range(256)) * 400

#: In 3.12 and 3.13 writelines() of asyncio does not pause, fails after close() and sends after the
#: loss. Before and since it is as a write() of all the pieces, and so it is taken for one there.
HAS_SOUND_WRITELINES = not (3, 12) <= sys.version_info < (3, 14)

SETTLED = 4  # turns in which nothing happens


class Stop(Exception):
    """What a callback raises here."""


class Scene:
    """A connection, another one, a watched descriptor, a handle and a timer, ready all at once."""

    def __init__(self, loop: Loop, callback: str, action: str) -> None:
        self.loop = loop
        self.callback = callback
        self.action = action
        self.trace: list[Any] = []
        self.written = b""
        self.received = b""
        self.pairs = contextlib.ExitStack()
        self.transport: Any = None
        self.other: Any = None
        self.handles: list[asyncio.Handle] = []
        self.is_draining = False
        loop.set_exception_handler(self.note_report)

    def note_report(self, _: Loop, context: dict[str, Any]) -> None:
        message = context["message"]
        if message.startswith("Exception in callback"):
            message = "Exception in callback"  # its name is the loop's own
        self.trace.append(("report", message, type(context.get("exception")).__name__))

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """The end of the loop and the end of the scene, with little room in between."""
        ours, peer = socket.socketpair()
        for end in (ours, peer):
            self.pairs.callback(end.close)
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return ours, peer

    def act(self, callback: str) -> None:
        """Called by every callback: do what is to be done, once."""
        if callback != self.callback or not self.action:
            return
        action, self.action = self.action, ""
        self.trace.append(("action", action))
        try:
            ACTIONS[action](self)
        except Stop:
            raise
        except Exception as failure:
            self.trace.append(("refused", type(failure).__name__))

    def write(self, data: bytes) -> None:
        self.written += data
        self.transport.write(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.written += b"".join(pieces)
        if HAS_SOUND_WRITELINES or type(self.loop) is not asyncio.SelectorEventLoop:
            self.transport.writelines(pieces)
        else:
            self.transport.write(b"".join(pieces))

    async def connect(self) -> None:
        """Prepare all but the connection that it is about."""
        ours, self.other_peer = self.pair()
        other = Recorder("other", self.trace)
        self.other, _ = await self.loop.connect_accepted_socket(lambda: other, ours)
        self.watched, self.watched_peer = self.pair()
        self.loop.add_reader(self.watched, self.read)
        self.ours, self.peer = self.pair()
        self.protocol = ACTORS[self.callback](self)
        if self.callback != "connection_made":
            await self.loop.connect_accepted_socket(lambda: self.protocol, self.ours)

    def read(self) -> None:
        # asyncio may call a reader twice for one report when an exception has left the loop.
        with contextlib.suppress(BlockingIOError):
            self.trace.append(("watched", self.watched.recv(100)))
            self.act("reader")

    def set_off(self) -> None:
        """Make everything ready at once."""
        TRIGGERS[self.callback](self)
        self.other_peer.send(b"other")
        self.watched_peer.send(b"watched")
        self.handles.append(self.loop.call_soon(self.note_soon))
        self.handles.append(self.loop.call_later(0, self.note_timer))

    def note_soon(self) -> None:
        self.trace.append(("soon",))
        self.act("call_soon")

    def note_timer(self) -> None:
        self.trace.append(("timer",))
        self.act("timer")

    def write_ready(self) -> None:
        self.trace.append(("writer",))
        self.loop.remove_writer(self.watched)
        self.act("writer")

    def run(self) -> None:
        """One run of the loop; what leaves it is part of the trace."""
        try:
            turn(self.loop)
        except (KeyboardInterrupt, SystemExit) as failure:
            self.trace.append(("left", type(failure).__name__))

    def settle(self) -> None:
        """Run until nothing happens any more, and read what is sent."""
        quiet = 0
        while quiet < SETTLED:
            before = len(self.trace), len(self.received)
            self.run()
            self.receive()
            quiet = quiet + 1 if before == (len(self.trace), len(self.received)) else 0

    def receive(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while piece := self.peer.recv(1 << 20):
                self.received += piece

    def drain(self) -> None:
        """Receive in every turn of a run."""
        if self.is_draining:
            self.receive()
            self.loop.call_soon(self.drain)

    def is_ended(self) -> bool:
        """Tell whether the peer sees the end of the stream."""
        try:
            return self.peer.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def note_state(self) -> None:
        transport = self.transport
        self.trace.append(
            {
                "closing": transport.is_closing(),
                "reading": transport.is_reading(),
                "unsent": transport.get_write_buffer_size(),
                "other closing": self.other.is_closing(),
                "everything sent": self.received == self.written,
                "in order": self.written.startswith(self.received),
                "ended": self.is_ended(),
            }
        )

    def play(self) -> list[Any]:
        with self.pairs:
            self.loop.run_until_complete(self.connect())
            if self.callback == "connection_lost by reset":
                self.transport.write(b"never read")  # and so the kernel will answer by a reset
            self.loop.call_soon(self.set_off)
            if self.action == "stop":
                # Nobody else stops the loop, or the guard does, which the trace would show.
                guard = self.loop.call_later(2, self.stop_late)
                self.is_draining = True
                self.loop.call_soon(self.drain)
                self.loop.run_forever()
                guard.cancel()
                self.is_draining = False
                self.trace.append(("stopped",))
            self.settle()
            self.note_state()
            with contextlib.suppress(OSError):
                self.peer.send(b"more")
            self.settle()
            self.peer.close()
            self.peer, _ = self.pair()
            self.settle()
            self.note_state()
            for transport in (self.transport, self.other):
                transport.close()
            self.loop.remove_reader(self.watched)
            self.settle()
        return self.trace

    def stop_late(self) -> None:
        self.trace.append(("nobody has stopped the loop",))
        self.loop.stop()


class Actor(Recorder):
    """The protocol of the connection that it is about."""

    def __init__(self, scene: Scene) -> None:
        super().__init__("", scene.trace)
        self.scene = scene

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.scene.transport = transport
        super().connection_made(transport)
        self.scene.act("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.scene.act("data_received")

    def eof_received(self) -> object:
        super().eof_received()
        self.scene.act("eof_received")
        self.scene.act("eof_received and stay")
        return self.scene.callback == "eof_received and stay"

    def pause_writing(self) -> None:
        super().pause_writing()
        self.scene.act("pause_writing")

    def resume_writing(self) -> None:
        super().resume_writing()
        self.scene.act("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.scene.act("connection_lost")
        self.scene.act("connection_lost by reset")


class BufferedActor(Actor, BufferedRecorder):
    """As Actor, with a buffer of its own."""

    def get_buffer(self, sizehint: int) -> memoryview:
        self.scene.act("get_buffer")
        return super().get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.scene.act("buffer_updated")


def send(scene: Scene) -> None:
    scene.peer.send(b"data")


def connect(scene: Scene) -> None:
    coroutine = scene.loop.connect_accepted_socket(lambda: scene.protocol, scene.ours)
    scene.connecting = scene.loop.create_task(coroutine)


def end(scene: Scene) -> None:
    scene.peer.shutdown(socket.SHUT_WR)


def send_reset(scene: Scene) -> None:
    scene.peer.close()
    scene.peer, _ = scene.pair()


def watch_for_writing(scene: Scene) -> None:
    scene.loop.add_writer(scene.watched, scene.write_ready)


#: How each callback is brought about.
TRIGGERS: dict[str, Callable[[Scene], object]] = {
    "connection_made": connect,
    "data_received": send,
    "get_buffer": send,
    "buffer_updated": send,
    "eof_received": end,
    "eof_received and stay": end,
    "pause_writing": lambda scene: scene.write(BIG),
    "resume_writing": lambda scene: scene.write(BIG),
    "connection_lost": lambda scene: scene.transport.close(),
    "connection_lost by reset": send_reset,
    "reader": send,
    "writer": watch_for_writing,
    "timer": send,
    "call_soon": send,
}
ACTORS: dict[str, type[Actor]] = {
    callback: BufferedActor if "buffer" in callback else Actor for callback in TRIGGERS
}


def raise_it(kind: type[BaseException]) -> None:
    raise kind("as the test wishes")


def use_second_protocol(scene: Scene, kind: type[Recorder]) -> None:
    scene.transport.set_protocol(kind("second", scene.trace))


def in_turn(*steps: Callable[[Scene], object]) -> Callable[[Scene], object]:
    return lambda scene: [step(scene) for step in steps]


def act_on(method: str) -> Callable[[Scene], object]:
    return lambda scene: getattr(scene.transport, method)()


def write_small(scene: Scene) -> None:
    scene.write(b"small")


def write_large(scene: Scene) -> None:
    scene.write(BIG)


#: What a callback may do.
ACTIONS: dict[str, Callable[[Scene], object]] = {
    "close": act_on("close"),
    "abort": act_on("abort"),
    "close and abort": in_turn(act_on("close"), act_on("abort")),
    "pause_reading": act_on("pause_reading"),
    "resume_reading": act_on("resume_reading"),
    "pause and resume": in_turn(act_on("pause_reading"), act_on("resume_reading")),
    "write small": write_small,
    "write large": write_large,
    "writelines": lambda scene: scene.writelines([b"one", b"", BIG, b"two"]),
    "write_eof": act_on("write_eof"),
    "write small and close": in_turn(write_small, act_on("close")),
    "write large and close": in_turn(write_large, act_on("close")),
    "write large and abort": in_turn(write_large, act_on("abort")),
    "write small and abort": in_turn(write_small, act_on("abort")),
    "write small and write_eof": in_turn(write_small, act_on("write_eof")),
    "write large and write_eof": in_turn(write_large, act_on("write_eof")),
    "set_protocol plain": lambda scene: use_second_protocol(scene, Recorder),
    "set_protocol buffered": lambda scene: use_second_protocol(scene, BufferedRecorder),
    "close the other": lambda scene: scene.other.close(),
    "abort the other": lambda scene: scene.other.abort(),
    "remove the reader": lambda scene: scene.loop.remove_reader(scene.watched),
    "cancel the handles": lambda scene: [handle.cancel() for handle in scene.handles],
    "stop": lambda scene: scene.loop.stop(),
    "raise Exception": lambda scene: raise_it(Stop),
    "raise KeyboardInterrupt": lambda scene: raise_it(KeyboardInterrupt),
    "raise SystemExit": lambda scene: raise_it(SystemExit),
}


def play(make: Callable[[], Loop], callback: str, action: str) -> list[Any]:
    """Return the trace of a scene on a new loop."""
    loop = make()
    try:
        return Scene(loop, callback, action).play()
    finally:
        turn(loop, 2)
        loop.close()
