"""HTTP, one event, then silence until ``modify``.

``strace -p PID`` with one ``curl http://127.0.0.1:8080/``: after each event an ``epoll_ctl`` with
EPOLL_CTL_MOD asks for the next one.
"""

from epoll.servers import one_shot

if __name__ == "__main__":
    one_shot.serve("127.0.0.1", 8080)
