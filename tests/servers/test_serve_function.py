"""``serve`` called as a function, and the TCP options that can only be seen from the inside."""

from __future__ import annotations

import contextlib
import importlib
import queue
import socket
import struct
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from epoll.servers import _common, no_delay
from tests.servers.dialects import Http, read_to_end
from tests.servers.rungs import RUNGS, Rung
from tests.servers.running import PATIENCE, RunningServer

LADDER = [rung for rung in RUNGS if rung.command[0].startswith("epoll.servers.")]
RETURNING = [rung for rung in LADDER if rung.name != "http_blocking_once"]
#: struct tcp_info of linux/tcp.h: where tcpi_data_segs_in is, a 32 bit number.
DATA_SEGMENTS_IN = 152


class Background:
    """Run ``serve`` of a module in a thread; leaving ends it by KeyboardInterrupt in a turn."""

    def __init__(self, module: ModuleType) -> None:
        self.turns = 0
        self.log: list[str] = []
        self._ending = False
        self._listening: queue.Queue[tuple[str, int]] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, args=[module.serve])

    def __enter__(self) -> tuple[str, int]:
        self._thread.start()
        self.address = self._listening.get(timeout=PATIENCE)
        return self.address

    def __exit__(self, *_: object) -> None:
        self._ending = True
        with socket.socket() as knock, contextlib.suppress(ConnectionError):
            knock.settimeout(PATIENCE)
            knock.connect(self.address)  # whatever it waits for: this ends the turn
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _serve(self, serve: Callable[..., None]) -> None:
        serve(
            "127.0.0.1",
            0,
            backlog=5,
            on_listening=lambda host, port: self._listening.put((host, port)),
            on_turn=self._on_turn,
            log=self.log.append,
        )

    def _on_turn(self) -> None:
        self.turns += 1
        if self._ending:
            raise KeyboardInterrupt


@pytest.mark.parametrize("rung", RETURNING, ids=lambda rung: rung.name)
def test_serve_tells_its_hooks_and_prints_nothing(
    rung: Rung, capfd: pytest.CaptureFixture[str]
) -> None:
    background = Background(importlib.import_module(rung.command[0]))
    with background as address, socket.create_connection(address, PATIENCE) as client:
        client.sendall(rung.dialect.question(1))
        rung.dialect.check_answer(client, rung.dialect.question(1))
        client.close()
    assert background.turns > 1
    assert background.log
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(background.address, PATIENCE)


def data_segments(server: RunningServer) -> int:
    """Ask a HTTP server and return in how many segments its answer came."""
    with server.connect() as client:
        client.sendall(Http().question(1))
        assert read_to_end(client)
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, DATA_SEGMENTS_IN + 4)
    return int(struct.unpack_from("I", info, DATA_SEGMENTS_IN)[0])


@pytest.mark.parametrize(
    ("name", "segments"), [("level_triggered", 1), ("corked", 1), ("no_delay", 2)]
)
def test_segments_of_an_answer(
    name: str, segments: int, start: Callable[..., RunningServer]
) -> None:
    assert data_segments(start(f"epoll.servers.{name}")) == segments


def test_no_delay_is_inherited_by_accepted_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[int] = []

    def recording_accept(
        listener: socket.socket,
    ) -> tuple[socket.socket, _common.Address] | None:
        accepted = _common.try_accept(listener)
        if accepted is not None:
            options.append(accepted[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return accepted

    monkeypatch.setattr(no_delay, "try_accept", recording_accept)
    with Background(no_delay) as address, socket.create_connection(address, PATIENCE) as client:
        client.sendall(Http().question(1))
        assert read_to_end(client)
    assert options[0] == 1


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 on its loopback interface")
    with _common.open_listener("::1", 0, 1) as listener:
        assert listener.family == socket.AF_INET6
