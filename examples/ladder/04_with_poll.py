"""The same without the limit of 1024 descriptors.

``strace -p PID`` shows the list of (descriptor, wanted events) that goes in with every call, and
that POLLOUT is only in it while an answer is pending.
"""

from epoll.servers import with_poll

if __name__ == "__main__":
    with_poll.serve("127.0.0.1", 65432)
