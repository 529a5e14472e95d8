"""Linux epoll: the system calls, a class, a selector and native servers; see epoll(7)."""

from __future__ import annotations

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

epoll = Epoll

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
    "Events",
    "close",
    "create",
    "ctl",
    "epoll",
    "wait",
]
