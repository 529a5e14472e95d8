"""HTTP, head and body in one segment.

``tcpdump -i lo port 8080`` with one ``curl http://127.0.0.1:8080/``: two ``send``, one segment.
"""

from epoll.servers import corked

if __name__ == "__main__":
    corked.serve("127.0.0.1", 8080)
