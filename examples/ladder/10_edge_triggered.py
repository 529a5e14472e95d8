"""HTTP, news once.

``strace -c -p PID`` under the load of ``ab -n 20000 -c 100 http://127.0.0.1:8080/``: one
``epoll_ctl`` to register each client and one to forget it; ``level_triggered`` has two more.
"""

from epoll.servers import edge_triggered

if __name__ == "__main__":
    edge_triggered.serve("127.0.0.1", 8080)
