"""The lowest level: create, ctl, wait, close.

    printf 'Привет, сервер!' | nc -N 127.0.0.1 8000

prints the new connection, what was received, and that the connection is closed.
"""

from epoll.servers import printing

if __name__ == "__main__":
    printing.serve("127.0.0.1", 8000)
