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
    from .runner import EventLoopPolicy, install, run

epoll = Epoll

# The event loop is imported at its first use, as it imports asyncio.
_LAZY = {"EventLoop": "loop", "new_event_loop": "loop", "run": "runner"}
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
    "BusyPoll",
    "Epoll",
    "EpollSelector",
    "EventBatch",
    "EventLoop",
    "Events",
    "close",
    "create",
    "ctl",
    "epoll",
    "new_event_loop",
    "run",
    "wait",
]
if sys.version_info < (3, 16):
    __all__ += ["EventLoopPolicy", "install"]
