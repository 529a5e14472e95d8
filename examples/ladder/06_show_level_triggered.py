"""The same news again and again.

Connect once (python -m epoll.servers.echo_client): it prints without end, here up to 1000 lines.
"""

from epoll.servers import show_level_triggered

if __name__ == "__main__":
    show_level_triggered.serve("127.0.0.1", 65432, count=1000)
