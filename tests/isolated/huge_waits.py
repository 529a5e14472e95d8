"""A wait for more events than there is memory for is a MemoryError, and never a crash."""

from __future__ import annotations

import os
import resource

import epoll

reader, writer = os.pipe()
os.write(writer, b"x")
ep = epoll.Epoll()
ep.register(reader, epoll.EPOLLIN)
limits = resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
    used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20, limits[1]))

HUGE = 100_000_000  # times 12 bytes
for call in (
    lambda: ep.poll(0, HUGE),
    lambda: ep.wait(0, HUGE),
    lambda: epoll.wait(ep, HUGE, 0),
    lambda: epoll.EventBatch(HUGE),
):
    try:
        call()
    except MemoryError:
        pass
    else:
        raise AssertionError("there was memory for it")
    assert ep.poll(0) == [(reader, epoll.EPOLLIN)], "and it goes on"
