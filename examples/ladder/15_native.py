r"""The top: C++ moves the bytes, Python answers complete messages.

    printf 'hello\nworld\n' | nc -N 127.0.0.1 8000

prints both lines in capitals; Ctrl-C ends the server, which prints what it has done. From the
shell it is `epoll serve module:function`.
"""

from epoll.servers import native


def shout(message: bytes) -> bytes:
    return message.upper()


if __name__ == "__main__":
    print(native.serve(shout, port=8000, framing="line"))
