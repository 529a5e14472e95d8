"""What the tests of TLS share: certificates, loops, and a peer that is driven by hand."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import epoll
from tests.epoll import twins
from tests.epoll.openssl import enable_kernel_tls, is_in_reach
from tests.epoll.twins import Loop, Recorder, run, tcp_pair, turn, turn_until


class SslprotoLoop(epoll.EventLoop):
    """Ours, as it is where the interpreter's OpenSSL cannot be reached."""

    _native_tls = False


class KernelTlsLoop(epoll.EventLoop):
    """Ours, when each SSLContext has OP_ENABLE_KTLS."""

    def _make_tls_transport(self, protocol: Any, ssl_object: Any, *args: Any) -> Any:  # noqa: ANN401
        enable_kernel_tls(ssl_object)
        return super()._make_tls_transport(protocol, ssl_object, *args)


@functools.cache
def has_kernel_tls() -> bool:
    """Whether the kernel can encipher what a TCP socket sends.

    It loads modules for that, of which some test themselves: no test shall wait for them.
    """
    for cipher, size in ((51, 40), (52, 56), (54, 56)):  # AES_GCM_128, _256, CHACHA20_POLY1305
        ours, peer = tcp_pair()
        with ours, peer:
            try:
                ours.setsockopt(socket.IPPROTO_TCP, 31, b"tls")  # TCP_ULP
                keys = struct.pack("HH", 0x0303, cipher)
                ours.setsockopt(282, 1, keys.ljust(size, b"\0"))  # SOL_TLS, TLS_TX
            except FileNotFoundError:
                return False
    return True


def refuses_new_keys(loop: Loop) -> bool:
    """Whether a peer who asks for new keys ends the connection."""
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    takes_them = release >= (6, 14) and ssl.OPENSSL_VERSION_INFO >= (3, 2)
    return type(loop) is KernelTlsLoop and not takes_them


