"""The beginning of a TLS connection, on asyncio and on both of our ways."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any

import pytest

import epoll
from tests.epoll.tls import (
    Peer,
    certificates,
    client_context,
    connected,
    server_context,
    start_transport,
)
from tests.epoll.twins import Loop, Recorder, Reports, reset, run, tcp_pair, turn, turn_until

SIDES = pytest.mark.parametrize("server_side", [True, False], ids=["server", "client"])


def shake(
    loop: Loop, ours: ssl.SSLContext, theirs: ssl.SSLContext, *, server_side: bool = True
) -> tuple[BaseException | None, BaseException | None, Recorder]:
    """Shake hands; answer what our side and the peer have failed with, and our protocol."""
    protocol = Recorder()
    our_socket, peer_socket = tcp_pair()
    failures: list[BaseException] = []
    with peer_socket:
        peer = Peer(peer_socket, theirs, server_side=not server_side)
        task = start_transport(loop, protocol, our_socket, ours, server_side=server_side)

        def is_over() -> bool:
            try:
                if not failures:
                    peer.step()
            except OSError as failure:
                failures.append(failure)
                peer_socket.close()
            return task.done() and bool(failures or peer.is_shaken or peer.has_ended)

        turn_until(loop, is_over)
        failure = task.exception()
        if failure is None:
            task.result().abort()
        turn(loop, 4)
    return failure, failures[0] if failures else None, protocol


@SIDES
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_what_is_known_after_the_handshake(tls_loop: Loop, server_side: bool, version: str) -> None:
    ours = server_context() if server_side else client_context()
    ours.maximum_version = ours.minimum_version = ssl.TLSVersion[version]
    protocol = Recorder()
    with connected(tls_loop, protocol, server_side=server_side, ours=ours) as (transport, peer):
        known = transport.get_extra_info
        assert known("sslcontext") is ours
        assert isinstance(known("ssl_object"), ssl.SSLObject)
        assert known("ssl_object").version() == peer.object.version()
        assert known("cipher") == known("ssl_object").cipher()
        assert known("cipher")[0] == peer.object.cipher()[0]
        assert known("compression") is None
        assert known("peername") == peer.sock.getsockname()
        assert known("sockname") == peer.sock.getpeername()
        assert known("socket").fileno() > 0
        assert known("nothing", "like that") == "like that"
        peercert = known("peercert")
        if server_side:
            assert peercert is None
        else:
            assert peercert["subject"] == ((("commonName", "localhost"),),)
            assert known("peercert") is peercert
        assert isinstance(transport, asyncio.Transport)
        assert "SSL" in type(transport).__name__
        assert protocol.events == [("made",)]


def test_what_is_known_after_the_end(tls_loop: Loop) -> None:
    with connected(tls_loop, Recorder()) as (transport, _):
        transport.abort()
        turn(tls_loop, 4)
        assert transport.get_extra_info("cipher") is not None
        assert transport.get_extra_info("sslcontext") is not None
        assert transport.get_extra_info("peername") is None
        assert transport.get_protocol() is None
        assert transport.is_closing()


def verifying(name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client that expects localhost, and a server with another certificate."""
    return client_context(), server_context(name)


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("other.test", 62, "Hostname mismatch, certificate is not valid for 'localhost'."),
        ("expired", 10, "certificate has expired"),
    ],
)
def test_client_refuses_a_certificate(tls_loop: Loop, name: str, code: int, text: str) -> None:
    ours, theirs = verifying(name)
    failure, _, protocol = shake(tls_loop, ours, theirs, server_side=False)
    assert type(failure) is ssl.SSLCertVerificationError
    assert (failure.verify_code, failure.verify_message) == (code, text)
    assert (failure.library, failure.reason) == ("SSL", "CERTIFICATE_VERIFY_FAILED")
    assert failure.args[1].startswith("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed:")
    assert protocol.events == []


def test_unknown_authority(tls_loop: Loop) -> None:
    failure, _, _ = shake(
        tls_loop, ssl.create_default_context(), server_context(), server_side=False
    )
    assert isinstance(failure, ssl.SSLCertVerificationError)
    assert failure.verify_code == 20


