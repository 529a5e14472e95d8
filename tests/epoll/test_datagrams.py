"""Transports of datagrams: what is sent and received, over IP and Unix sockets."""

from __future__ import annotations

import contextvars
import os
import socket
from typing import Any

import pytest

from tests.epoll.datagrams import (
    PEERS,
    SENDS_EMPTY,
    DatagramRecorder,
    Peers,
    bound,
    endpoint,
    full,
    inet_peers,
    take_all,
)
from tests.epoll.twins import Loop, Reports, run, turn, turn_until


@pytest.fixture(params=list(PEERS))
def peers(request: pytest.FixtureRequest) -> Peers:
    return PEERS[request.param]


def free_port() -> int:
    """A port of UDP on which nobody listens, as far as one can know."""
    with bound(socket.AF_INET, ("127.0.0.1", 0)) as gone:
        port: int = gone.getsockname()[1]
        return port


def test_datagrams_arrive_with_their_sender(loop: Loop, peers: Peers) -> None:
    protocol = DatagramRecorder()
    with peers() as (ours, peer), endpoint(loop, protocol, sock=ours):
        for data in (b"one", b"", b"x" * 60_000):
            peer.sendto(data, ours.getsockname())
        turn_until(loop, lambda: len(protocol.received) == 3)
        assert protocol.events[:3] == [("made",), ("data", b"one"), ("data", b"")]
        assert protocol.received[2] == b"x" * 60_000
        assert protocol.addr == peer.getsockname()
        assert type(protocol.addr) is type(peer.getsockname())


def test_sendto_and_the_answer(loop: Loop, peers: Peers) -> None:
    protocol = DatagramRecorder()
    with peers() as (ours, peer), endpoint(loop, protocol, sock=ours) as transport:
        address = ours.getsockname()
        for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"a view")[2:]):
            assert transport.sendto(data, peer.getsockname()) is None
            received, sender = peer.recvfrom(100)
            assert (received, sender) == (bytes(data), address)
        peer.sendto(b"to learn the address", address)
        turn_until(loop, lambda: protocol.received)
        transport.sendto(data=b"answer", addr=protocol.addr)
        assert peer.recv(100) == b"answer"
        assert transport.get_write_buffer_size() == 0


