"""httpx and anyio: an HTTP server over anyio's sockets, httpx's client, threads and processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("anyio", reason="anyio is installed by scripts/programs only")
pytest.importorskip("httpx", reason="httpx is installed by scripts/programs only")

import anyio
import anyio.to_thread
import httpx
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.programs.conftest import PATIENCE, LoopFactory

BIG = bytes(range(256)) * 4096  # one MiB

RunAnyio = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run_anyio(loop_factory: LoopFactory) -> RunAnyio:
    """Run a coroutine by anyio on the loop of this test."""

    def run_anyio(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def bounded() -> None:
            with anyio.fail_after(PATIENCE):
                await main()

        anyio.run(bounded, backend_options={"loop_factory": loop_factory})

    return run_anyio


async def answer_requests(client: ByteStream) -> None:
    """Answer with the method, a blank and the body, until the client closes."""
    async with client:
        stream = BufferedByteReceiveStream(client)
        try:
            while True:
                head = await stream.receive_until(b"\r\n\r\n", 65536)
                lines = head.decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines[1:])
                body = await stream.receive_exactly(int(headers.get("content-length", 0)))
                answer = lines[0].split()[0].encode() + b" " + body
                await client.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
                await client.send(answer)
        except anyio.IncompleteRead:
            return


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Serve on a free port for the time of the block; give the URL."""
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer_requests)
        yield f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        tasks.cancel_scope.cancel()


def test_requests_over_a_kept_connection(run_anyio: RunAnyio) -> None:
    async def main() -> None:
        async with serving() as url, httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/")).content == b"GET "
            assert (await client.put("/", content=b"small")).content == b"PUT small"
            assert (await client.post("/", content=BIG)).content == b"POST " + BIG

    run_anyio(main)


def test_many_requests_at_once(run_anyio: RunAnyio) -> None:
    async def main() -> None:
        limits = httpx.Limits(max_connections=10)
        async with serving() as url, httpx.AsyncClient(base_url=url, limits=limits) as client:
            bodies = [f"number {number}".encode() for number in range(100)]
            answers = await asyncio.gather(*(client.post("/", content=body) for body in bodies))
            assert [answer.content for answer in answers] == [b"POST " + body for body in bodies]

    run_anyio(main)


def test_refused_connection_is_an_error(run_anyio: RunAnyio) -> None:
    async def main() -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(SocketAttribute.local_port)
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(f"http://127.0.0.1:{port}/")

    run_anyio(main)


def test_time_out_leaves_the_client_usable(run_anyio: RunAnyio) -> None:
    async def main() -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as silent:
            port = silent.extra(SocketAttribute.local_port)
            async with serving() as url, httpx.AsyncClient(base_url=url) as client:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(f"http://127.0.0.1:{port}/", timeout=0.05)
                assert (await client.get("/")).content == b"GET "

    run_anyio(main)


def test_unix_socket_of_anyio(run_anyio: RunAnyio, tmp_path: Path) -> None:
    path = tmp_path / "anyio.sock"

    async def main() -> None:
        async with (
            await anyio.create_unix_listener(path) as listener,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, answer_requests)
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport) as client:
                answer = await client.post("http://unix/", content=BIG)
                assert answer.content == b"POST " + BIG
            tasks.cancel_scope.cancel()

    run_anyio(main)


def test_udp_socket_of_anyio(run_anyio: RunAnyio) -> None:
    async def main() -> None:
        async with await anyio.create_udp_socket(local_host="127.0.0.1") as receiver:
            port = receiver.extra(SocketAttribute.local_port)
            async with await anyio.create_connected_udp_socket("127.0.0.1", port) as sender:
                await sender.send(b"question")
                question, (_, sender_port) = await receiver.receive()
                await receiver.sendto(question.upper(), "127.0.0.1", sender_port)
                assert await sender.receive() == b"QUESTION"

    run_anyio(main)


def test_threads_and_processes_of_anyio(run_anyio: RunAnyio) -> None:
    program = "import sys; sys.stdout.write(sys.stdin.read()[::-1])"

    async def main() -> None:
        totals = await asyncio.gather(
            *(anyio.to_thread.run_sync(sum, range(number)) for number in range(20))
        )
        assert totals == [sum(range(number)) for number in range(20)]
        done = await anyio.run_process([sys.executable, "-c", program], input=b"drawer")
        assert done.stdout == b"reward"

    run_anyio(main)
