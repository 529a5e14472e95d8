"""Subprocesses: what asyncio promises of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import epoll
from tests.epoll.children import CAT, FALSE, TRUE, children, descriptors, python, script
from tests.epoll.conftest import LoopMaker
from tests.epoll.twins import PATIENCE, Loop, run, turn_until

exec_program = asyncio.create_subprocess_exec


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No test leaves a zombie or a child behind."""
    yield
    assert children() == []


async def ended(*command: str, **options: Any) -> asyncio.subprocess.Process:  # noqa: ANN401
    process = await exec_program(*command, **options)
    await process.wait()
    return process


class Notes(asyncio.SubprocessProtocol):
    """Writes down what is called."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.output: dict[int, bytes] = {}

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401
        self.transport = transport
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.output[fd] = self.output.get(fd, b"") + data

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append(("pipe lost", fd, type(exc).__name__))

    def process_exited(self) -> None:
        self.events.append(("exited", self.transport.get_returncode()))

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(("lost", exc))

    @property
    def is_lost(self) -> bool:
        return self.events[-1:] == [("lost", None)]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (TRUE, 0),
        (FALSE, 1),
        (script("exit 200"), 200),
        (script("kill -TERM $$"), -signal.SIGTERM),
        (script("kill -KILL $$"), -signal.SIGKILL),
        (script("ulimit -c 0; kill -ABRT $$"), -signal.SIGABRT),
    ],
)
def test_exit_codes(loop: Loop, command: tuple[str, ...], code: int) -> None:
    process = run(loop, ended(*command))
    assert process.returncode == code


def test_communicate(loop: Loop) -> None:
    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE, stdout=PIPE)
        data = os.urandom(1 << 20)
        assert await process.communicate(data) == (data, None)
        assert process.returncode == 0

    run(loop, main())


def test_output_and_errors_are_told_apart(loop: Loop) -> None:
    async def main() -> None:
        command = script("echo out; echo err >&2")
        process = await exec_program(*command, stdout=PIPE, stderr=PIPE)
        assert await process.communicate() == (b"out\n", b"err\n")
        process = await exec_program(*command, stdout=PIPE, stderr=STDOUT)
        assert await process.communicate() == (b"out\nerr\n", None)
        process = await exec_program(*command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
        assert await process.communicate() == (None, None)

    run(loop, main())


def test_a_shell(loop: Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("cat | tr a-z A-Z", stdin=PIPE, stdout=PIPE)
        assert await process.communicate(b"shout") == (b"SHOUT", None)

    run(loop, main())


def test_a_conversation(loop: Loop) -> None:
    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(50):
            line = b"line %d\n" % number
            process.stdin.write(line)
            await process.stdin.drain()
            assert await process.stdout.readline() == line
        process.stdin.close()
        await process.stdin.wait_closed()
        assert await process.wait() == 0

    run(loop, main())


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda process: process.terminate(), -signal.SIGTERM),
        (lambda process: process.kill(), -signal.SIGKILL),
        (lambda process: process.send_signal(signal.SIGHUP), -signal.SIGHUP),
        (lambda process: process._transport.close(), -signal.SIGKILL),
    ],
)
def test_signals_to_a_child(loop: Loop, act: Any, code: int) -> None:  # noqa: ANN401
    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE, stdout=PIPE)
        act(process)
        assert await process.wait() == code
        assert process.returncode == code
        process._transport.close()  # type: ignore[attr-defined]

    run(loop, main())


def test_what_may_be_done_to_a_child_that_has_ended(loop: Loop) -> None:
    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE)
        process.kill()
        process.kill()  # asyncio may reap it here, and its watcher knows no status then: 255
        statuses = {-signal.SIGKILL, *([] if isinstance(loop, epoll.EventLoop) else [255])}
        assert await process.wait() in statuses
        assert await process.wait() in statuses
        await asyncio.sleep(0)
        for _ in range(5):
            try:
                process.send_signal(signal.SIGTERM)
            except ProcessLookupError:
                break
            await asyncio.sleep(0)
        else:
            pytest.fail("connection_lost() was never called")

    run(loop, main())


def test_a_wrong_signal(loop: Loop) -> None:
    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE)
        with pytest.raises(OSError, match="Invalid argument"):
            process.send_signal(1000)
        process.kill()
        await process.wait()

    run(loop, main())


def test_the_order_of_the_protocols_calls(loop: Loop) -> None:
    async def main() -> Notes:
        command = script("echo out; echo err >&2; exit 3")
        transport, protocol = await loop.subprocess_exec(Notes, *command, stdin=PIPE)
        assert protocol.transport is transport
        assert protocol.events[0] == "made"
        assert transport.get_pid() > 0
        assert transport.get_pipe_transport(0).get_extra_info("pipe") is not None
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert isinstance(transport.get_extra_info("subprocess"), subprocess.Popen)
        return protocol

    protocol = run(loop, main())
    turn_until(loop, lambda: protocol.is_lost)
    protocol.transport.close()
    assert protocol.output == {1: b"out\n", 2: b"err\n"}
    assert protocol.events.count(("exited", 3)) == 1
    assert sorted(str(event) for event in protocol.events[1:-1]) == [
        "('exited', 3)",
        "('pipe lost', 0, 'NoneType')",
        "('pipe lost', 1, 'NoneType')",
        "('pipe lost', 2, 'NoneType')",
    ]


@pytest.mark.parametrize("error", ["no-such-program", "/", "/etc/passwd"])
def test_a_program_that_cannot_be_started(loop: Loop, error: str) -> None:
    before = descriptors()
    with pytest.raises((FileNotFoundError, PermissionError)):
        run(loop, exec_program(error, stdin=PIPE, stdout=PIPE, stderr=PIPE))
    assert descriptors() - before == set()


@pytest.mark.parametrize(
    "options",
    [{"universal_newlines": True}, {"shell": True}, {"bufsize": 1}, {"encoding": "utf-8"}],
)
def test_options_that_make_no_sense(loop: Loop, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        run(loop, exec_program(*TRUE, **options))


def test_options_of_popen(loop: Loop, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe\n")
    os.close(writing)
    text = f"""
        pwd; echo "$NAME"; cat < /proc/self/fd/{reading}; umask
        [ $$ -eq "$(cut -d' ' -f6 /proc/$$/stat)" ] && echo leads
    """

    async def main() -> None:
        process = await exec_program(
            *script(text),
            cwd=tmp_path,
            env={"NAME": "value", "PATH": os.environ["PATH"]},
            stdout=PIPE,
            pass_fds=(reading,),
            umask=0o27,
            start_new_session=True,
        )
        output, _ = await process.communicate()
        expected = [bytes(tmp_path), b"value", b"through a pipe", b"0027", b"leads"]
        assert output.splitlines() == expected

    try:
        run(loop, main())
    finally:
        os.close(reading)


def test_no_other_descriptor_is_inherited(loop: Loop) -> None:
    async def main() -> None:
        other = await exec_program(*CAT, stdin=PIPE, stdout=PIPE)
        process = await exec_program(*script("ls /proc/self/fd"), stdin=PIPE, stdout=PIPE)
        output, _ = await process.communicate()
        assert len(output.split()) == 4, output  # the last one is that of the listing
        other.kill()
        await other.wait()
        other._transport.close()  # type: ignore[attr-defined]

    run(loop, main())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_pipes_of_a_child_can_be_opened_again(loop: Loop, number: int) -> None:
    """They are real pipes: a socket has no name that can be opened."""
    opening = "cat < /proc/self/fd/0" if number == 0 else f"echo again > /proc/self/fd/{number}"

    async def main() -> None:
        process = await exec_program(*script(opening), stdin=PIPE, stdout=PIPE, stderr=PIPE)
        output = await process.communicate(b"again\n")
        assert output[1 if number == 2 else 0] == b"again\n"

    run(loop, main())


def test_a_closed_input_is_no_failure_of_communicate(loop: Loop) -> None:
    async def main() -> None:
        process = await exec_program(*script("exec <&-; exit 4"), stdin=PIPE, stdout=PIPE)
        assert await process.communicate(bytes(1 << 20)) == (b"", None)
        assert process.returncode == 4

    run(loop, main())


def test_many_children_at_once(loop: Loop) -> None:
    async def one(number: int) -> None:
        process = await exec_program(*script(f"exit {number}"), stdin=PIPE, stdout=PIPE)
        await process.communicate()
        assert process.returncode == number

    async def main() -> None:
        before = descriptors()
        await asyncio.gather(*map(one, range(20)))
        assert descriptors() - before == set()

    run(loop, main())


def test_everybody_who_waits_is_told(loop: Loop) -> None:
    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE)
        waiting = [loop.create_task(process.wait()) for _ in range(4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        process.kill()
        assert await asyncio.gather(*waiting[1:]) == [-signal.SIGKILL] * 3
        assert waiting[0].cancelled()

    run(loop, main())


@pytest.mark.parametrize("turns", range(8))
def test_cancelling_leaves_no_child(loop: Loop, turns: int) -> None:
    async def main() -> set[str]:
        before = descriptors()
        task = loop.create_task(exec_program(*CAT, stdin=PIPE, stdout=PIPE, stderr=PIPE))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            process = task.result()
            process.kill()
            await process.communicate()
        async with asyncio.timeout(PATIENCE):
            while descriptors() - before or children():
                await asyncio.sleep(0.001)
        return descriptors() - before

    assert run(loop, main()) == set()


@pytest.mark.parametrize("count", [1, 3])
def test_loops_in_threads(make_loop: LoopMaker, count: int) -> None:
    """Neither the main thread nor one that runs a loop there is needed."""
    results: list[Any] = []

    async def main() -> None:
        for _ in range(5):
            process = await exec_program(*CAT, stdin=PIPE, stdout=PIPE)
            results.append(await process.communicate(b"hello"))

    threads = [
        threading.Thread(target=run, args=(loop, main()))
        for loop in [make_loop() for _ in range(count)]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [(b"hello", None)] * 5 * count


def test_a_child_that_ends_at_once_is_told_after_connection_made(loop: Loop) -> None:
    async def main() -> list[Any]:
        transport, protocol = await loop.subprocess_exec(
            Notes, *TRUE, stdin=None, stdout=None, stderr=None
        )
        async with asyncio.timeout(PATIENCE):
            while not protocol.is_lost:
                await asyncio.sleep(0.001)
        transport.close()
        return protocol.events

    assert run(loop, main()) == ["made", ("exited", 0), ("lost", None)]


def test_output_is_paused_for_who_does_not_read_it(loop: Loop) -> None:
    async def main() -> None:
        process = await exec_program(*python("print('x' * 1000000)"), stdout=PIPE, limit=1000)
        assert process.stdout is not None
        received = b""
        while data := await process.stdout.read(5000):
            received += data
        assert received == b"x" * 1000000 + b"\n"
        assert await process.wait() == 0

    run(loop, main())
