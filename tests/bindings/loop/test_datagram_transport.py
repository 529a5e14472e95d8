"""What is our transport of datagrams' own: its type, its descriptor, what it adds to asyncio's."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import warnings
import weakref
from pathlib import Path

import pytest

from epoll._loop import DatagramTransport
from epoll._loop_support import datagram_address
from tests.epoll.datagrams import DatagramRecorder, bound, endpoint, inet_peers, take_all
from tests.epoll.twins import Loop, run, turn, turn_until

UDP_SEGMENT, UDP_GRO = 103, 104


def test_it_is_a_transport_that_cannot_be_made_by_hand() -> None:
    assert issubclass(DatagramTransport, asyncio.DatagramTransport)
    assert issubclass(DatagramTransport, asyncio.Transport)  # as asyncio's own
    with pytest.raises(TypeError):
        DatagramTransport()


def test_attributes_weak_references_and_cycles(ours: Loop) -> None:
    protocol = DatagramRecorder()
    with endpoint(ours, protocol, local_addr=("127.0.0.1", 0)) as transport:
        assert type(transport) is DatagramTransport
        transport.mark = transport
        gone = weakref.ref(transport)
    del transport, protocol.transport
    gc.collect()
    assert gone() is None


def test_an_open_transport_lives_without_references(ours: Loop) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (sock, peer):
        transport, _ = run(ours, ours.create_datagram_endpoint(lambda: protocol, sock=sock))
        protocol.transport = None
        alive = weakref.ref(transport)
        del transport
        gc.collect()
        peer.sendto(b"x", sock.getsockname())
        turn_until(ours, lambda: protocol.received)
        alive().abort()  # type: ignore[union-attr]
        turn(ours, 2)


def test_sockets_of_other_families_and_classes_have_asyncio_s_transport(ours: Loop) -> None:
    class Other(socket.socket):
        pass

    with endpoint(
        ours, DatagramRecorder(), sock=Other(socket.AF_INET, socket.SOCK_DGRAM)
    ) as transport:
        assert not isinstance(transport, DatagramTransport)


def test_a_second_transport_of_a_socket_is_refused(ours: Loop) -> None:
    with (
        inet_peers() as (sock, _),
        endpoint(ours, DatagramRecorder(), sock=sock),
        pytest.raises(RuntimeError, match="is used by transport"),
    ):
        run(ours, ours.create_datagram_endpoint(DatagramRecorder, sock=sock))


def test_a_protocol_without_connection_made_leaves_the_socket_alone(ours: Loop) -> None:
    with inet_peers() as (sock, peer):
        with pytest.raises(AttributeError, match="connection_made"):
            run(ours, ours.create_datagram_endpoint(object, sock=sock))
        gc.collect()
        peer.sendto(b"x", sock.getsockname())
        ours.add_reader(sock, print)
        assert ours.remove_reader(sock)
        sock.setblocking(True)
        assert sock.recv(10) == b"x"


def test_a_close_by_the_program_waits_for_the_transport(ours: Loop) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (sock, peer), endpoint(ours, protocol, sock=sock) as transport:
        name, fd = sock.getsockname(), sock.fileno()
        sock.close()
        peer.sendto(b"x", name)
        turn_until(ours, lambda: protocol.received)
        transport.close()
        turn(ours, 2)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_a_socket_pair_needs_no_address(ours: Loop) -> None:
    protocol = DatagramRecorder()
    sock, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with peer, endpoint(ours, protocol, sock=sock) as transport:
        transport.sendto(b"x")
        assert peer.recv(10) == b"x"
        peer.send(b"y")
        turn_until(ours, lambda: protocol.received)
        assert protocol.addr is None


def test_sendto_after_the_end_is_dropped(ours: Loop) -> None:
    with inet_peers() as (sock, peer), endpoint(ours, DatagramRecorder(), sock=sock) as transport:
        name = peer.getsockname()
        transport.close()
        turn(ours, 2)
        transport.sendto(b"x", name)
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(10)


def test_a_turn_delivers_a_batch(ours: Loop) -> None:
    protocol = DatagramRecorder()
    with inet_peers() as (sock, peer), endpoint(ours, protocol, sock=sock):
        for _ in range(40):
            peer.sendto(b"x", sock.getsockname())
        turn(ours)
        assert len(protocol.received) == 32
        turn(ours)
        assert len(protocol.received) == 40


def test_names_are_looked_up_as_sendto_does() -> None:
    """For a name while other datagrams wait, which UDP over loopback never makes them do."""
    with bound(socket.AF_INET, ("127.0.0.1", 0)) as sock:
        assert datagram_address(sock, ("localhost", 9)) == ("127.0.0.1", 9)
        assert datagram_address(sock, ("", 9)) == ("0.0.0.0", 9)
        assert datagram_address(sock, ("<broadcast>", 9)) == ("255.255.255.255", 9)
        for wrong in (None, 5, ("localhost",)):
            with pytest.raises((TypeError, ValueError)):
                datagram_address(sock, wrong)
    with bound(socket.AF_INET6, ("::1", 0)) as sock:
        assert datagram_address(sock, ("", 9, 1, 2)) == ("::", 9, 1, 2)
        assert datagram_address(sock, ("::1", 9)) == ("::1", 9, 0, 0)


@pytest.mark.parametrize("address", ["x" * 200, b"y" * 200, None, 5])
def test_a_wrong_address_while_others_wait(
    ours: Loop,
    tmp_path: Path,
    address: object,
) -> None:
    ours.set_exception_handler(lambda _, context: None)
    protocol = DatagramRecorder()
    path = str(tmp_path / "peer")
    with bound(socket.AF_UNIX, path) as peer:
        with endpoint(
            ours, protocol, local_addr=str(tmp_path / "ours"), family=socket.AF_UNIX
        ) as transport:
            while transport.get_write_buffer_size() == 0:
                transport.sendto(b"x", path)
            transport.sendto(b"x", address)
            turn(ours, 2)
            assert protocol.events[1][0] in ("error", "lost")
        assert peer.recv(10) == b"x"


def test_the_queue_of_a_peer_that_does_not_read_does_not_spin(ours: Loop, tmp_path: Path) -> None:
    protocol = DatagramRecorder()
    path = str(tmp_path / "peer")
    with (
        bound(socket.AF_UNIX, path) as peer,
        endpoint(
            ours, protocol, local_addr=str(tmp_path / "ours"), family=socket.AF_UNIX
        ) as transport,
    ):
        sent = 0
        while transport.get_write_buffer_size() == 0:
            transport.sendto(b"%d" % sent, path)
            sent += 1
        assert take_all(ours, peer, sent)[-1] == b"%d" % (sent - 1)


def test_merged_and_cut_by_the_kernel(ours: Loop) -> None:
    """UDP_SEGMENT and UDP_GRO, set by the program in connection_made()."""

    class Setting(DatagramRecorder):
        def __init__(self, option: int, value: int) -> None:
            super().__init__()
            self.option = option, value

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            sock = transport.get_extra_info("socket")
            try:
                sock.setsockopt(socket.IPPROTO_UDP, *self.option)
            except OSError:
                self.note("error")

    receiver, sender = Setting(UDP_GRO, 1), Setting(UDP_SEGMENT, 1000)
    with (
        endpoint(ours, receiver, local_addr=("127.0.0.1", 0)) as ours_end,
        endpoint(ours, sender, remote_addr=ours_end.get_extra_info("sockname")) as transport,
    ):
        if ("error",) in receiver.events + sender.events:
            pytest.skip("this kernel has no segmentation of UDP")
        transport.sendto(b"a" * 1000 + b"b" * 1000 + b"c" * 500)
        turn_until(ours, lambda: len(receiver.received) == 3)
        assert receiver.received == [b"a" * 1000, b"b" * 1000, b"c" * 500]


def test_a_closed_loop_leaves_the_transport_without_a_use(ours: Loop) -> None:
    transport, protocol = run(
        ours, ours.create_datagram_endpoint(DatagramRecorder, local_addr=("127.0.0.1", 0))
    )
    ours.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.abort()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.sendto(b"x", ("127.0.0.1", 9))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del transport
        protocol.transport = None
        gc.collect()
    assert [str(entry.message).partition(" <")[0] for entry in caught] == ["unclosed transport"]
