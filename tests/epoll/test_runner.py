"""How programs come to run on our loop: run(), runners, policies."""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import sys
import warnings

import pytest

import epoll

HAS_POLICIES = sys.version_info < (3, 16)


async def kind_of_loop() -> type:
    return type(asyncio.get_running_loop())


def test_run_runs_on_our_loop() -> None:
    assert epoll.run(kind_of_loop()) is epoll.EventLoop


def test_run_has_the_signature_of_asyncio() -> None:
    ours = inspect.signature(epoll.run).parameters.values()
    theirs = inspect.signature(asyncio.run).parameters.values()
    assert [(p.name, p.kind, p.default) for p in ours] == [
        (p.name, p.kind, p.default) for p in theirs
    ]


def test_run_sets_the_debug_mode() -> None:
    async def is_debug() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert epoll.run(is_debug(), debug=True)
    assert not epoll.run(is_debug(), debug=False)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="run() takes a factory since Python 3.12")
def test_run_takes_a_factory() -> None:
    kind = epoll.run(kind_of_loop(), loop_factory=asyncio.SelectorEventLoop)
    assert kind is not epoll.EventLoop


def test_run_does_not_nest() -> None:
    async def main() -> None:
        coroutine = kind_of_loop()
        with pytest.raises(RuntimeError, match="from a running event loop"):
            epoll.run(coroutine)
        coroutine.close()

    epoll.run(main())


def test_run_refuses_what_is_no_coroutine() -> None:
    with pytest.raises((TypeError, ValueError), match="coroutine"):
        epoll.run(1)  # type: ignore[arg-type]


def test_runner_takes_new_event_loop() -> None:
    with asyncio.Runner(loop_factory=epoll.new_event_loop) as runner:
        assert runner.run(kind_of_loop()) is epoll.EventLoop
        assert isinstance(runner.get_loop(), asyncio.SelectorEventLoop)


def test_interrupt_cancels_the_main_task() -> None:
    cancelled: list[bool] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(KeyboardInterrupt):
        epoll.run(main())
    assert cancelled == [True]


@pytest.mark.skipif(not HAS_POLICIES, reason="policies are gone since Python 3.16")
def test_policy_makes_our_loops() -> None:
    loop = epoll.EventLoopPolicy().new_event_loop()
    assert type(loop) is epoll.EventLoop
    loop.close()


@pytest.mark.skipif(not HAS_POLICIES, reason="policies are gone since Python 3.16")
@pytest.mark.filterwarnings("ignore:'?asyncio:DeprecationWarning")
def test_install_makes_asyncio_use_our_loops() -> None:
    try:
        epoll.install()
        assert asyncio.run(kind_of_loop()) is epoll.EventLoop
    finally:
        asyncio.set_event_loop_policy(None)


def test_import_is_silent_and_leaves_asyncio_alone() -> None:
    program = (
        "import sys, epoll\n"
        "assert 'asyncio' not in sys.modules\n"
        "assert {'run', 'EventLoop', 'new_event_loop'} <= set(dir(epoll))\n"
        "epoll.run, epoll.EventLoop, epoll.new_event_loop\n"
        "assert 'asyncio' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_unknown_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="no attribute 'uvloop'"):
        epoll.uvloop  # type: ignore[attr-defined]  # noqa: B018


def test_loop_is_the_default_of_no_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(kind_of_loop()) is not epoll.EventLoop
