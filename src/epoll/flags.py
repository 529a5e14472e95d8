"""The bits of event masks as an enumeration, for masks that explain themselves when printed."""

from __future__ import annotations

import enum

from . import _core

__all__ = ["Events"]


class Events(enum.IntFlag):
    """What to watch a descriptor for, and what is reported of it; see epoll_ctl(2).

    The members are ints and may be given wherever an event mask is wanted. What is reported
    is a plain int: wrap it to read it.

    >>> Events.IN | Events.ET
    <Events.IN|ET: 2147483649>
    >>> Events(16)
    <Events.HUP: 16>
    """

    IN = _core.EPOLLIN
    PRI = _core.EPOLLPRI
    OUT = _core.EPOLLOUT
    ERR = _core.EPOLLERR
    HUP = _core.EPOLLHUP
    RDNORM = _core.EPOLLRDNORM
    RDBAND = _core.EPOLLRDBAND
    WRNORM = _core.EPOLLWRNORM
    WRBAND = _core.EPOLLWRBAND
    MSG = _core.EPOLLMSG
    RDHUP = _core.EPOLLRDHUP
    EXCLUSIVE = _core.EPOLLEXCLUSIVE
    WAKEUP = _core.EPOLLWAKEUP
    ONESHOT = _core.EPOLLONESHOT
    ET = _core.EPOLLET
