"""Child processes of the event loop: who waits for them, and their transports.

A child is waited for through a pidfd, which the kernel gives to nobody else: its exit is an event
like any other, and a signal or a wait through it never meets another process that has got the same
number since. Where there is none (an old kernel, a policy that forbids it, no descriptor left) a
thread waits instead. Neither needs SIGCHLD, the main thread or one of asyncio's child watchers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import threading
from asyncio import base_subprocess
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from .loop import EventLoop

__all__ = ["ChildWatch", "ProcessTransport", "make_process_transport"]

logger = logging.getLogger("asyncio")

#: What asyncio answers for a child whose exit status somebody else has taken.
UNKNOWN_EXIT = 255


class ChildWatch(Protocol):
    """Waits for one child. On the loop's thread only."""

    def is_running(self) -> bool:
        """Return whether the child has not ended yet."""

    def send_signal(self, number: int) -> None:
        """Send a signal; nothing happens when the child has ended.

        Raises OSError: there is no such signal, or the child may not be sent one.
        """

    def forget(self) -> None:
        """Wait no longer: the loop is closed."""


def _exit_code(found: os.waitid_result) -> int:
    """Return the code as subprocess.Popen has it: negative for a signal."""
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _reap(process: subprocess.Popen[bytes], kind: int, identity: int) -> int:
    """Take the exit status of a child that has ended, and return its exit code."""
    try:
        found = os.waitid(kind, identity, os.WEXITED)
    except ChildProcessError:
        if process.returncode is not None:  # by the program, through the Popen object
            return process.returncode
        logger.warning(
            "child process pid %d exit status already read:  will report returncode %d",
            process.pid,
            UNKNOWN_EXIT,
        )
        return UNKNOWN_EXIT
    return _exit_code(found) if found is not None else UNKNOWN_EXIT


