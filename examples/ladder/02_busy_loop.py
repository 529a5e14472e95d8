"""Many clients, at the price of asking all of them all the time.

Two clients (python -m epoll.servers.echo_client) are now answered together. Watch the processor
time with ``pause=0.0`` (``top``), and the delay of the answers with a pause of 0.1 s.
"""

from epoll.servers import busy_loop

if __name__ == "__main__":
    busy_loop.serve("127.0.0.1", 65432, pause=0.1)
