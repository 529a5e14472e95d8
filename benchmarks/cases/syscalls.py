"""System calls per echoed message, counted by strace.

Every server is traced twice, with few and with many messages on one connection. The difference is
divided by the difference of the numbers of messages: what belongs to accepting, closing and to the
tracing itself cancels out, and only the steady state is left.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from benchmarks.loop_operations import LOOP_SYSCALLS
from benchmarks.measure import NotAvailableError, Report, Settings, Table, verdict
from benchmarks.operations import SYSCALLS, Trace
from benchmarks.servers import RunningServer, require, running, send_load

TRACES: dict[str, tuple[Trace, ...]] = {"syscalls": SYSCALLS, "loop-syscalls": LOOP_SYSCALLS}
SENDING = {"send", "sendto", "sendmsg", "sendmmsg", "write", "writev"}
FEW, MANY = 1000, 3000
TRACE_LIMIT = 60.0


def measure(name: str, settings: Settings) -> Report:
    """Count the calls of every server; rounds and seconds do not matter here."""
    report = Report()
    if shutil.which("strace") is None:
        report.missing["strace"] = "no strace in PATH"
        return report
    table = Table("1 connection, 1024 bytes", ["server", "calls/message", "target", "which"])
    for trace in TRACES[name]:
        try:
            require(trace.server)
            calls = _per_message(trace)
        except NotAvailableError as reason:
            report.missing[trace.server] = str(reason)
            continue
        report.samples[trace.server] = calls
        which = ", ".join(f"{name} {count:.2f}" for name, count in calls.items() if count >= 0.005)
        total = sum(calls.values())
        table.rows.append([trace.server, f"{total:.2f}", _verdict(trace, calls), which])
    report.tables.append(table)
    return report


def _verdict(trace: Trace, calls: dict[str, float]) -> str:
    answers = [verdict(sum(calls.values()), trace.target, at_most=True)]
    if trace.sends is not None:
        sends = sum(count for name, count in calls.items() if name in SENDING)
        answers.append(f"sends {verdict(sends, trace.sends, at_most=True)}")
    answers += [
        f"{name} 0: {'held' if round(calls.get(name, 0), 2) == 0 else 'missed'}"
        for name in trace.without
    ]
    return ", ".join(answers)


def _per_message(trace: Trace) -> dict[str, float]:
    with running(trace.server) as server:
        few, many = (_count(server, trace, messages) for messages in (FEW, MANY))
    differences = {name: many[name] - few.get(name, 0) for name in many}
    per_message = {name: count / (MANY - FEW) for name, count in differences.items() if count}
    return dict(sorted(per_message.items(), key=lambda item: -item[1]))


def _count(server: RunningServer, trace: Trace, messages: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary"
        command = ["strace", "-f", "-c", "-o", str(summary), "-p", str(server.pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            _wait_until_attached(tracer)
            send_load(server, trace.load, "--messages", str(messages), limit=TRACE_LIMIT)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=TRACE_LIMIT)
        return _parse(summary.read_text())


def _wait_until_attached(tracer: subprocess.Popen[bytes]) -> None:
    assert tracer.stderr is not None
    line = tracer.stderr.readline().decode()  # strace ends by itself when it may not attach
    if "attached" not in line:
        raise NotAvailableError(line.strip() or "strace said nothing")


def _parse(summary: str) -> dict[str, int]:
    """Read the columns: % time, seconds, usecs/call, calls, errors (may be empty), syscall."""
    counts: dict[str, int] = {}
    for line in summary.splitlines():
        cells = line.split()
        if len(cells) in (5, 6) and cells[3].isdigit() and cells[-1] != "total":
            counts[cells[-1]] = int(cells[3])
    return counts