def test_our_refusal_is_told_to_the_peer(tls_loop: Loop) -> None:
    ours, theirs = verifying("expired")
    _, peers, _ = shake(tls_loop, ours, theirs, server_side=False)
    if isinstance(tls_loop, epoll.EventLoop):  # asyncio does not send the alert
        assert isinstance(peers, ssl.SSLError)
        assert "ALERT_CERTIFICATE_EXPIRED" in peers.reason


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_server_wants_a_certificate(tls_loop: Loop, version: str) -> None:
    ours = server_context()
    ours.verify_mode = ssl.CERT_REQUIRED
    ours.load_verify_locations(certificates().path("ca"))
    ours.maximum_version = ours.minimum_version = ssl.TLSVersion[version]
    failure, _, protocol = shake(tls_loop, ours, client_context())
    assert isinstance(failure, ssl.SSLError)
    assert failure.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert protocol.events == []
    theirs = client_context()
    theirs.load_cert_chain(certificates().path("client"))
    with connected(tls_loop, Recorder(), ours=ours, theirs=theirs) as (transport, _):
        peercert = transport.get_extra_info("peercert")
        assert peercert["subject"] == ((("commonName", "client"),),)


def test_sni_callback_chooses_a_context(tls_loop: Loop) -> None:
    names: list[str | None] = []
    ours, other = server_context("other.test"), server_context()

    def choose(ssl_object: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        names.append(name)
        ssl_object.context = other

    ours.sni_callback = choose
    with connected(tls_loop, Recorder(), ours=ours) as (transport, _):
        assert names == ["localhost"]
        assert transport.get_extra_info("sslcontext") is ours


def test_sni_callback_may_refuse(tls_loop: Loop) -> None:
    ours = server_context()
    ours.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    failure, _, protocol = shake(tls_loop, ours, client_context())
    assert isinstance(failure, ssl.SSLError)
    assert failure.reason == "CALLBACK_FAILED"
    assert protocol.events == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_sni_callback_that_raises(tls_loop: Loop) -> None:
    ours = server_context()
    ours.sni_callback = lambda *_: 1 // 0  # type: ignore[assignment, return-value]
    failure, _, protocol = shake(tls_loop, ours, client_context())
    assert isinstance(failure, ssl.SSLError)
    assert failure.reason == "CALLBACK_FAILED"
    assert protocol.events == []


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [(["h2", "http/1.1"], ["http/1.1"], "http/1.1"), (["h2"], [], None), ([], ["h2"], None)],
)
def test_alpn(tls_loop: Loop, ours: list[str], theirs: list[str], chosen: str | None) -> None:
    of_server, of_client = server_context(), client_context()
    for context, names in ((of_server, ours), (of_client, theirs)):
        if names:
            context.set_alpn_protocols(names)
    seen = []

    class Protocol(Recorder):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401
            super().connection_made(transport)
            seen.append(transport.get_extra_info("ssl_object").selected_alpn_protocol())

    with connected(tls_loop, Protocol(), ours=of_server, theirs=of_client) as (_, peer):
        assert seen == [chosen]
        assert peer.object.selected_alpn_protocol() == chosen


def test_a_session_is_resumed(tls_loop: Loop) -> None:
    ours, theirs = server_context(), client_context()
    protocol = Recorder()
    with connected(tls_loop, protocol, ours=ours, theirs=theirs) as (transport, peer):
        transport.write(b"x")
        peer.until(tls_loop, lambda: peer.received)  # the tickets have come before it
        assert not transport.get_extra_info("ssl_object").session_reused
        session = peer.object.session
    our_socket, peer_socket = tcp_pair()
    with peer_socket:
        again = Peer(peer_socket, theirs, server_side=False, session=session)
        task = start_transport(tls_loop, Recorder(), our_socket, ours, server_side=True)
        again.until(tls_loop, lambda: task.done() and again.is_shaken)
        assert again.object.session_reused
        assert task.result().get_extra_info("ssl_object").session_reused
        task.result().abort()
        turn(tls_loop, 4)


@SIDES
def test_handshake_timeout(tls_loop: Loop, server_side: bool) -> None:
    our_socket, peer = tcp_pair()
    context = server_context() if server_side else client_context()
    protocol = Recorder()
    with peer:
        task = start_transport(
            tls_loop, protocol, our_socket, context,
            server_side=server_side, ssl_handshake_timeout=0.02,
        )  # fmt: skip
        with pytest.raises(
            ConnectionAbortedError,
            match=r"^SSL handshake is taking longer than 0.02 seconds: aborting the connection$",
        ):
            run(tls_loop, task)
        turn(tls_loop, 4)
    assert protocol.events == []


