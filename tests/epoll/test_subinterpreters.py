"""The module in interpreters of their own, with a GIL of their own where Python has that."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Runs `source` in a new interpreter of this process, as isolated as the version allows.
RUN = """
import sys, textwrap
def run(source, isolated=sys.version_info >= (3, 12)):
    source = "import sys; sys.path[:] = " + repr(sys.path) + chr(10) + textwrap.dedent(source)
    if sys.version_info >= (3, 13):
        import _interpreters
        number = _interpreters.create("isolated")
        failure = _interpreters.exec(number, source)
        _interpreters.destroy(number)
        if failure: raise SystemExit(failure.errdisplay)
    else:
        import _xxsubinterpreters
        number = _xxsubinterpreters.create(isolated=isolated)
        _xxsubinterpreters.run_string(number, source)
        _xxsubinterpreters.destroy(number)
"""


def run_in_child(program: str) -> None:
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=50,
        check=False,
        text=True,
    )
    assert child.returncode == 0, child.stdout


USE = '''
USE = """
    import os, epoll
    reader, writer = os.pipe()
    os.write(writer, b"x")
    with epoll.Epoll() as ep:
        ep.register(reader, epoll.EPOLLIN, data=["attached"])
        assert ep.wait() == [(["attached"], 1)]
        batch = epoll.EventBatch(4)
        assert ep.wait_into(batch) == 1 and list(batch) == [(reader, 1)]
        ep.unregister(reader)
        assert ep.poll(0.001) == []
    selector = epoll.EpollSelector()
    key = selector.register(reader, 1)
    assert selector.select(0) == [(key, 1)]
    selector.close()
    fd = epoll.create()
    epoll.ctl(fd, reader, epoll.EPOLL_CTL_ADD, 1)
    assert epoll.wait(fd, 1, 0) == [(reader, 1)]
    epoll.close(fd)
    os.close(reader)
    os.close(writer)
"""
'''


def test_one_after_the_other() -> None:
    run_in_child(USE + "for _ in range(3): run(USE)")


def test_beside_the_main_one() -> None:
    run_in_child(
        USE + "import epoll\nep = epoll.Epoll()\nrun(USE)\nassert ep.poll(0) == []\nrun(USE)"
    )


def test_object_that_is_left_open_ends_with_its_interpreter() -> None:
    run_in_child(
        """
import os
before = os.listdir("/proc/self/fd")
run('''
    import os, epoll
    left = epoll.Epoll()
    reader, writer = os.pipe()
    left.register(reader, 1, data=left)
    os.close(reader)
    os.close(writer)
''')
assert os.listdir("/proc/self/fd") == before
"""
    )


def test_several_at_a_time() -> None:
    run_in_child(
        USE
        + """
import threading
failures = []
def work():
    try:
        run(USE)
    except BaseException as failure:
        failures.append(failure)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join(40)
assert not failures, failures
assert not any(thread.is_alive() for thread in threads)
"""
    )


own_gil = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="a GIL of their own came with Python 3.12"
)


@own_gil
def test_own_gil_is_allowed() -> None:
    """An isolated interpreter refuses a module that does not say that it can do with this."""
    run_in_child('run("import epoll._core")')


LOOP = """
import threading
LOOP = r'''
    import asyncio, socket, threading
    import epoll

    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async def main():
        loop = asyncio.get_running_loop()
        assert type(loop) is epoll.EventLoop
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address)
        for number in range(100):
            writer.write(b"%d\\n" % number)
            assert await reader.readline() == b"%d\\n" % number
            await asyncio.sleep(0)
        writer.close()
        await writer.wait_closed()
        server.close()
        await asyncio.sleep(0.001)
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
        woken = asyncio.Event()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=[woken.set])
        thread.start()
        await woken.wait()
        thread.join()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            waiting = asyncio.create_task(loop.sock_recv(ours, 1))
            await asyncio.sleep(0)
            theirs.send(b"x")
            assert await waiting == b"x"
        assert loop.statistics().connections_accepted == 1
        assert "epoll_loop_turns_total" in epoll.prometheus_text(loop)

    for _ in range(3):
        epoll.run(main())
'''
failures = []
def work():
    try:
        for _ in range(2):
            run(LOOP, isolated=sys.version_info >= (3, 13))
    except BaseException as failure:
        failures.append(failure)
"""


def test_event_loop_works_in_an_interpreter() -> None:
    """In one with a GIL of its own where asyncio can: Python 3.12.1 crashes when it imports it."""
    run_in_child(LOOP + "work(); assert not failures, failures")


@pytest.mark.skipif(
    sys.version_info < (3, 12),
    reason="asyncio itself has one running loop for all interpreters before Python 3.12",
)
def test_event_loops_of_several_interpreters_run_at_a_time() -> None:
    run_in_child(
        LOOP
        + """
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
import asyncio, epoll
epoll.run(asyncio.sleep(0.01))  # beside one in the main interpreter
for thread in threads: thread.join(40)
assert not failures, failures
assert not any(thread.is_alive() for thread in threads)
"""
    )


@pytest.mark.skipif(
    sys.version_info < (3, 13), reason="asyncio cannot be imported there before Python 3.13"
)
def test_watchdog_says_that_it_needs_a_daemon_thread() -> None:
    run_in_child(
        """
run('''
    import epoll
    loop = epoll.EventLoop()
    try:
        loop.watch_blocking(1).stop()
    except RuntimeError as refusal:
        assert "daemon" in str(refusal), refusal
    loop.close()
''')
"""
    )
