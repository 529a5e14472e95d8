"""HTTP, step 7: TCP_NODELAY: everything leaves at once.

Nagle's algorithm, on by default, keeps a small segment back while an earlier one is not yet
acknowledged, in the hope that more bytes will come and fill it. The other side, also by default,
keeps its acknowledgement back for up to 40 ms, in the hope of sending it together with an answer.
A program that writes a head and then a body meets both: the body waits for the acknowledgement of
the head, which waits for the client to say something, which waits for the body.

TCP_NODELAY switches the first of the two off: every ``send`` leaves now, however small. That is
right for everything interactive (a key press, a move, a call and its answer) and costs packets
where small writes follow each other. Where the writes are known to belong together, join them in
one ``send`` (``level_triggered``) or use ``corked``.

It is set on the listening socket: on Linux the accepted ones inherit it, which saves one system
call for each client.

The loop is that of ``level_triggered``; only ``_read`` and ``_write`` differ, since head and body
are given to ``send`` one by one. This answer is followed by ``shutdown``, and the end of a
connection also pushes out what Nagle holds; it is on connections that stay open that the option
saves the 40 ms.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field

from epoll import EPOLLIN, EPOLLOUT, Epoll

from ._common import (
    READ_SIZE,
    REST_SECONDS,
    Address,
    Log,
    OnListening,
    OnTurn,
    announce,
    http_command_line,
    nothing,
    open_listener,
    run,
    say,
    shown,
    try_accept,
)
from ._hello import BODY, DISCARD_LIMIT, Phase, answer_to


@dataclass(slots=True, eq=False)
class _Client:
    connection: socket.socket
    address: Address
    phase: Phase = Phase.READING
    request: bytearray = field(default_factory=bytearray)
    pending: list[bytearray] = field(default_factory=list)  # parts of the answer, not yet sent
    discarded: int = 0  # bytes that came after the request


def serve(
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    backlog: int = 128,
    body: bytes = BODY,
    on_listening: OnListening | None = None,
    on_turn: OnTurn = nothing,
    log: Log = say,
) -> None:
    """Answer HTTP requests with "Hello, world!", many at a time, until KeyboardInterrupt.

    Args:
        host: the address to listen on.
        port: the port; 0 takes any free one.
        backlog: connections the kernel keeps until they are accepted.
        body: what the answer says.
        on_listening: called with host and real port; None prints them.
        on_turn: called at the start of each turn.
        log: gets the requests.

    Raises:
        OSError: the address cannot be listened on.
    """
    listener = open_listener(host, port, backlog)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(_Loop(listener, body, log)) as loop,
    ):
        announce(listener, on_listening)
        while True:
            on_turn()
            loop.turn()


class _Loop:
    def __init__(self, listener: socket.socket, body: bytes, log: Log) -> None:
        self._listener = listener
        self._body = body
        self._log = log
        self._clients: dict[int, _Client] = {}
        self._rest_until: float | None = None  # when accepting starts again
        self._epoll = Epoll()
        self._epoll.register(listener, EPOLLIN)

    def turn(self) -> None:
        """Wait until somebody is ready and serve those who are."""
        timeout = None if self._rest_until is None else REST_SECONDS
        for fd, _ in self._epoll.poll(timeout):
            if fd == self._listener.fileno():
                self._accept()
            else:
                self._advance(self._clients[fd])
        if self._rest_until is not None and time.monotonic() >= self._rest_until:
            self._accept_again()

    def close(self) -> None:
        for client in self._clients.values():
            client.connection.close()
        self._listener.close()
        self._epoll.close()

    def _accept(self) -> None:
        try:
            accepted = try_accept(self._listener)
        except OSError as error:  # the listener stays readable: to want that now would spin
            self._log(f"Cannot accept: {error.strerror}")
            self._epoll.modify(self._listener, 0)
            self._rest_until = time.monotonic() + REST_SECONDS
            return
        if accepted is None:
            return
        client = _Client(*accepted)
        self._clients[client.connection.fileno()] = client
        self._epoll.register(client.connection, EPOLLIN)

    def _accept_again(self) -> None:
        if self._rest_until is not None:
            self._epoll.modify(self._listener, EPOLLIN)
            self._rest_until = None

    def _advance(self, client: _Client) -> None:
        try:
            match client.phase:
                case Phase.READING:
                    self._read(client)
                case Phase.ANSWERING:
                    self._write(client)
                case Phase.LEAVING:
                    self._discard(client)
        except BlockingIOError:
            pass  # epoll may be mistaken: what made the socket ready has gone since
        except OSError as error:
            self._log(f"Lost {client.address}: {error.strerror}")
            self._drop(client)

    def _read(self, client: _Client) -> None:
        data = client.connection.recv(READ_SIZE)
        if not data:
            self._log(f"{client.address} left before its request was complete")
            self._drop(client)
            return
        client.request += data
        answer = answer_to(client.request, self._body)
        if answer is not None:
            self._log("-" * 40 + "\n" + shown(client.request))
            client.pending += map(bytearray, answer)
            client.phase = Phase.ANSWERING
            self._epoll.modify(client.connection, EPOLLOUT)

    def _write(self, client: _Client) -> None:
        while client.pending:
            part = client.pending[0]
            sent = client.connection.send(part)
            if sent < len(part):
                del part[:sent]
                return
            del client.pending[0]
        client.connection.shutdown(socket.SHUT_WR)
        client.phase = Phase.LEAVING
        self._epoll.modify(client.connection, EPOLLIN)

    def _discard(self, client: _Client) -> None:
        data = client.connection.recv(READ_SIZE)
        client.discarded += len(data)
        if not data or client.discarded >= DISCARD_LIMIT:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        fd = client.connection.fileno()
        self._epoll.unregister(fd)
        del self._clients[fd]
        client.connection.close()
        self._accept_again()  # a descriptor is free again


def main() -> int:
    """Run as a program."""
    return run(serve, http_command_line(__doc__))


if __name__ == "__main__":
    raise SystemExit(main())
