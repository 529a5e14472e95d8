"""A selector on epoll whose select() is compiled; see the selectors module."""

from __future__ import annotations

import contextlib
import selectors
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _core

if TYPE_CHECKING:
    from typing import Protocol

    class _HasFileno(Protocol):
        """An object with a descriptor."""

        def fileno(self) -> int: ...

    _FileObject: TypeAlias = int | _HasFileno

__all__ = ["EpollSelector"]

_BOTH = selectors.EVENT_READ | selectors.EVENT_WRITE


def _descriptor(fileobj: _FileObject) -> int:
    """Return the descriptor of a file object, or raise the ValueError of the selectors module."""
    if isinstance(fileobj, int):
        fd = fileobj
    else:
        try:
            fd = int(fileobj.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


class _KeysByFile(Mapping["_FileObject", selectors.SelectorKey]):
    """The live view that get_map() returns: from descriptors, or file objects, to keys."""

    def __init__(self, selector: EpollSelector) -> None:
        self._selector = selector

    def __len__(self) -> int:
        return len(self._selector._keys)

    def __getitem__(self, fileobj: _FileObject) -> selectors.SelectorKey:
        key = self._selector._find(fileobj)
        if key is None:
            raise KeyError(f"{fileobj!r} is not registered")
        return key

    def get(self, fileobj: _FileObject, default: Any = None) -> Any:  # noqa: ANN401
        return self._selector._find(fileobj) or default

    def __iter__(self) -> Iterator[_FileObject]:
        return iter(self._selector._keys)


class EpollSelector(_core.SelectorBase, selectors.BaseSelector):
    """A drop-in for selectors.EpollSelector, and for the selector of an asyncio event loop.

    select() costs no Python code and, for a descriptor whose state repeats, no new object.
    Timeouts are exact to the nanosecond where the kernel has epoll_pwait2(2) (Linux 5.11), where
    selectors.EpollSelector rounds up to milliseconds.

    register() and modify() take three more options, each off unless it is given:

    exclusive
        EPOLLEXCLUSIVE: of several epoll instances that watch the same file, not all wake up.
    one_shot
        EPOLLONESHOT: reported once, then not again until modify() is called.
    edge_triggered
        EPOLLET: reported when the state changes, not as long as it lasts.

    Threads: select() may run in one thread while another one registers or closes; two threads
    must not register at a time. close() wakes a thread in select(), with ValueError.
    After os.fork() the child shares the epoll instance with its parent: it should open its own.

        asyncio.SelectorEventLoop(epoll.EpollSelector())
    """

    def __init__(self) -> None:
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._map: _KeysByFile | None = _KeysByFile(self)

    def register(
        self,
        fileobj: _FileObject,
        events: int,
        data: object = None,
        *,
        exclusive: bool = False,
        one_shot: bool = False,
        edge_triggered: bool = False,
    ) -> selectors.SelectorKey:
        """Watch a file object for EVENT_READ, EVENT_WRITE or both, and return its key.

        Raises:
            ValueError: for events or a file object that are none, and when closed.
            KeyError: when the file object is registered already.
            OSError: from epoll_ctl(2), for example PermissionError for a regular file.
        """
        mask = _kernel_mask(events, exclusive, one_shot, edge_triggered)
        fd = self._descriptor_of(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self._add(fd, mask, key)
        self._keys[fd] = key
        return key

    def unregister(self, fileobj: _FileObject) -> selectors.SelectorKey:
        """Stop watching a file object, which may be closed already, and return its last key.

        Raises:
            KeyError: when it is not registered.
            ValueError: for a file object that is none.
        """
        key = self._registered(fileobj)
        self._forget(key.fd)
        return key

    def modify(
        self,
        fileobj: _FileObject,
        events: int,
        data: object = None,
        *,
        exclusive: bool = False,
        one_shot: bool = False,
        edge_triggered: bool = False,
    ) -> selectors.SelectorKey:
        """Change events, data and options of a registered file object, and return its key.

        Options that are left out are off afterwards. With one_shot the file object is reported
        again. The kernel cannot modify an exclusive registration, so that one is removed and
        added: when adding fails, as when changing does, the file object is not registered any more.

        Raises:
            KeyError: when it is not registered.
            ValueError: for events or a file object that are none, and when closed.
            OSError: from epoll_ctl(2).
        """
        old = self._registered(fileobj)
        mask = _kernel_mask(events, exclusive, one_shot, edge_triggered)
        key = old._replace(events=events, data=data)
        try:
            self._change(old.fd, mask, key)
        except BaseException:
            self._forget(old.fd)
            raise
        self._keys[old.fd] = key
        return key

    def get_map(self) -> Mapping[_FileObject, selectors.SelectorKey] | None:  # type: ignore[override]
        """Return a live, read-only mapping of descriptors to keys; None when closed.

        A file object finds its key as well.
        """
        return self._map

    def close(self) -> None:
        """Close the epoll instance; closing again does nothing."""
        super().close()
        self._keys.clear()
        self._map = None

    def _registered(self, fileobj: _FileObject) -> selectors.SelectorKey:
        key = self._keys.get(self._descriptor_of(fileobj))
        if key is None:
            raise KeyError(f"{fileobj!r} is not registered")
        return key

    def _find(self, fileobj: _FileObject) -> selectors.SelectorKey | None:
        try:
            return self._keys.get(self._descriptor_of(fileobj))
        except ValueError:
            return None

    def _descriptor_of(self, fileobj: _FileObject) -> int:
        """As _descriptor, but a registered file object is found even after it was closed."""
        try:
            return _descriptor(fileobj)
        except ValueError:
            for key in self._keys.values():
                if key.fileobj is fileobj:
                    return key.fd
            raise

    def _forget(self, fd: int) -> None:
        del self._keys[fd]
        with contextlib.suppress(OSError):  # when it was closed, the kernel forgot it as well
            self._remove(fd)


def _kernel_mask(events: int, exclusive: bool, one_shot: bool, edge_triggered: bool) -> int:
    if not events or events & ~_BOTH:
        raise ValueError(f"Invalid events: {events!r}")
    mask = 0
    if events & selectors.EVENT_READ:
        mask |= _core.EPOLLIN
    if events & selectors.EVENT_WRITE:
        mask |= _core.EPOLLOUT
    if exclusive:
        mask |= _core.EPOLLEXCLUSIVE
    if one_shot:
        mask |= _core.EPOLLONESHOT
    if edge_triggered:
        mask |= _core.EPOLLET
    return mask
