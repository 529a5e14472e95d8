"""Several processes that serve one address: started together, restarted when they die, stopped
together.

The parent serves nobody. It holds the listening sockets: for TCP one for each worker, all on the
same port (SO_REUSEPORT), for Unix one for all. So clients can connect before the first worker runs,
and when a worker dies, who waited in its queue is served by its successor. It waits for signals
with sigtimedwait(2), so nothing can be missed between two waits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from ._listening import Address, address_of, unlinked_at_exit
from .native import Handler, Options, OptionValues, Server, Statistics, stopped_by_signals

_logger = logging.getLogger("epoll.servers")
_ENDING = (signal.SIGINT, signal.SIGTERM)
_WATCHED = (*_ENDING, signal.SIGCHLD)

#: A worker that dies younger than this is restarted after a pause, which doubles each time.
_YOUNG_SECONDS = 1.0
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
#: How long a worker may take to end beyond its grace before it is killed.
_PATIENCE = 2.0


@dataclass
class _Worker:
    number: int
    sockets: list[socket.socket]  #: where it listens
    pid: int = 0
    started: float = 0.0
    pause: float = 0.0
    due: float = 0.0  #: when to start it again, while pid is 0
    report: int = -1  #: the pipe on which it tells its statistics


@dataclass
class _Supervisor:
    handler: Handler
    options: OptionValues
    workers: list[_Worker]
    lifeline: tuple[
        int, int
    ]  #: a pipe that the parent never writes to: its end is the parent's end
    total: list[Statistics] = field(default_factory=list)
    signals: int = 0

    def start(self, worker: _Worker) -> None:
        report, answer = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            os.close(report)
            os.close(self.lifeline[1])
            self._be_worker(worker, answer)
        os.close(answer)
        worker.pid, worker.report, worker.started = pid, report, time.monotonic()

    def _be_worker(self, worker: _Worker, answer: int) -> NoReturn:
        code = 1
        try:
            # Ctrl-C reaches the whole process group; the parent alone says what it means.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            for other in self.workers:
                for sock in () if other.sockets is worker.sockets else other.sockets:
                    sock.close()
            options: OptionValues = {**self.options, "sock": worker.sockets}
            server = Server(self.handler, **options)
            with stopped_by_signals(server, signal.SIGTERM) as signal_fd:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
                watch = threading.Thread(target=self._watch_parent, args=(server,), daemon=True)
                watch.start()
                server.run(signal_fd)
            os.write(answer, pickle.dumps(tuple(server.statistics())))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            logging.shutdown()
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            os._exit(code)

    def _watch_parent(self, server: Server) -> None:
        os.read(self.lifeline[0], 1)  # returns when the parent is gone
        server.stop()

    def reap(self) -> None:
        for worker in self.workers:
            if worker.pid == 0:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid == 0:
                continue
            self._take_report(worker)
            worker.pid = 0
            if self.signals:
                continue
            age = time.monotonic() - worker.started
            young = age < _YOUNG_SECONDS
            worker.pause = (
                min(max(worker.pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE) if young else 0.0
            )
            worker.due = time.monotonic() + worker.pause
            _logger.error(
                "worker %d (pid %d) ended with %s; starting another in %.1f s",
                worker.number,
                pid,
                _words_of(status),
                worker.pause,
            )

    def _take_report(self, worker: _Worker) -> None:
        with os.fdopen(worker.report, "rb") as report:
            data = report.read()
        if data:
            self.total.append(Statistics(*pickle.loads(data)))

    def start_due(self) -> float | None:
        """Start the workers whose time has come; return the seconds until the next one's."""
        waiting = [worker for worker in self.workers if worker.pid == 0]
        for worker in waiting:
            if worker.due <= time.monotonic():
                self.start(worker)
        pauses = [worker.due - time.monotonic() for worker in waiting if worker.pid == 0]
        return max(0.0, min(pauses)) if pauses else None

    def end(self, number: signal.Signals) -> None:
        for worker in self.workers:
            if worker.pid != 0:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def is_any_alive(self) -> bool:
        return any(worker.pid != 0 for worker in self.workers)


def supervise(
    handler: Handler,
    count: int,
    on_listening: Callable[[Address], object] | None,
    options: OptionValues,
) -> Statistics:
    """Serve with ``count`` processes until SIGINT or SIGTERM; see ``native.serve``."""
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("several workers can only be started from the main thread")
    if threading.active_count() > 1:
        raise RuntimeError("several workers cannot be started while other threads run (fork)")
    with contextlib.ExitStack() as undo:
        # Blocked before anything else, so that a signal waits until somebody looks for it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        undo.callback(signal.pthread_sigmask, signal.SIG_SETMASK, mask)
        workers = [_Worker(number, []) for number in range(1, count + 1)]
        is_shared = _listen(Options(**options), workers, undo)
        address = address_of(workers[0].sockets[0])
        lifeline = os.pipe2(os.O_CLOEXEC)
        for descriptor in lifeline:
            undo.callback(os.close, descriptor)
        supervisor = _Supervisor(handler, {**options, "shared": is_shared}, workers, lifeline)
        undo.callback(supervisor.end, signal.SIGKILL)
        supervisor.start_due()
        if on_listening is not None:
            on_listening(address)
        _watch(supervisor, Options(**options).grace)
    return Statistics(*map(sum, zip(*supervisor.total, strict=True)))


def _listen(options: Options, workers: list[_Worker], undo: contextlib.ExitStack) -> bool:
    """Give each worker its listening sockets; return whether they are the same for all."""
    is_shared = options.unix is not None or options.sock is not None
    for worker in workers:
        if is_shared and worker is not workers[0]:
            worker.sockets = workers[0].sockets
            continue
        if not is_shared:
            options = dataclasses.replace(options, reuse_port=True)
        worker.sockets = options.bind()
        for sock in worker.sockets:
            undo.enter_context(sock)
            if options.unix is not None:
                undo.enter_context(unlinked_at_exit(sock))
            sock.listen(options.backlog)
        address = address_of(worker.sockets[0])
        if isinstance(address, tuple) and not is_shared:
            options = dataclasses.replace(options, port=address[1])  # the others take the same
    return is_shared


def _watch(supervisor: _Supervisor, grace: float) -> None:
    deadline: float | None = None
    while deadline is None or supervisor.is_any_alive():
        pause = supervisor.start_due() if deadline is None else deadline - time.monotonic()
        if deadline is not None and pause is not None and pause <= 0:
            supervisor.end(signal.SIGKILL)
            pause = _PATIENCE
        received = (
            signal.sigwaitinfo(_WATCHED) if pause is None else signal.sigtimedwait(_WATCHED, pause)
        )
        if received is not None and received.si_signo in _ENDING:
            supervisor.signals += 1
            for sock in (sock for worker in supervisor.workers for sock in worker.sockets):
                sock.close()  # who connects now is turned away; the queues are the workers'
            supervisor.end(signal.SIGTERM)
            deadline = time.monotonic() + (grace if supervisor.signals == 1 else 0.0) + _PATIENCE
        supervisor.reap()


def _words_of(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