def test_an_unnamed_sender_is_none(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with PEERS["unix"]() as (ours, _), endpoint(loop, protocol, sock=ours):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
            nameless.sendto(b"x", ours.getsockname())
        turn_until(loop, lambda: protocol.received)
        assert protocol.addr is None


def test_the_scope_of_an_ipv6_address(loop: Loop) -> None:
    protocol = DatagramRecorder()
    index = next((index for index, name in socket.if_nameindex() if name == "lo"), 1)
    with PEERS["inet6"]() as (ours, peer), endpoint(loop, protocol, sock=ours) as transport:
        transport.sendto(b"x", ("::1", peer.getsockname()[1], 0, index))
        data, sender = peer.recvfrom(10)
        peer.sendto(data, sender)
        turn_until(loop, lambda: protocol.received)
        assert protocol.addr == peer.getsockname()
        assert len(protocol.addr) == 4


def test_an_empty_datagram(loop: Loop) -> None:
    with inet_peers() as (ours, peer), endpoint(loop, DatagramRecorder(), sock=ours) as transport:
        transport.sendto(b"", peer.getsockname())
        transport.sendto(b"mark", peer.getsockname())
        assert peer.recv(10) == (b"" if SENDS_EMPTY else b"mark")


def test_local_and_remote_address(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with bound(socket.AF_INET, ("127.0.0.1", 0)) as peer:
        remote = peer.getsockname()
        options: dict[str, Any] = {"local_addr": ("127.0.0.1", 0), "remote_addr": remote}
        with endpoint(loop, protocol, **options) as transport:
            assert transport.get_extra_info("peername") == remote
            assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
            for address in (None, remote, tuple(list(remote))):
                transport.sendto(b"x", address)
                assert peer.recv(10) == b"x"
            with pytest.raises(
                ValueError, match=r"Invalid address: must be None or \('127"
            ) as info:
                transport.sendto(b"x", ("127.0.0.1", 1))
            assert str(info.value) == f"Invalid address: must be None or {remote}"
            assert protocol.events == [("made",)]


def test_a_connected_socket_of_ones_own_heeds_no_address(loop: Loop) -> None:
    with inet_peers() as (ours, peer):
        ours.connect(peer.getsockname())
        with endpoint(loop, DatagramRecorder(), sock=ours) as transport:
            transport.sendto(b"x", ("127.0.0.1", 1))
            assert peer.recv(10) == b"x"


def test_remote_address_with_broadcast_is_not_connected(loop: Loop) -> None:
    with bound(socket.AF_INET, ("127.0.0.1", 0)) as peer:
        options = {"remote_addr": peer.getsockname(), "allow_broadcast": True}
        with endpoint(loop, DatagramRecorder(), **options) as transport:
            assert transport.get_extra_info("peername") is None
            assert transport.get_extra_info("socket").getsockopt(
                socket.SOL_SOCKET, socket.SO_BROADCAST
            )
            transport.sendto(b"x")
            assert peer.recv(10) == b"x"
            with pytest.raises(ValueError, match="Invalid address"):
                transport.sendto(b"x", ("127.0.0.1", 1))


def test_unix_addresses_by_family(loop: Loop, tmp_path: Any) -> None:  # noqa: ANN401
    first, second = DatagramRecorder(), DatagramRecorder()
    path = str(tmp_path / "socket")
    with (
        endpoint(loop, first, local_addr=path, family=socket.AF_UNIX),
        endpoint(
            loop,
            second,
            local_addr=path + "2",
            remote_addr=path,
            family=socket.AF_UNIX,
        ) as transport,
    ):
        transport.sendto(b"hello")
        turn_until(loop, lambda: first.received)
        assert first.addr == path + "2"


def test_reuse_port(loop: Loop) -> None:
    with (
        endpoint(loop, DatagramRecorder(), local_addr=("127.0.0.1", 0), reuse_port=True) as first,
        endpoint(
            loop,
            DatagramRecorder(),
            local_addr=first.get_extra_info("sockname"),
            reuse_port=True,
        ) as second,
    ):
        assert second.get_extra_info("sockname") == first.get_extra_info("sockname")


def test_a_name_is_looked_up(loop: Loop) -> None:
    with inet_peers() as (ours, peer), endpoint(loop, DatagramRecorder(), sock=ours) as transport:
        transport.sendto(b"x", ("localhost", peer.getsockname()[1]))
        assert peer.recv(10) == b"x"


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"]])
def test_data_of_a_wrong_type(loop: Loop, data: object) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (ours, peer), endpoint(loop, protocol, sock=ours) as transport:
        with pytest.raises(TypeError) as info:
            transport.sendto(data, peer.getsockname())
        kind = type(data).__name__
        assert str(info.value) == f"data argument must be a bytes-like object, not {kind!r}"
        assert not transport.is_closing()


@pytest.mark.parametrize(
    "address", [None, 5, "text", ("127.0.0.1",), ("127.0.0.1", "1"), ("a", 1, 2)]
)
def test_an_address_of_a_wrong_type_ends_the_transport(
    loop: Loop, reports: Reports, address: object
) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (ours, _), endpoint(loop, protocol, sock=ours) as transport:
        transport.sendto(b"x", address)
        assert transport.is_closing()
        turn(loop)
        assert protocol.events == [("made",), ("lost", "TypeError")]
        report = reports.take_one()
        assert report["message"] == "Fatal write error on datagram transport"
        assert report["transport"] is transport
        assert report["protocol"] is protocol


def test_errors_of_sendto_are_told_inside(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (ours, peer), endpoint(loop, protocol, sock=ours) as transport:
        transport.sendto(b"x" * 70_000, peer.getsockname())
        assert protocol.events == [("made",), ("error", "OSError")]
        transport.sendto(b"x", ("255.255.255.255", 9))
        assert protocol.events[2:] == [("error", "PermissionError")]
        transport.sendto(b"x", peer.getsockname())
        assert peer.recv(10) == b"x"


def test_an_exception_of_error_received_leaves_sendto(loop: Loop) -> None:
    class Failing(DatagramRecorder):
        def error_received(self, exc: Exception) -> None:
            raise LookupError

    with inet_peers() as (ours, peer), endpoint(loop, Failing(), sock=ours) as transport:
        with pytest.raises(LookupError):
            transport.sendto(b"x" * 70_000, peer.getsockname())
        assert not transport.is_closing()


def test_nobody_is_there_any_more_over_unix(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with PEERS["unix"]() as (ours, peer), endpoint(loop, protocol, sock=ours) as transport:
        path = peer.getsockname()
        peer.close()
        transport.sendto(b"x", path)
        assert protocol.events == [("made",), ("error", "ConnectionRefusedError")]
        transport.sendto(b"x", path + "-never")
        assert protocol.events[2:] == [("error", "FileNotFoundError")]


def test_a_refused_datagram(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with endpoint(loop, protocol, remote_addr=("127.0.0.1", free_port())) as transport:
        transport.sendto(b"x")
        turn_until(loop, lambda: len(protocol.events) > 1)
        assert protocol.events == [("made",), ("error", "ConnectionRefusedError")]
        transport.sendto(b"x")
        transport.sendto(b"x")  # hears of the one before
        assert protocol.events[2:] == [("error", "ConnectionRefusedError")]
        assert not transport.is_closing()


@pytest.mark.parametrize("callback", ["datagram_received", "error_received"])
def test_an_exception_of_a_callback_is_reported(
    loop: Loop, reports: Reports, callback: str
) -> None:
    class Failing(DatagramRecorder):
        pass

    def fail(*_: object) -> None:
        raise LookupError

    setattr(Failing, callback, fail)
    protocol = Failing()
    with inet_peers() as (ours, peer):
        ours.connect(peer.getsockname())
        with endpoint(loop, protocol, sock=ours) as transport:
            if callback == "datagram_received":
                peer.sendto(b"x", ours.getsockname())
            else:
                peer.close()
                transport.sendto(b"x")
            turn_until(loop, lambda: reports)
            assert reports.take_one().summary[0] == "LookupError"
            assert not transport.is_closing()


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_what_leaves_the_loop_loses_no_datagram(loop: Loop, leaving: type[BaseException]) -> None:
    class Leaving(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
            super().datagram_received(data, addr)
            if data == b"1":
                raise leaving

    protocol = Leaving()
    with inet_peers() as (ours, peer), endpoint(loop, protocol, sock=ours):
        for number in range(4):
            peer.sendto(b"%d" % number, ours.getsockname())
        with pytest.raises(leaving):
            turn(loop, 10)
        assert protocol.received == [b"0", b"1"]
        turn_until(loop, lambda: len(protocol.received) == 4)
        assert protocol.received == [b"0", b"1", b"2", b"3"]


def test_pause_reading(loop: Loop) -> None:
    class Pausing(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
            super().datagram_received(data, addr)
            self.transport.pause_reading()

    protocol = Pausing()
    with inet_peers() as (ours, peer), endpoint(loop, protocol, sock=ours) as transport:
        assert transport.is_reading()
        for number in range(3):
            peer.sendto(b"%d" % number, ours.getsockname())
        turn_until(loop, lambda: protocol.received)
        turn(loop, 3)
        assert not transport.is_reading()
        assert protocol.received == [b"0"]
        for count in (2, 3):
            transport.resume_reading()
            turn_until(loop, lambda count=count: len(protocol.received) == count)
            turn(loop, 2)
        assert protocol.received == [b"0", b"1", b"2"]


def test_the_context_of_the_callbacks(loop: Loop) -> None:
    variable = contextvars.ContextVar("variable", default="nobody's")
    seen = []

    class Looking(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
            seen.append(variable.get())
            super().datagram_received(data, addr)

    async def make() -> Any:  # noqa: ANN401
        variable.set("the maker's")
        return await loop.create_datagram_endpoint(lambda: protocol, sock=ours)

    protocol = Looking()
    with inet_peers() as (ours, peer):
        transport, _ = run(loop, make())
        peer.sendto(b"x", ours.getsockname())
        turn_until(loop, lambda: protocol.received)
        transport.abort()
        turn(loop, 2)
    assert seen == ["the maker's"]


# Back-pressure


def test_what_the_kernel_does_not_take_is_queued(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with full(loop, protocol) as (transport, peer, sent):
        mutable = bytearray(b"mutable")
        transport.sendto(mutable)
        mutable[:] = b"changed"
        transport.sendto(memoryview(b"view"))
        each = 8 if SENDS_EMPTY else 0
        last = len(b"%d" % (sent - 1))
        assert transport.get_write_buffer_size() == last + 7 + 4 + 3 * each
        expected = [b"%d" % number for number in range(sent)] + [b"mutable", b"view"]
        assert take_all(loop, peer, len(expected)) == expected
    assert [event for event in protocol.events if event[0] == "error"] == []


def test_pause_writing_and_resume_writing(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with full(loop, protocol) as (transport, peer, sent):
        transport.set_write_buffer_limits(high=1000, low=500)
        assert transport.get_write_buffer_limits() == (500, 1000)
        transport.sendto(b"x" * 900)
        assert protocol.events == [("made",)]
        transport.sendto(b"x" * 200)
        transport.sendto(b"x" * 200)
        assert protocol.events == [("made",), ("pause",)]
        take_all(loop, peer, sent + 3)
        turn_until(loop, lambda: len(protocol.events) > 2)
        assert protocol.events == [("made",), ("pause",), ("resume",)]


def test_limits_that_are_set_later_pause_at_once(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with full(loop, protocol) as (transport, _, _):
        transport.set_write_buffer_limits(high=0)
        assert protocol.events == [("made",), ("pause",)]


@pytest.mark.parametrize("limits", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}])
def test_wrong_limits(loop: Loop, limits: dict[str, int]) -> None:
    with inet_peers() as (ours, _), endpoint(loop, DatagramRecorder(), sock=ours) as transport:
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(**limits)
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)


def test_an_error_of_a_queued_datagram(loop: Loop) -> None:
    protocol = DatagramRecorder()
    with full(loop, protocol) as (transport, peer, _):
        peer.close()
        turn_until(loop, lambda: len(protocol.events) > 1)
        assert protocol.events[1] == ("error", "ConnectionRefusedError")
        turn(loop, 3)
        assert protocol.events[2:] == []
        assert not transport.is_closing()


def test_an_endpoint_without_addresses(loop: Loop) -> None:
    with (
        endpoint(loop, DatagramRecorder(), family=socket.AF_INET) as transport,
        bound(socket.AF_INET, ("127.0.0.1", 0)) as peer,
    ):
        transport.sendto(b"x", peer.getsockname())
        assert peer.recv(10) == b"x"


def test_a_socket_of_another_kind_is_refused(loop: Loop) -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match=r"(?i)socket was expected"):
        run(loop, loop.create_datagram_endpoint(DatagramRecorder, sock=sock))


def test_a_class_derived_from_socket_is_heeded(loop: Loop) -> None:
    sent = []

    class Telling(socket.socket):
        def sendto(self, data: Any, *rest: Any) -> int:  # type: ignore[override]  # noqa: ANN401
            sent.append(bytes(data))
            return super().sendto(data, *rest)

    protocol = DatagramRecorder()
    with inet_peers() as (other, peer):
        ours = Telling(socket.AF_INET, socket.SOCK_DGRAM, fileno=os.dup(other.fileno()))
        with endpoint(loop, protocol, sock=ours) as transport:
            transport.sendto(b"x", peer.getsockname())
            assert sent == [b"x"]
            peer.sendto(b"y", ours.getsockname())
            turn_until(loop, lambda: protocol.received)


def test_many_peers(loop: Loop) -> None:
    class Echo(DatagramRecorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401
            self.note("data", data)
            self.transport.sendto(data, addr)

    protocol = Echo()
    with inet_peers() as (ours, _), endpoint(loop, protocol, sock=ours) as transport:
        address = transport.get_extra_info("sockname")
        clients = [bound(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(300)]
        for start in range(0, len(clients), 50):
            for number in range(start, start + 50):
                clients[number].sendto(b"%d" % number, address)
            turn_until(loop, lambda start=start: len(protocol.received) == start + 50)
        for number, client in enumerate(clients):
            assert client.recv(10) == b"%d" % number
            client.close()
