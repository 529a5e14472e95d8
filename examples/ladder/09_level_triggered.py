"""HTTP, many clients in one thread.

``curl http://127.0.0.1:8080/`` is answered whoever else is connected and silent. Load it, with a
short queue and with a long one, and look at the longest request:

    ab -n 200000 -c 100 http://127.0.0.1:8080/
"""

from epoll.servers import level_triggered

if __name__ == "__main__":
    level_triggered.serve("127.0.0.1", 8080, backlog=128)
