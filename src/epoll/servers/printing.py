"""A server that prints what it is told, on the four functions: create, ctl, wait, close.

This is the lowest level: epoll as the kernel offers it, with plain descriptor numbers. ``create``
returns a descriptor; ``ctl`` adds, changes and removes entries; ``wait`` returns pairs (descriptor,
events). There is no object that owns anything, so what was opened must be closed by hand, and an
entry is removed before its descriptor is closed.

The clients only send, so only EPOLLIN is ever wanted. A client that has closed is readable with
``b""``; one that was reset is readable with an error; both end it at once, so nothing can spin.

The bytes are text in UTF-8, and a read may end in the middle of a character: "П" is two bytes, and
TCP may deliver them one by one. So each client has a decoder that keeps the first byte until the
second has come. Bytes that are no UTF-8 are shown as U+FFFD.
"""

from __future__ import annotations

import codecs
import contextlib
import socket
import time

import epoll

from ._common import (
    READ_SIZE,
    REST_SECONDS,
    Log,
    OnListening,
    OnTurn,
    announce,
    command_line,
    nothing,
    open_listener,
    run,
    say,
    try_accept,
)

_new_decoder = codecs.getincrementaldecoder("utf-8")


def serve(
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    backlog: int = 128,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Print each connection, what it sends, and its end, until KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps until they are accepted.
        on_listening: called with host and real port; None prints them.
        on_turn: called at the start of each turn.
        log: gets the lines.

    Raises:
        OSError: the address cannot be listened on.
    """
    listener = open_listener(host, port, backlog)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(_Loop(listener, log)) as loop:
        announce(listener, on_listening)
        while True:
            on_turn()
            loop.turn()


class _Loop:
    def __init__(self, listener: socket.socket, log: Log) -> None:
        self._listener = listener
        self._log = log
        self._clients: dict[int, tuple[socket.socket, codecs.IncrementalDecoder]] = {}
        self._rest_until: float | None = None  # when accepting starts again
        self._epfd = epoll.create()
        epoll.ctl(self._epfd, listener.fileno(), epoll.EPOLL_CTL_ADD, epoll.EPOLLIN)

    def turn(self) -> None:
        """Wait until somebody has sent something, and print it."""
        timeout_ms = -1 if self._rest_until is None else int(REST_SECONDS * 1000)
        for fd, _ in epoll.wait(self._epfd, -1, timeout_ms):
            if fd == self._listener.fileno():
                self._accept()
            else:
                self._read(fd)
        if self._rest_until is not None and time.monotonic() >= self._rest_until:
            self._accept_again()

    def close(self) -> None:
        for client, _ in self._clients.values():
            client.close()
        self._listener.close()
        epoll.close(self._epfd)

    def _accept(self) -> None:
        try:
            accepted = try_accept(self._listener)
        except OSError as error:  # the listener stays readable: to want that now would spin
            self._log(f"Не удалось принять соединение: {error.strerror}")
            epoll.ctl(self._epfd, self._listener.fileno(), epoll.EPOLL_CTL_MOD, 0)
            self._rest_until = time.monotonic() + REST_SECONDS
            return
        if accepted is None:
            return
        client, address = accepted
        epoll.ctl(self._epfd, client.fileno(), epoll.EPOLL_CTL_ADD, epoll.EPOLLIN)
        self._clients[client.fileno()] = client, _new_decoder(errors="replace")
        self._log(f"Новое соединение: {address}")

    def _accept_again(self) -> None:
        if self._rest_until is not None:
            listener = self._listener.fileno()
            epoll.ctl(self._epfd, listener, epoll.EPOLL_CTL_MOD, epoll.EPOLLIN)
            self._rest_until = None

    def _read(self, fd: int) -> None:
        client, decoder = self._clients[fd]
        try:
            data = client.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:  # reset by peer
            data = b""
        if text := decoder.decode(data, final=not data):
            self._log(f"Получено: {text}")
        if not data:
            self._drop(fd)

    def _drop(self, fd: int) -> None:
        client, _ = self._clients.pop(fd)
        epoll.ctl(self._epfd, fd, epoll.EPOLL_CTL_DEL)
        client.close()
        self._accept_again()  # a descriptor is free again
        self._log("Закрываем соединение")


def main() -> int:
    """Run as a program."""
    return run(serve, command_line(__doc__, port=8000))


if __name__ == "__main__":
    raise SystemExit(main())
