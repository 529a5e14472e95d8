"""An aiohttp server and an aiohttp client on one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is installed by scripts/programs only")

from aiohttp import ClientSession, FormData, TCPConnector, UnixConnector, WSMsgType, web

from tests.programs.conftest import Run

BIG = bytes(range(256)) * 8192  # two MiB


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), headers={"X-Method": request.method})


async def stream(request: web.Request) -> web.StreamResponse:
    """Send back the body piece by piece while it is still arriving."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(piece)
    await response.write_eof()
    return response


async def talk(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data.upper())
    return socket


async def greet(request: web.Request) -> web.Response:
    form = await request.post()
    return web.json_response({"name": form["name"], "peer": request.remote})


def make_application(folder: Path) -> web.Application:
    application = web.Application(client_max_size=2 * len(BIG))
    application.router.add_route("*", "/echo", echo)
    application.router.add_post("/stream", stream)
    application.router.add_get("/talk", talk)
    application.router.add_post("/greet", greet)
    application.router.add_static("/files", folder)
    return application


@asynccontextmanager
async def serving(folder: Path, unix: Path | None = None) -> AsyncIterator[str]:
    """Serve for the time of the block; give the URL."""
    runner = web.AppRunner(make_application(folder))
    await runner.setup()
    try:
        site = web.UnixSite(runner, unix) if unix else web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = 80 if unix else runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


def test_requests_of_all_kinds(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as url, ClientSession(url) as client:
            async with client.get("/echo") as answer:
                assert (answer.status, await answer.read()) == (200, b"")
            async with client.put("/echo", data=BytesIO(BIG)) as answer:
                assert answer.headers["X-Method"] == "PUT"
                assert await answer.read() == BIG
            async with client.post("/greet", data=FormData({"name": "Zoë"})) as answer:
                assert await answer.json() == {"name": "Zoë", "peer": "127.0.0.1"}
            async with client.get("/nowhere") as answer:
                assert answer.status == 404

    run(main())


def test_body_is_streamed_both_ways(run: Run, tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for begin in range(0, len(BIG), 50_000):
            yield BIG[begin : begin + 50_000]

    async def main() -> None:
        async with (
            serving(tmp_path) as url,
            ClientSession(url) as client,
            client.post("/stream", data=pieces()) as answer,
        ):
            assert await answer.read() == BIG

    run(main())


def test_file_is_sent(run: Run, tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(BIG)

    async def main() -> None:
        async with serving(tmp_path) as url, ClientSession(url) as client:
            async with client.get("/files/big") as answer:
                assert await answer.read() == BIG
            async with client.get("/files/big", headers={"Range": "bytes=100-199"}) as answer:
                assert (answer.status, await answer.read()) == (206, BIG[100:200])

    run(main())


def test_many_requests_at_once_over_few_connections(run: Run, tmp_path: Path) -> None:
    async def ask(client: ClientSession, number: int) -> bytes:
        async with client.post("/echo", data=b"%d" % number) as answer:
            body: bytes = await answer.read()
            return body

    async def main() -> None:
        async with (
            serving(tmp_path) as url,
            ClientSession(url, connector=TCPConnector(limit=8)) as client,
        ):
            answers = await asyncio.gather(*(ask(client, number) for number in range(200)))
            assert answers == [b"%d" % number for number in range(200)]

    run(main())


def test_web_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            serving(tmp_path) as url,
            ClientSession(url) as client,
            client.ws_connect("/talk") as socket,
        ):
            for text in ("one", "two", "three" * 10_000):
                await socket.send_str(text)
                assert await socket.receive_str() == text.upper()
            await socket.close()
            assert (await socket.receive()).type is WSMsgType.CLOSED

    run(main())


def test_unix_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "http.sock"
        async with (
            serving(tmp_path, unix=path) as url,
            ClientSession(url, connector=UnixConnector(str(path))) as client,
            client.post("/echo", data=BytesIO(BIG)) as answer,
        ):
            assert await answer.read() == BIG

    run(main())


def test_client_gives_up_on_a_silent_server(run: Run) -> None:
    async def main() -> None:
        released = asyncio.Event()

        async def keep_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            writer.close()

        server = await asyncio.start_server(keep_silent, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with server, ClientSession() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), client.get(f"http://{host}:{port}/"):
                    pass
            released.set()

    run(main())
