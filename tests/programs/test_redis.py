"""redis-py's asyncio client and a real redis-server."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

pytest.importorskip("redis", reason="redis is installed by scripts/programs only")

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.programs.conftest import PATIENCE, Run

BIG = bytes(range(256)) * 4096  # one MiB
PROGRAM = shutil.which("redis-server")

pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="no redis-server in PATH (a Debian package)"
)


@pytest.fixture(scope="module")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server in memory that listens on a Unix socket and nowhere else."""
    assert PROGRAM is not None
    folder = tmp_path_factory.mktemp("redis")
    path = folder / "redis.sock"
    options = {"port": "0", "unixsocket": str(path), "dir": str(folder), "save": ""}
    command = [PROGRAM, *(word for name, value in options.items() for word in (f"--{name}", value))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        too_late = threading.Timer(PATIENCE, server.kill)
        too_late.start()
        try:
            assert server.stdout is not None
            assert any("ready to accept connections" in line for line in server.stdout)
            too_late.cancel()
            yield path
        finally:
            too_late.cancel()
            server.terminate()
            server.communicate(timeout=PATIENCE)
    assert server.returncode == 0


@asynccontextmanager
async def client_of(path: Path) -> AsyncIterator[Redis]:
    """A client with connections of its own; what it has stored is gone afterwards."""
    async with Redis(unix_socket_path=str(path)) as client:
        yield client
        await client.flushall()


def test_values_come_back(run: Run, redis_socket: Path) -> None:
    async def main() -> None:
        async with client_of(redis_socket) as client:
            assert await client.set("big", BIG)
            assert await client.get("big") == BIG
            assert await client.get("nothing") is None
            await client.hset("map", mapping={"one": "1", "two": "2"})
            assert await client.hgetall("map") == {b"one": b"1", b"two": b"2"}

    run(main())


def test_pipeline_and_errors(run: Run, redis_socket: Path) -> None:
    async def main() -> None:
        async with client_of(redis_socket) as client:
            async with client.pipeline(transaction=True) as pipeline:
                for number in range(1000):
                    pipeline.rpush("list", number)
                assert await pipeline.execute() == list(range(1, 1001))
            assert await client.lrange("list", 0, 2) == [b"0", b"1", b"2"]
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                await client.get("list")

    run(main())


def test_many_commands_at_once(run: Run, redis_socket: Path) -> None:
    async def main() -> None:
        async with client_of(redis_socket) as client:
            results = await asyncio.gather(*(client.incr("counter") for _ in range(60)))
            assert sorted(results) == list(range(1, 61))

    run(main())


def test_waiting_client_is_served_by_another_one(run: Run, redis_socket: Path) -> None:
    async def main() -> None:
        async with client_of(redis_socket) as giver, client_of(redis_socket) as taker:
            waiting = asyncio.create_task(taker.blpop("queue", timeout=PATIENCE))
            while not await blocked(giver):
                pass
            await giver.rpush("queue", "work")
            assert await waiting == (b"queue", b"work")

    run(main())


async def blocked(client: Redis) -> int:
    """How many clients wait for something."""
    count: int = (await client.info("clients"))["blocked_clients"]
    return count


def test_cancelled_command_leaves_the_client_usable(run: Run, redis_socket: Path) -> None:
    async def main() -> None:
        async with client_of(redis_socket) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.blpop("empty", timeout=PATIENCE)
            assert await client.ping()

    run(main())


def test_published_messages_arrive_in_order(run: Run, redis_socket: Path) -> None:
    async def main() -> None:
        async with client_of(redis_socket) as client, client.pubsub() as subscriber:
            await subscriber.subscribe("news")
            messages = subscriber.listen()
            assert (await anext(messages))["type"] == "subscribe"
            for number in range(50):
                assert await client.publish("news", number) == 1
            received = [(await anext(messages))["data"] for _ in range(50)]
            assert received == [b"%d" % number for number in range(50)]
            await messages.aclose()

    run(main())
