"""Linux epoll: the system calls, a class, a selector and native servers; see epoll(7)."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

try:
    from ._core import (
        EPOLL_CLOEXEC,
        EPOLL_CTL_ADD,
        EPOLL_CTL_DEL,
        EPOLL_CTL_MOD,
        EPOLLERR,
        EPOLLET,
        EPOLLEXCLUSIVE,
        EPOLLHUP,
        EPOLLIN,
        EPOLLMSG,
        EPOLLONESHOT,
        EPOLLOUT,
        EPOLLPRI,
        EPOLLRDBAND,
        EPOLLRDHUP,
        EPOLLRDNORM,
        EPOLLWAKEUP,
        EPOLLWRBAND,
        EPOLLWRNORM,
        BusyPoll,
        Epoll,
        EventBatch,
        close,
        create,
        ctl,
        wait,
    )
except ImportError as _failure:
    raise ImportError(
        f"epoll._core, the compiled half of the package epoll, cannot be imported: {_failure}. "
        "Build it for this interpreter: `python -m pip install pyepoll`, or "
        "`python -m pip install .` in the source tree (and then do not run from src/)."
    ) from _failure
from .flags import Events
from .selector import EpollSelector

if TYPE_CHECKING:
    from .loop import EventLoop, new_event_loop
    from .metrics import prometheus_text, serve_metrics
    from .runner import EventLoopPolicy, install, run
    from .statistics import Durations, LoopStatistics
    from .threads import ThreadedServer, serve_threads
    from .watchdog import BlockedCallback, BlockingWatch

epoll = Epoll

# The event loop is imported at its first use, as it imports asyncio.
_LAZY = {
    "BlockedCallback": "watchdog",
    "BlockingWatch": "watchdog",
    "Durations": "statistics",
    "EventLoop": "loop",
    "LoopStatistics": "statistics",
    "ThreadedServer": "threads",
    "new_event_loop": "loop",
    "prometheus_text": "metrics",
    "run": "runner",
    "serve_metrics": "metrics",
    "serve_threads": "threads",
}
if sys.version_info < (3, 16):
    _LAZY |= {"EventLoopPolicy": "runner", "install": "runner"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "EPOLLERR",
    "EPOLLET",
    "EPOLLEXCLUSIVE",
    "EPOLLHUP",
    "EPOLLIN",
    "EPOLLMSG",
    "EPOLLONESHOT",
    "EPOLLOUT",
    "EPOLLPRI",
    "EPOLLRDBAND",
    "EPOLLRDHUP",
    "EPOLLRDNORM",
    "EPOLLWAKEUP",
    "EPOLLWRBAND",
    "EPOLLWRNORM",
    "EPOLL_CLOEXEC",
    "EPOLL_CTL_ADD",
    "EPOLL_CTL_DEL",
    "EPOLL_CTL_MOD",
    "BlockedCallback",
    "BlockingWatch",
    "BusyPoll",
    "Durations",
    "Epoll",
    "EpollSelector",
    "EventBatch",
    "EventLoop",
    "Events",
    "LoopStatistics",
    "ThreadedServer",
    "close",
    "create",
    "ctl",
    "epoll",
    "new_event_loop",
    "prometheus_text",
    "run",
    "serve_metrics",
    "serve_threads",
    "wait",
]
if sys.version_info < (3, 16):
    __all__ += ["EventLoopPolicy", "install"]
