"""What stands in our loop where asyncio's code expects a selector and a pair of sockets."""

from __future__ import annotations

import os
import selectors
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import FileDescriptorLike

__all__ = ["Reactor", "SignalPipe"]


class Reactor:
    """Stands where asyncio's loops have a selector; the real one is native."""

    def __init__(self, waited_for: Callable[[int], int]) -> None:
        self._waited_for = waited_for

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Return what a descriptor is waited for: asyncio's transports ask it for their repr().

        Raises KeyError when nobody waits for it.
        """
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        events = self._waited_for(fd)
        if not events:
            raise KeyError(f"{fileobj!r} is not registered")
        return selectors.SelectorKey(fileobj, fd, events, None)

    def close(self) -> None:
        """Do nothing: the loop closes its own reactor."""


class SignalPipe:
    """One end of the pipe that the numbers of signals go through; asyncio has a socket there.

    A socket takes less than three hundred of them, as each byte is a message in the kernel: of the
    next signals, whatever they are, nobody would hear. A pipe takes 65,536.
    """

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def recv(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd != -1:
            os.close(fd)

    __del__ = close