#: As twins.LOOPS. What our loop does for TLS has to be the same in all ways.
TLS_LOOPS: dict[str, Callable[[], Loop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "epoll": epoll.EventLoop,
    "epoll-sslproto": SslprotoLoop,
}
if is_in_reach() and has_kernel_tls():
    TLS_LOOPS["epoll-ktls"] = KernelTlsLoop

#: Those of TLS_LOOPS that write by OpenSSL and not by asyncio's sslproto.
NATIVE = (epoll.EventLoop, KernelTlsLoop) if is_in_reach() else ()

HOST = "127.0.0.1"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


class BufferedRecorder(twins.BufferedRecorder):
    """One that is told how many bytes have arrived, which may be none."""

    def get_buffer(self, sizehint: int) -> memoryview:
        assert sizehint >= 0
        return super().get_buffer(-1)


KINDS: dict[str, type[Recorder]] = {"plain": Recorder, "buffered": BufferedRecorder}


class Certificates:
    """An authority, and certificates of it in the folder: NAME.pem has certificate and key."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tls-")
        self.folder = Path(self._folder.name)
        authority = ("-x509", "-days", "30", "-keyout", "ca.key", "-out", "ca.pem")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl(self.folder, "req", *authority, *_NEW_KEY, *usage, "-subj", "/CN=test authority")
        self._issue("localhost", "30")
        self._issue("other.test", "30")
        self._issue("client", "30")
        self._issue("localhost", "0", name="expired")

    def _issue(self, host: str, days: str, name: str = "") -> None:
        name = name or host
        extensions = (f"subjectAltName=DNS:{host}", "authorityKeyIdentifier=keyid")
        Path(self.folder, "extensions").write_text("\n".join(extensions))
        request = ("-keyout", f"{name}.key", "-out", f"{name}.request", "-subj", f"/CN={host}")
        _openssl(self.folder, "req", *_NEW_KEY, *request)
        authority = (
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "extensions",
        )
        result = ("-days", days, "-in", f"{name}.request", "-out", f"{name}.crt")
        _openssl(self.folder, "x509", "-req", *authority, *result)
        parts = [Path(self.folder, f"{name}.{kind}").read_text() for kind in ("crt", "key")]
        Path(self.folder, f"{name}.pem").write_text("".join(parts))

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.pem"


@functools.cache
def certificates() -> Certificates:
    """Make them, once for each process."""
    return Certificates()


def server_context(name: str = "localhost") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates().path(name))
    return context


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates().path("ca")))


class Peer:
    """The other end of a connection: an SSLObject over a socket that never blocks.

    Nothing happens by itself: step() moves what there is between the two.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        session: ssl.SSLSession | None = None,
        server_hostname: str = "localhost",
    ) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else server_hostname,
            session=session,
        )
        self.received = b""
        self.has_notified = False  # close_notify has come
        self.has_ended = False  # the socket has
        self.is_shaken = False

    def step(self) -> None:
        """Send what is to be sent, take what has come, go on with the handshake."""
        self._take()
        if not self.is_shaken:
            with contextlib.suppress(ssl.SSLWantReadError):
                self.object.do_handshake()
                self.is_shaken = True
        if self.is_shaken and not self.has_notified:
            self._read()
        self.flush()

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while not self.has_ended:
                data = self.sock.recv(1 << 18)
                self.incoming.write(data)
                self.has_ended = not data

    def _read(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            with contextlib.suppress(ssl.SSLZeroReturnError):  # after a close_notify of our own
                while data := self.object.read(1 << 18):
                    self.received += data
            self.has_notified = True

    def flush(self) -> None:
        data = self.outgoing.read()
        if data:
            self.sock.setblocking(True)
            self.sock.sendall(data)
            self.sock.setblocking(False)

    def write(self, data: bytes) -> None:
        """Send data, which have to fit into the socket."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.object.write(rest) :]
        self.flush()

    def notify(self) -> None:
        """Send close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.object.unwrap()
        self.flush()

    def until(self, loop: Loop, condition: Callable[[], object]) -> None:
        """Let both ends go on until the condition holds."""

        def is_met() -> object:
            self.step()
            return condition()

        turn_until(loop, is_met)


@contextlib.contextmanager
def openssl_client(address: tuple[str, int], *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The openssl command as a client, which does what letters in its input tell it."""
    host, port = address
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", *options]
    client = subprocess.Popen(
        [*command, "-CAfile", str(certificates().path("ca"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield client
    finally:
        client.kill()
        client.communicate()


async def tell(client: subprocess.Popen[bytes], line: bytes, answer: bytes) -> None:
    """Give a line to openssl_client(), and wait for a line of its output.

    Of two lines that come together it would take one for a command.
    """
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(line)
    client.stdin.flush()
    output = b"\n"
    while b"\n" + answer not in output:
        piece = await asyncio.to_thread(client.stdout.read1, 10_000)
        assert piece, output.decode()
        output += piece


def start_transport(
    loop: Loop,
    protocol: Any,  # noqa: ANN401
    ours: socket.socket,
    context: ssl.SSLContext,
    *,
    server_side: bool,
    **options: Any,  # noqa: ANN401
) -> asyncio.Task[Any]:
    """Begin a handshake on our end of a pair."""

    async def start() -> Any:  # noqa: ANN401
        if server_side:
            made = loop.connect_accepted_socket(lambda: protocol, ours, ssl=context, **options)
        else:
            options.setdefault("server_hostname", "localhost")
            made = loop.create_connection(lambda: protocol, sock=ours, ssl=context, **options)
        return (await made)[0]

    return loop.create_task(start())


@contextlib.contextmanager
def connected(
    loop: Loop,
    protocol: Any,  # noqa: ANN401
    *,
    server_side: bool = True,
    pair: Callable[[], tuple[socket.socket, socket.socket]] = tcp_pair,
    ours: ssl.SSLContext | None = None,
    theirs: ssl.SSLContext | None = None,
    **options: Any,  # noqa: ANN401
) -> Iterator[tuple[Any, Peer]]:
    """A transport after the handshake, and its peer."""
    context = ours or (server_context() if server_side else client_context())
    other = theirs or (client_context() if server_side else server_context())
    our_socket, peer_socket = pair()
    with peer_socket:
        peer = Peer(peer_socket, other, server_side=not server_side)
        task = start_transport(
            loop, protocol, our_socket, context, server_side=server_side, **options
        )
        peer.until(loop, lambda: task.done() and peer.is_shaken)
        transport = run(loop, task)
        yield transport, peer
        # asyncio of 3.11.2 fails after a second close().
        with contextlib.suppress(AttributeError):
            transport.abort()
        turn(loop, 4)