@pytest.mark.parametrize("option", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("seconds", [0, -1])
def test_timeouts_are_positive(tls_loop: Loop, option: str, seconds: int) -> None:
    our_socket, peer = tcp_pair()
    with peer, our_socket:
        task = start_transport(
            tls_loop, Recorder(), our_socket, server_context(),
            server_side=True, **{option: seconds},
        )  # fmt: skip
        with pytest.raises(
            ValueError, match=f"{option} should be a positive number, got {seconds}"
        ):
            run(tls_loop, task)


@SIDES
def test_peer_leaves_in_the_handshake(tls_loop: Loop, server_side: bool) -> None:
    our_socket, peer = tcp_pair()
    context = server_context() if server_side else client_context()
    task = start_transport(tls_loop, Recorder(), our_socket, context, server_side=server_side)
    turn(tls_loop, 3)
    peer.close()
    with pytest.raises(ConnectionResetError):
        run(tls_loop, task)


def test_peer_resets_in_the_handshake(tls_loop: Loop) -> None:
    our_socket, peer = tcp_pair()
    task = start_transport(tls_loop, Recorder(), our_socket, server_context(), server_side=True)
    turn(tls_loop, 3)
    reset(peer)
    with pytest.raises(ConnectionResetError):
        run(tls_loop, task)


def test_peer_does_not_speak_tls(tls_loop: Loop) -> None:
    our_socket, peer = tcp_pair()
    protocol = Recorder()
    with peer:
        peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        task = start_transport(tls_loop, protocol, our_socket, server_context(), server_side=True)
        with pytest.raises(ssl.SSLError) as caught:
            run(tls_loop, task)
        turn(tls_loop, 4)
    assert (caught.value.library, caught.value.reason) == ("SSL", "HTTP_REQUEST")
    assert protocol.events == []


@SIDES
def test_cancelled_handshake(tls_loop: Loop, server_side: bool) -> None:
    our_socket, peer = tcp_pair()
    context = server_context() if server_side else client_context()
    protocol = Recorder()
    with peer:
        task = start_transport(tls_loop, protocol, our_socket, context, server_side=server_side)
        turn(tls_loop, 3)
        task.cancel()
        turn_until(tls_loop, task.done)
        assert task.cancelled()
        turn(tls_loop, 4)
        peer.settimeout(10)
        while peer.recv(1000):
            pass
    assert protocol.events == []


class Verifying(ssl.SSLObject):
    """Judges the peer after the handshake, as packages do that ask the system's authorities."""

    def do_handshake(self) -> None:
        super().do_handshake()
        raise ssl.SSLCertVerificationError("the system does not know it")


def test_an_ssl_object_of_a_subclass_has_its_say(tls_loop: Loop) -> None:
    ours = client_context()
    ours.sslobject_class = Verifying
    failure, _, protocol = shake(tls_loop, ours, server_context(), server_side=False)
    assert isinstance(failure, ssl.SSLCertVerificationError)
    assert "the system does not know it" in str(failure)
    assert protocol.events == []


def test_handshake_that_fails_with_something_else(tls_loop: Loop, reports: Reports) -> None:
    class Failing(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            raise LookupError

    ours = client_context()
    ours.sslobject_class = Failing
    failure, _, protocol = shake(tls_loop, ours, server_context(), server_side=False)
    assert isinstance(failure, LookupError)
    assert protocol.events == []
    assert reports.take_one().summary == (
        "LookupError",
        "Fatal error: protocol.buffer_updated",
    )


def test_steps_are_logged_in_debug_mode(tls_loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    tls_loop.set_debug(True)
    with caplog.at_level(logging.DEBUG, "asyncio"), connected(tls_loop, Recorder()) as (_, peer):
        peer.sock.shutdown(socket.SHUT_WR)
        turn_until(tls_loop, lambda: "received EOF" in caplog.text)
    texts = "\n".join(record.getMessage() for record in caplog.records)
    for part in ("starts SSL handshake", "SSL handshake took", "received EOF"):
        assert part in texts
