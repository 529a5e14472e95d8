"""A cluster of dask.distributed: a scheduler, two workers and a client, on one loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import add
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed", reason="distributed is installed by scripts/programs only")

from distributed import Client, LocalCluster, get_worker

from tests.programs.conftest import Run

HOST = "127.0.0.1"


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Any]:
    """Give a client of a cluster, all of whose parts talk by TCP."""
    async with (
        LocalCluster(
            processes=False,
            asynchronous=True,
            protocol="tcp",
            host=HOST,
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=f"{HOST}:0",
            local_directory=str(folder),
        ) as workers,
        Client(workers, asynchronous=True) as client,
    ):
        yield client


def square(number: int) -> int:
    return number * number


def name_of_worker() -> str:
    return str(get_worker().address)


def fail() -> None:
    raise ValueError("as it should")


def test_results_come_back(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as client:
            squares = client.map(square, range(100))
            assert await client.gather(squares) == [number**2 for number in range(100)]
            assert await client.submit(sum, squares) == sum(n**2 for n in range(100))

    run(main())


def test_both_workers_work(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as client:
            workers = list((await client.scheduler.identity())["workers"])
            assert len(workers) == 2
            asked = [client.submit(name_of_worker, workers=[name], pure=False) for name in workers]
            assert await client.gather(asked) == workers

    run(main())


def test_large_data_moves_between_workers(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as client:
            first, second = (await client.scheduler.identity())["workers"]
            parts = [
                client.submit(bytes, 4_000_000, workers=[worker]) for worker in (first, second)
            ]
            joined = client.submit(add, *parts, workers=[second])
            assert await client.submit(len, joined) == 8_000_000

    run(main())


def test_failure_comes_back(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as client:
            with pytest.raises(ValueError, match="as it should"):
                await client.submit(fail)

    run(main())


def test_cluster_runs_on_the_loop_of_the_test(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as client:
            assert client.loop.asyncio_loop is asyncio.get_running_loop()
            for worker in client.cluster.workers.values():
                assert worker.loop.asyncio_loop is asyncio.get_running_loop()

    run(main())
