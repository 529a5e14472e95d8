"""A process ends although daemon threads of it still wait."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import threading, time, epoll
ep = epoll.Epoll()
started = threading.Barrier(5)
def wait(call):
    started.wait()
    while True:
        call()
for call in (ep.poll, ep.wait, lambda: ep.wait_into(epoll.EventBatch(1)), lambda: ep.poll(0.0005)):
    threading.Thread(target=wait, args=(call,), daemon=True).start()
started.wait()
time.sleep({pause})
"""

for attempt in range(12):
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(pause=attempt * 0.0005)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=20,
        check=False,
        text=True,
    )
    assert (child.returncode, child.stdout) == (0, ""), (child.returncode, child.stdout)
