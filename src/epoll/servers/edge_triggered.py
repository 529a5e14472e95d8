"""HTTP, step 4: epoll, edge-triggered: news is told once.

With EPOLLET ``poll`` does not report a state but a change: more bytes have come, room has become
free, a client has connected. It says so once. Two things follow.

* Nothing has to be switched off. A client is registered once, for reading and writing together,
  and ``modify`` is never called: the two system calls that ``level_triggered`` makes for every
  request (EPOLLIN to EPOLLOUT and back) are gone.
* Everything has to be taken. What is left after an event is not reported again, so ``accept``,
  ``recv`` and ``send`` are repeated until BlockingIOError: only after it will there be a new edge.
  Here ``_advance`` goes through the phases until something blocks. A loop that stops one byte
  earlier works in every test with small messages, and hangs under load.

To take everything from a client that sends without end would keep the others waiting. Here the
limits of the request's head and of what is discarded after it bound the work of one event.

The new trap is an event that was seen and could not be used. When no descriptor is free, ``accept``
fails, and the clients in the queue are old news: nobody will tell of them again. So the loop
remembers that it owes them an ``accept``, and makes it when a client has left or after a second.
(It does not spin meanwhile: that trap belongs to ``level_triggered``.)
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field

from epoll import EPOLLET, EPOLLIN, EPOLLOUT, Epoll

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
    pending: bytearray = field(default_factory=bytearray)  # of the answer, not yet sent
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
        self._rest_until: float | None = None  # when the owed accept is made
        self._epoll = Epoll()
        self._epoll.register(listener, EPOLLIN | EPOLLET)

    def turn(self) -> None:
        """Wait until somebody is ready and serve those who are."""
        timeout = None if self._rest_until is None else REST_SECONDS
        for fd, _ in self._epoll.poll(timeout):
            if fd == self._listener.fileno():
                self._accept()
            else:
                self._advance(self._clients[fd])
        if self._rest_until is not None and time.monotonic() >= self._rest_until:
            self._accept()

    def close(self) -> None:
        for client in self._clients.values():
            client.connection.close()
        self._listener.close()
        self._epoll.close()

    def _accept(self) -> None:
        self._rest_until = None
        try:
            while (accepted := try_accept(self._listener)) is not None:
                client = _Client(*accepted)
                self._clients[client.connection.fileno()] = client
                self._epoll.register(client.connection, EPOLLIN | EPOLLOUT | EPOLLET)
        except OSError as error:  # the edge is used up: nobody will tell again of those who wait
            self._log(f"Cannot accept: {error.strerror}")
            self._rest_until = time.monotonic() + REST_SECONDS

    def _advance(self, client: _Client) -> None:
        try:
            while client.phase is Phase.READING:
                self._read(client)
            while client.phase is Phase.ANSWERING:
                self._write(client)
            while client.phase is Phase.LEAVING:
                self._discard(client)
        except BlockingIOError:
            return  # all is taken: the next edge will be told
        except OSError as error:
            self._log(f"Lost {client.address}: {error.strerror}")
        self._drop(client)

    def _read(self, client: _Client) -> None:
        data = client.connection.recv(READ_SIZE)
        if not data:
            self._log(f"{client.address} left before its request was complete")
            client.phase = Phase.GONE
            return
        client.request += data
        answer = answer_to(client.request, self._body)
        if answer is not None:
            self._log("-" * 40 + "\n" + shown(client.request))
            client.pending += b"".join(answer)
            client.phase = Phase.ANSWERING

    def _write(self, client: _Client) -> None:
        sent = client.connection.send(client.pending)
        del client.pending[:sent]
        if not client.pending:
            client.connection.shutdown(socket.SHUT_WR)
            client.phase = Phase.LEAVING

    def _discard(self, client: _Client) -> None:
        data = client.connection.recv(READ_SIZE)
        client.discarded += len(data)
        if not data or client.discarded >= DISCARD_LIMIT:
            client.phase = Phase.GONE

    def _drop(self, client: _Client) -> None:
        fd = client.connection.fileno()
        self._epoll.unregister(fd)
        del self._clients[fd]
        client.connection.close()
        if self._rest_until is not None:
            self._accept()  # a descriptor is free again


def main() -> int:
    """Run as a program."""
    return run(serve, http_command_line(__doc__))


if __name__ == "__main__":
    raise SystemExit(main())
