"""The stream functions in the place of asyncio's, and streams over TLS."""

from __future__ import annotations

import asyncio
import asyncio.streams
import inspect
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

import epoll
from epoll import streams
from tests.epoll.streaming import (
    echo_lines,
    served,
)
from tests.epoll.twins import Loop, run

FUNCTIONS = ["open_connection", "start_server", "open_unix_connection", "start_unix_server"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_our_functions_look_as_asyncios(name: str) -> None:
    ours = getattr(streams, name)
    original = ours.__wrapped__
    assert original.__module__ == "asyncio.streams"
    assert inspect.iscoroutinefunction(ours)
    assert (ours.__name__, ours.__doc__) == (name, original.__doc__)
    assert inspect.signature(ours) == inspect.signature(original)


def test_install_and_uninstall() -> None:
    def current() -> list[object]:
        return [getattr(module, name) for module in places for name in FUNCTIONS]

    places = [asyncio, asyncio.streams]
    try:
        epoll.new_event_loop().close()
        installed = current()
        assert installed == [getattr(streams, name) for name in FUNCTIONS] * 2
        streams.install()
        assert current() == installed
        streams.uninstall()
        streams.uninstall()
        originals = current()
        assert {function.__module__ for function in originals} == {"asyncio.streams"}
        assert not any(hasattr(function, "__wrapped__") for function in originals)
        epoll.new_event_loop().close()
        streams.install()
        assert current() == originals, "a new loop is stronger than the program's word"
        streams.install(again=True)
        assert current() == installed
        streams.uninstall()
        streams.install(again=True)
        epoll.new_event_loop().close()
        assert current() == installed
    finally:
        streams.install(again=True)


def test_uninstall_before_the_first_loop() -> None:
    """In a process of its own, as this one has made loops."""
    program = """if True:
        import asyncio
        from epoll import streams

        streams.uninstall()
        import epoll

        async def main():
            server = await asyncio.start_server(print, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            print(type(reader).__module__, type(writer).__module__)
            writer.close()
            server.close()

        epoll.run(main())
    """
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "asyncio.streams asyncio.streams" in result.stdout


def test_install_leaves_what_somebody_else_has_put_there(monkeypatch: pytest.MonkeyPatch) -> None:
    marker = object()
    monkeypatch.setattr(asyncio, "open_connection", marker)
    streams.install()
    assert asyncio.open_connection is marker
    streams.uninstall()
    assert asyncio.open_connection is marker
    streams.install(again=True)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a self-signed certificate for localhost, made with the openssl command."""
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", path, "-out", path.with_suffix(".crt")]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def contexts(certificate: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate)
    return server, ssl.create_default_context(cafile=certificate.with_suffix(".crt"))


def test_streams_over_tls(loop: Loop, certificate: Path) -> None:
    server_context, client_context = contexts(certificate)

    async def main() -> None:
        async with served(echo_lines, ssl=server_context) as connect:
            reader, writer = await connect(ssl=client_context, server_hostname="localhost")
            for length in [1, 100, 60000]:
                writer.write(b"x" * length + b"\n")
                await writer.drain()
                assert await reader.readline() == b"x" * length + b"\n"
            assert writer.get_extra_info("sslcontext") is client_context

    run(loop, main())


def test_start_tls_on_both_sides(loop: Loop, certificate: Path) -> None:
    server_context, client_context = contexts(certificate)

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"GO\n")
        await writer.drain()
        await writer.start_tls(server_context)
        await echo_lines(reader, writer)

    async def main() -> None:
        async with served(client) as connect:
            reader, writer = await connect()
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"GO\n"
            plain = writer.transport
            await writer.start_tls(client_context, server_hostname="localhost")
            assert writer.transport is not plain
            assert writer.get_extra_info("cipher") is not None
            writer.write(b"secret\n")
            await writer.drain()
            assert await reader.readline() == b"secret\n"

    run(loop, main())
