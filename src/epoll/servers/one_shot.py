"""HTTP, step 5: EPOLLONESHOT: one event, then silence until the program asks again.

After an entry with EPOLLONESHOT has been reported once, the kernel switches it off: it is reported
no more, not even EPOLLERR and EPOLLHUP, which nothing else can mute. It is not removed. It stays
registered (``register`` would raise FileExistsError), and ``modify`` switches it on again, with
whatever is wanted next. If that is already true at this moment it is reported at once, so nothing
is lost between the event and the ``modify``.

What it is for: several threads waiting on one epoll. Between the report and the ``modify`` nobody
else is told of this client, so the thread that got the event has it for itself, without a lock.
With level-triggered or edge-triggered entries a second packet wakes a second thread for the same
client while the first is still busy with it. One thread is enough to show the order: get the
event, do the work, ask again.

Its price: one ``modify`` for each event. Its trap: a path through the program that forgets it
leaves a client that is never heard of again. Here there is one place, at the end of ``_advance``.

In exchange some cases of ``level_triggered`` disappear. Nothing can spin, because nothing is told
twice. When no descriptor is free, accepting rests by simply not asking again for a while.
"""

from __future__ import annotations

import contextlib
import socket
import time
from dataclasses import dataclass, field

from epoll import EPOLLIN, EPOLLONESHOT, EPOLLOUT, Epoll

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
        self._rest_until: float | None = None  # when accepting starts again
        self._epoll = Epoll()
        self._epoll.register(listener, EPOLLIN | EPOLLONESHOT)

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
        except OSError as error:  # not asked again now: it would be reported at once
            self._log(f"Cannot accept: {error.strerror}")
            self._rest_until = time.monotonic() + REST_SECONDS
            return
        if accepted is not None:
            client = _Client(*accepted)
            self._clients[client.connection.fileno()] = client
            self._epoll.register(client.connection, EPOLLIN | EPOLLONESHOT)
        self._epoll.modify(self._listener, EPOLLIN | EPOLLONESHOT)

    def _accept_again(self) -> None:
        if self._rest_until is not None:
            self._epoll.modify(self._listener, EPOLLIN | EPOLLONESHOT)
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
            client.phase = Phase.GONE
        if client.phase is Phase.GONE:
            self._drop(client)
        else:
            wanted = EPOLLOUT if client.phase is Phase.ANSWERING else EPOLLIN
            self._epoll.modify(client.connection, wanted | EPOLLONESHOT)

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
        self._accept_again()  # a descriptor is free again


def main() -> int:
    """Run as a program."""
    return run(serve, http_command_line(__doc__))


if __name__ == "__main__":
    raise SystemExit(main())
