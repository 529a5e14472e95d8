"""HTTP, every write leaves at once.

``tcpdump -i lo port 8080`` with one ``curl http://127.0.0.1:8080/``: two ``send``, two segments.
"""

from epoll.servers import no_delay

if __name__ == "__main__":
    no_delay.serve("127.0.0.1", 8080)
