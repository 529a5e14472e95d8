"""News once.

Connect once (python -m epoll.servers.echo_client): one line. Connect again: one more.
"""

from epoll.servers import show_edge_triggered

if __name__ == "__main__":
    show_edge_triggered.serve("127.0.0.1", 65432)
