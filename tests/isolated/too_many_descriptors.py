"""Without a free descriptor everything fails with EMFILE, and works again afterwards."""

from __future__ import annotations

import errno
import os
import resource

import epoll

limits = resource.getrlimit(resource.RLIMIT_NOFILE)
reader, writer = os.pipe()
os.write(writer, b"x")
ep = epoll.Epoll()
selector = epoll.EpollSelector()
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))

for make in (epoll.create, epoll.Epoll, epoll.EpollSelector):
    error = None
    try:
        make()
    except OSError as failure:
        error = failure.errno
    assert error == errno.EMFILE, (make, error)

# What is open goes on.
ep.register(reader, epoll.EPOLLIN)
assert ep.poll(0) == [(reader, epoll.EPOLLIN)]
selector.register(reader, 1)
assert len(selector.select(0)) == 1

resource.setrlimit(resource.RLIMIT_NOFILE, limits)
epoll.close(epoll.create())
epoll.Epoll().close()
epoll.EpollSelector().close()
ep.close()
selector.close()
