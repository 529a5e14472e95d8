"""Who blocks a loop, while it does: loop.watch_blocking()."""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
import traceback
import weakref
from asyncio.base_events import _format_handle  # type: ignore[attr-defined]
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType, TracebackType

    from .loop import EventLoop

__all__ = ["BlockedCallback", "BlockingWatch"]

logger = logging.getLogger("asyncio")

#: How often the watchdog looks while the threshold passes once.
_LOOKS = 4

#: How many calls of a stack are shown at most, the innermost ones.
_DEPTH = 200


@dataclass(frozen=True, slots=True)
class BlockedCallback:
    """A callback that has blocked a loop for longer than the threshold, and still did then."""

    duration: float
    """For how long at least it had been running, in seconds."""

    handle: str | None
    """The task or the handle, as debug mode shows it. None where the loop has called a protocol or
    a native callback; then the stack is what there is."""

    thread_id: int
    """The thread that runs the loop, as threading.get_ident() has it."""

    stack: traceback.StackSummary
    """Where it was, the oldest call first; without the lines of the loop itself."""

    def __str__(self) -> str:
        what = self.handle or "a callback of the loop"
        where = "".join(self.stack.format())
        return f"{what} has blocked the event loop for {self.duration:.3f} s, and is at:\n{where}"


class BlockingWatch:
    """What loop.watch_blocking() returns: a watchdog that works until stop() or `with` ends it."""

    def __init__(
        self,
        loop: EventLoop,
        threshold: float,
        report: Callable[[BlockedCallback], object] | None,
    ) -> None:
        if not threshold > 0:
            raise ValueError(f"the threshold must be more than 0 s, not {threshold}")
        self._report = report if report is not None else _log
        self._threshold = float(threshold)
        self._end = threading.Event()
        self._loop = weakref.ref(loop)
        # What the thread keeps does not keep the loop, nor this object.
        self._thread = threading.Thread(
            target=_watch,
            args=(self._loop, self._threshold, self._report, self._end),
            name=f"epoll watchdog of loop {id(loop):#x}",
            daemon=True,
        )
        self._thread.start()
        self._finalizer = weakref.finalize(loop, self._end.set)
        self._finalizer.atexit = False
        loop._add_watcher()

    @property
    def threshold(self) -> float:
        """What counts as blocking, in seconds."""
        return self._threshold

    def stop(self) -> None:
        """End the watchdog; nothing happens when it has ended. From any thread.

        No report begins after this has returned; inside a report it returns at once.
        """
        self._end.set()
        loop = self._loop()
        if self._finalizer.detach() is not None and loop is not None:  # only the first time
            loop._remove_watcher()
            loop._blocking_watches.discard(self)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> BlockingWatch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.stop()


def _watch(
    loop_of: weakref.ref[EventLoop],
    threshold: float,
    report: Callable[[BlockedCallback], object],
    end: threading.Event,
) -> None:
    """Look at the loop until `end`: whoever is there for longer than the threshold is reported."""
    present: int | None = None
    since = 0.0
    is_reported = False
    while not end.wait(threshold / _LOOKS):
        loop = loop_of()
        if loop is None:
            return
        progress = loop._progress()
        now = time.monotonic()
        if progress is None or progress != present:
            present, since, is_reported = progress, now, False
        elif now - since >= threshold and not is_reported:
            blocked = _look(loop, progress, now - since)
            if blocked is not None and not end.is_set():
                is_reported = True
                _tell(report, blocked)
        del loop


def _look(loop: EventLoop, progress: int, duration: float) -> BlockedCallback | None:
    """Take the stack; None when it is not that of the callback any more."""
    thread = loop._thread_id
    if thread is None:
        return None
    places = _places(sys._current_frames().get(thread))
    handle = loop._running_handle()
    if loop._progress() != progress:
        return None
    stack = traceback.StackSummary.from_list(
        [(code.co_filename, line, code.co_name, None) for code, line in places]
    )
    return BlockedCallback(
        duration=duration,
        handle=_describe(handle),
        thread_id=thread,
        stack=stack,
    )


def _places(frame: FrameType | None) -> list[tuple[CodeType, int]]:
    """Walk up to run_forever(); quickly, as the thread may go on meanwhile."""
    places: list[tuple[CodeType, int]] = []
    end = _end_of_stack()
    while frame is not None and frame.f_code is not end and len(places) < _DEPTH:
        places.append((frame.f_code, frame.f_lineno or frame.f_code.co_firstlineno))
        frame = frame.f_back
    places.reverse()
    return places


@functools.cache
def _end_of_stack() -> CodeType:
    from .loop import EventLoop

    return EventLoop.run_forever.__code__


def _describe(handle: object) -> str | None:
    if handle is None:
        return None
    try:
        return str(_format_handle(handle))
    except Exception as failure:  # a repr() of the program
        return f"<{type(handle).__name__}, whose repr() has raised {failure!r}>"


def _tell(report: Callable[[BlockedCallback], object], blocked: BlockedCallback) -> None:
    try:
        report(blocked)
    except Exception:
        logger.exception("The report of a blocked callback has raised")


def _log(blocked: BlockedCallback) -> None:
    logger.warning("%s", blocked)
