"""One client at a time.

Start it, then run in two other terminals:

    python -m epoll.servers.echo_client

The first client is answered. The second connects and sends, and waits until the first says
``exit``: then its line "Connected by" appears here, and its answer there.
"""

from epoll.servers import blocking

if __name__ == "__main__":
    blocking.serve("127.0.0.1", 65432)