def _is_running(kind: int, identity: int) -> bool:
    try:
        return os.waitid(kind, identity, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


class PidfdWatch:
    """Waits through a pidfd, which it owns."""

    def __init__(
        self, loop: EventLoop, process: subprocess.Popen[bytes], on_exit: Callable[[int], object]
    ) -> None:
        self._loop = loop
        self._process = process
        self._on_exit = on_exit
        self._pidfd = os.pidfd_open(process.pid)
        try:
            loop._add_reader(self._pidfd, self._end)
        except BaseException:
            os.close(self._pidfd)
            raise
        loop._children.add(self)

    def is_running(self) -> bool:
        return _is_running(os.P_PIDFD, self._pidfd)

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def forget(self) -> None:
        self._loop._children.discard(self)
        self._loop._remove_reader(self._pidfd)
        os.close(self._pidfd)

    def _end(self) -> None:
        code = _reap(self._process, os.P_PIDFD, self._pidfd)
        self.forget()
        self._on_exit(code)


class ThreadWatch:
    """Waits in a thread. The loop's thread takes the exit status, as a signal needs the number."""

    def __init__(
        self, loop: EventLoop, process: subprocess.Popen[bytes], on_exit: Callable[[int], object]
    ) -> None:
        self._loop = loop
        self._process = process
        self._on_exit = on_exit
        threading.Thread(
            target=self._wait, name=f"epoll-waitpid-{process.pid}", daemon=True
        ).start()
        loop._children.add(self)

    def is_running(self) -> bool:
        return _is_running(os.P_PID, self._process.pid)

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def forget(self) -> None:
        self._loop._children.discard(self)

    def _wait(self) -> None:
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        try:
            self._loop.call_soon_threadsafe(self._end)
        except RuntimeError:  # the loop is closed: nobody else takes the exit status
            self._process.returncode = self._take_code()
            logger.warning("Loop %r that handles pid %r is closed", self._loop, self._process.pid)

    def _end(self) -> None:
        self.forget()
        self._on_exit(self._take_code())

    def _take_code(self) -> int:
        return _reap(self._process, os.P_PID, self._process.pid)


def watch_child(
    loop: EventLoop, process: subprocess.Popen[bytes], on_exit: Callable[[int], object]
) -> ChildWatch:
    """Have `on_exit(exit code)` called on the loop once the child has ended."""
    try:
        return PidfdWatch(loop, process, on_exit)
    except OSError:
        return ThreadWatch(loop, process, on_exit)


class ProcessTransport(base_subprocess.BaseSubprocessTransport):
    """The transport of one child process, with real pipes for what the program asked for."""

    _watch: ChildWatch | None = None

    if TYPE_CHECKING:  # as asyncio's code has them; its stubs say otherwise
        _loop: Any
        _pending_calls: Any
        _pipes: Any
        _proc: Any
        _protocol: Any
        _returncode: int | None

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        self._exited: set[asyncio.Future[int]] = set()
        super().__init__(*arguments, **options)

    def _start(
        self,
        args: Any,  # noqa: ANN401
        shell: bool,
        stdin: Any,  # noqa: ANN401
        stdout: Any,  # noqa: ANN401
        stderr: Any,  # noqa: ANN401
        bufsize: int,
        **options: Any,  # noqa: ANN401
    ) -> None:
        process = subprocess.Popen(
            args,
            shell=shell,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            universal_newlines=False,
            bufsize=bufsize,
            **options,
        )
        try:
            self._watch = watch_child(self._loop, process, self._process_exited)
        except BaseException:  # not even a thread could be started
            process.kill()
            process.communicate()
            raise
        self._proc = process

    def close(self) -> None:
        """Close the pipes; a child that still runs is killed."""
        if self._closed:
            return
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            for pipe in self._pipes.values():
                if pipe is not None:
                    pipe.pipe.close()
        if self._proc is not None and self._returncode is None and self._is_running():
            if self._loop.get_debug():
                logger.warning("Close running child process: kill %r", self)
            with contextlib.suppress(PermissionError):  # it may be running setuid
                self._proc.kill()

    def send_signal(self, signal: int) -> None:
        """Send a signal; nothing happens when the child has ended and its end is known.

        Raises ProcessLookupError when connection_lost() has been called.
        """
        self._check_proc()
        if self._returncode is None and self._watch is not None:
            if self._loop.is_closed():  # nobody waits any more but the Popen object
                self._proc.send_signal(signal)
            else:
                self._watch.send_signal(signal)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _is_running(self) -> bool:
        if self._watch is None or self._loop.is_closed():
            return self._proc.poll() is None
        return self._watch.is_running()

    async def _connect_pipes(self, waiter: asyncio.Future[None] | None) -> None:
        process, loop = self._proc, self._loop
        try:
            if process.stdin is not None:
                await self._connect(0, loop.connect_write_pipe, process.stdin)
            if process.stdout is not None:
                await self._connect(1, loop.connect_read_pipe, process.stdout)
            if process.stderr is not None:
                await self._connect(2, loop.connect_read_pipe, process.stderr)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            for pipe in self._pipes.values():
                if pipe is not None:
                    pipe.pipe.close()
            for file in (process.stdin, process.stdout, process.stderr):
                if file is not None:
                    file.close()
            if waiter is not None and not waiter.cancelled():
                waiter.set_exception(failure)
            return
        loop.call_soon(self._protocol.connection_made, self)
        for callback, data in self._pending_calls:
            loop.call_soon(callback, *data)
        self._pending_calls = None
        if waiter is not None and not waiter.cancelled():
            waiter.set_result(None)

    async def _connect(self, fd: int, connect: Callable[..., Any], file: object) -> None:
        kind = (
            base_subprocess.WriteSubprocessPipeProto
            if fd == 0
            else base_subprocess.ReadSubprocessPipeProto
        )
        _, self._pipes[fd] = await connect(lambda: kind(self, fd), file)
        if self._closed:  # meanwhile
            self._pipes[fd].pipe.close()

    def _process_exited(self, returncode: int) -> None:
        self._watch = None
        super()._process_exited(returncode)
        for waiter in self._exited:
            if not waiter.done():
                waiter.set_result(returncode)

    async def _wait(self) -> int:
        """Return the exit code once the child has ended, whoever still has its pipes open."""
        if self._returncode is not None:
            return self._returncode
        waiter: asyncio.Future[int] = self._loop.create_future()
        self._exited.add(waiter)
        try:
            return await waiter
        finally:
            self._exited.discard(waiter)


async def make_process_transport(
    loop: EventLoop,
    *arguments: Any,  # noqa: ANN401
    **options: Any,  # noqa: ANN401
) -> ProcessTransport:
    """Start a child and return its transport, after connection_made().

    Who is cancelled, or fails, leaves no child behind: it is killed and its exit status is taken.
    """
    waiter = loop.create_future()
    transport = ProcessTransport(loop, *arguments, waiter=waiter, **options)
    try:
        await waiter
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException:
        transport.close()
        await asyncio.shield(transport._wait())
        raise
    return transport
