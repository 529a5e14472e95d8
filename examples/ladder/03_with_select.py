"""The kernel says who is ready.

Two clients (python -m epoll.servers.echo_client) are answered together, at once, and ``top`` shows
nothing while they are silent. ``strace -p PID`` shows that every client is named in every call.
"""

from epoll.servers import with_select

if __name__ == "__main__":
    with_select.serve("127.0.0.1", 65432)
