"""The kernel keeps the list.

``strace -p PID`` shows ``epoll_wait`` without any list: it answers with those who are ready, and
``epoll_ctl`` appears only when something changes.
"""

from epoll.servers import with_epoll

if __name__ == "__main__":
    with_epoll.serve("127.0.0.1", 65432)
