"""After a fork the child is told that the loop is not its own, and the parent is not disturbed."""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import epoll

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork in a process with threads
HOST = "127.0.0.1"


def in_child(act: Callable[[], None]) -> None:
    """Run a function in a forked child; what it raises is printed and fails this script."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.readline():
        writer.write(data)
    writer.close()


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> None:
    writer.write(text)
    assert await reader.readline() == text


async def end(server: asyncio.Server, *writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
    server.close()
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.001)


def use_a_loop_of_its_own() -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, HOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await ask(reader, writer, b"in the child\n")
        await end(server, writer)

    asyncio.set_event_loop(None)
    epoll.run(main())


def test_a_loop_that_does_not_run() -> None:
    loop = epoll.new_event_loop()
    seen: list[Any] = []
    reader, writer = os.pipe()
    loop.add_reader(reader, lambda: seen.append(os.read(reader, 10)))

    def be_refused() -> None:
        error = None
        try:
            loop.run_forever()
        except RuntimeError as failure:
            error = failure
        assert "fork" in str(error), error
        loop.close()
        use_a_loop_of_its_own()

    in_child(be_refused)
    os.write(writer, b"x")
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert seen == [b"x"], "the child has taken the parent's registration along"
    loop.remove_reader(reader)
    loop.close()
    os.close(reader)
    os.close(writer)


def test_a_loop_that_runs() -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, HOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await ask(reader, writer, b"before\n")

        loop = asyncio.get_running_loop()

        def leave() -> None:
            writer.transport.abort()
            server.close()
            assert loop.is_running()

        in_child(leave)
        await ask(reader, writer, b"after\n")
        second = await asyncio.open_connection(*server.sockets[0].getsockname())
        await ask(*second, b"and another\n")
        await end(server, writer, second[1])

    epoll.run(main())


def test_a_child_whose_callback_returns() -> None:
    """The child of a fork in a callback comes back to the loop, which ends it with an error."""
    loop = epoll.new_event_loop()
    children: list[int] = []

    def fork() -> None:
        children.append(os.fork())
        if children[0]:
            loop.stop()

    loop.call_soon(fork)
    try:
        loop.run_forever()
    except RuntimeError as failure:
        os._exit(0 if children == [0] and "fork" in str(failure) else 1)
    if children == [0]:
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


test_a_loop_that_does_not_run()
test_a_loop_that_runs()
test_a_child_whose_callback_returns()
