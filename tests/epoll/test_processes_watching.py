"""Who waits for a child on our loop, and where asyncio's versions do not agree."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import threading
import warnings
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from typing import Any

import pytest

import epoll
from tests.epoll.children import CAT, TRUE, children, descriptors, script
from tests.epoll.twins import PATIENCE, run

exec_program = asyncio.create_subprocess_exec


def refuse(*_: object) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


@pytest.fixture(params=["pidfd", "thread"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A loop of ours that waits in either way."""
    if request.param == "thread":
        monkeypatch.setattr(os, "pidfd_open", refuse)
    loop = epoll.EventLoop()
    yield loop
    loop.close()


def waiting_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("epoll-waitpid")]


def test_both_ways_do_the_same(loop: epoll.EventLoop) -> None:
    async def main() -> None:
        assert await (await exec_program(*TRUE)).wait() == 0
        process = await exec_program(*CAT, stdin=PIPE, stdout=PIPE)
        assert (os.pidfd_open is refuse) == (waiting_threads() != [])
        assert await process.communicate(b"hello") == (b"hello", None)
        process = await exec_program(*CAT, stdin=PIPE, stdout=PIPE)
        process.terminate()
        assert await process.wait() == -signal.SIGTERM
        process = await exec_program(*CAT, stdin=PIPE, stdout=PIPE)
        process._transport.close()  # type: ignore[attr-defined]
        assert await process.wait() == -signal.SIGKILL

    before = descriptors()
    run(loop, main())
    assert descriptors() - before == set()
    assert children() == []


def test_a_child_of_no_descriptor_is_waited_for_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = epoll.EventLoop()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def main() -> None:
        monkeypatch.setattr(epoll.EventLoop, "_add_reader", fail)
        process = await exec_program(*TRUE)
        assert await process.wait() == 0

    before = descriptors()
    run(loop, main())
    assert descriptors() - before == set()
    loop.close()


def test_who_cannot_wait_at_all_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = epoll.EventLoop()

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(threading.Thread, "start", fail)
    before = descriptors()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        run(loop, exec_program(*CAT, stdin=PIPE, stdout=PIPE))
    assert descriptors() - before == set()
    assert children() == []
    loop.close()


def test_wait_does_not_wait_for_a_grandchild(loop: epoll.EventLoop) -> None:
    """As asyncio 3.14; 3.13.0 and older wait for everybody who has the pipes."""

    async def main() -> None:
        command = script("sleep 60 & echo $!; exit 5")
        process = await exec_program(*command, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None
        assert await process.wait() == 5
        grandchild = int(await process.stdout.readline())
        assert not process.stdout.at_eof()
        os.kill(grandchild, signal.SIGKILL)
        assert await process.stdout.read() == b""

    run(loop, main())


def test_a_child_whose_status_is_taken_by_somebody_else(
    loop: epoll.EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE)
        process.kill()
        os.waitpid(process.pid, 0)
        assert await process.wait() == 255

    run(loop, main())
    assert "will report returncode 255" in caplog.text


def test_a_status_that_the_popen_object_has_taken_is_known(
    loop: epoll.EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        process = await exec_program(*script("exit 7"))
        popen = process._transport.get_extra_info("subprocess")  # type: ignore[attr-defined]
        assert popen.wait(PATIENCE) == 7
        assert await process.wait() == 7

    run(loop, main())
    assert caplog.messages == []


def test_closing_the_transport_of_an_ended_child_loses_no_status(loop: epoll.EventLoop) -> None:
    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE)
        os.kill(process.pid, signal.SIGTERM)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        process._transport.close()  # type: ignore[attr-defined]
        assert await process.wait() == -signal.SIGTERM

    run(loop, main())


def test_a_signal_never_meets_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of a child whose status somebody else has taken may be a stranger's by now."""
    loop = epoll.EventLoop()
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a signal by number"))

    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE)
        process.kill()
        os.waitpid(process.pid, 0)
        process.kill()
        process.terminate()
        assert await process.wait() == 255

    run(loop, main())
    loop.close()


def test_a_policy_may_have_any_watcher(loop: epoll.EventLoop) -> None:
    """We have our own; asyncio's of before 3.14 want the main thread, or take all children."""
    results: list[int] = []

    def in_thread() -> None:
        async def main() -> None:
            results.append(await (await exec_program(*TRUE)).wait())

        run(loop, main())

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join(PATIENCE)
    assert results == [0]


def test_a_loop_that_is_closed_forgets_its_children(loop: epoll.EventLoop) -> None:
    before = descriptors()
    loop.set_debug(False)  # else the log has the transport
    process = run(loop, exec_program(*CAT, stdin=PIPE))
    transport = process._transport
    loop.close()
    assert children() != []
    process.kill()
    transport.close()
    transport.get_extra_info("subprocess").wait(PATIENCE)
    for thread in threading.enumerate():
        if thread.name in waiting_threads():
            thread.join(PATIENCE)
    with warnings.catch_warnings():  # of unclosed transports, and of the pipe
        warnings.simplefilter("ignore", ResourceWarning)
        del process, transport
        gc.collect()
    assert descriptors() - before == set()
    assert children() == []


def test_a_thread_leaves_the_status_to_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the loop knows of the end nobody else can get the number of the child."""
    loop = epoll.EventLoop()
    monkeypatch.setattr(os, "pidfd_open", refuse)

    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE)
        (thread,) = (each for each in threading.enumerate() if each.name in waiting_threads())
        os.kill(process.pid, signal.SIGTERM)
        thread.join(PATIENCE)
        assert children() == [f"{process.pid} Z"]
        assert process.returncode is None
        process.kill()
        assert await process.wait() == -signal.SIGTERM

    run(loop, main())
    loop.close()


def test_debug_mode_tells_of_children(
    loop: epoll.EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    caplog.set_level("DEBUG", logger="asyncio")

    async def main() -> None:
        process = await exec_program(*CAT, stdin=PIPE)
        process._transport.close()  # type: ignore[attr-defined]
        await process.wait()

    run(loop, main())
    text = "\n".join(caplog.messages)
    assert "Close running child process: kill <ProcessTransport" in text
    assert f"exited with return code {-signal.SIGKILL}" in text


def test_many_loops_in_many_threads(loop: epoll.EventLoop) -> None:
    """Each loop has its children, and gets nobody else's."""
    failures: list[object] = []

    def in_thread(first: int) -> None:
        async def main() -> None:
            for number in range(first, first + 10):
                process = await exec_program(*script(f"exit {number}"))
                if await process.wait() != number:
                    failures.append((number, process))

        try:
            with asyncio.Runner(loop_factory=epoll.new_event_loop) as runner:
                runner.run(main())
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=in_thread, args=(10 * each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert failures == []
    assert children() == []
