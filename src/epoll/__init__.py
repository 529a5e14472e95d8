"""Linux epoll: the system calls, a class, a selector and native servers; see epoll(7)."""

from __future__ import annotations

try:
    from . import _core
except ImportError as failure:
    raise ImportError(
        "epoll._core, the compiled half of this package, cannot be imported "
        f"({failure}). Install the package: `pip install pyepoll`, or, in a source tree, "
        "`pip install .` with the interpreter that is to use it; `import epoll` must not find "
        "the folder src/epoll itself."
    ) from failure

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
