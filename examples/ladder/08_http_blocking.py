"""HTTP, one request after the other.

    curl http://127.0.0.1:8080/

Then open a connection that says nothing (``nc 127.0.0.1 8080``), and try ``curl`` again: it waits
until ``nc`` has gone. ``http_blocking_once`` is the same for one single request.
"""

from epoll.servers import http_blocking

if __name__ == "__main__":
    http_blocking.serve("127.0.0.1", 8080)
