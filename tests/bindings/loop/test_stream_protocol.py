"""The native StreamReaderProtocol as transports call it, with asyncio's as model."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Coroutine
from types import ModuleType
from typing import Any

import pytest

from epoll import _loop


class Transport:
    """Notes what is asked of it."""

    def __init__(self, **extra: object) -> None:
        self.extra = extra
        self.calls: list[str] = []

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.extra.get(name, default)

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


def run(main: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    return asyncio.run(asyncio.wait_for(main, 10))


def make(kind: ModuleType, callback: Any = None) -> tuple[Any, Any]:  # noqa: ANN401
    loop = asyncio.get_running_loop()
    reader = kind.StreamReader(loop=loop)
    return reader, kind.StreamReaderProtocol(reader, callback, loop=loop)


def test_it_feeds_its_reader(kind: ModuleType) -> None:
    async def main() -> None:
        reader, protocol = make(kind)
        transport = Transport()
        assert protocol.connection_made(transport) is None
        assert reader._transport is transport
        assert protocol.data_received(b"da") is None
        protocol.data_received(bytearray(b"ta"))
        assert protocol.eof_received() is True
        assert reader.at_eof() is False
        assert await reader.read() == b"data"
        protocol.connection_lost(None)
        assert protocol._transport is None
        assert protocol._stream_reader is None
        await protocol._get_close_waiter(None)

    run(main())


def test_over_tls_the_transport_is_not_kept_open(kind: ModuleType) -> None:
    async def main() -> None:
        _, protocol = make(kind)
        protocol.connection_made(Transport(sslcontext=object()))
        assert protocol._over_ssl is True
        assert protocol.eof_received() is False

    run(main())


def test_a_failure_ends_reads_and_waits(kind: ModuleType) -> None:
    async def main() -> None:
        reader, protocol = make(kind)
        protocol.connection_made(Transport())
        read = asyncio.ensure_future(reader.readline())
        closed = protocol._closed
        protocol.pause_writing()
        drain = asyncio.ensure_future(protocol._drain_helper())
        await asyncio.sleep(0)
        assert len(protocol._drain_waiters) == 1
        protocol.connection_lost(OSError("broken"))
        for waiting in (read, closed, drain):
            with pytest.raises(OSError, match="broken"):
                await waiting
        assert protocol._connection_lost is True
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await protocol._drain_helper()

    run(main())


def test_closed_is_known_afterwards_too(kind: ModuleType) -> None:
    async def main() -> None:
        for failure in (None, OSError("broken")):
            _, protocol = make(kind)
            protocol.connection_lost(failure)
            assert protocol._closed.done()
            assert protocol._closed.exception() is failure

    run(main())


def test_a_cancelled_wait_for_the_end_does_not_matter(kind: ModuleType) -> None:
    async def main() -> None:
        _, protocol = make(kind)
        protocol._closed.cancel()
        protocol.connection_lost(OSError("broken"))
        assert protocol._closed.cancelled()

    run(main())


def test_nobody_is_blamed_for_a_failure_that_nobody_looks_at(kind: ModuleType) -> None:
    async def main() -> None:
        reports: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        _, protocol = make(kind)
        closed = protocol._closed
        protocol.connection_lost(OSError("broken"))
        del protocol
        gc.collect()
        del closed
        gc.collect()
        assert reports == []

    run(main())


def test_pausing_twice_is_a_mistake(kind: ModuleType) -> None:
    async def main() -> None:
        _, protocol = make(kind)
        protocol.pause_writing()
        assert protocol._paused is True
        with pytest.raises(AssertionError):
            protocol.pause_writing()
        protocol.resume_writing()
        assert protocol._paused is False
        with pytest.raises(AssertionError):
            protocol.resume_writing()

    run(main())


def test_resuming_wakes_all_who_drain(kind: ModuleType) -> None:
    async def main() -> None:
        _, protocol = make(kind)
        protocol.pause_writing()
        drains = [asyncio.ensure_future(protocol._drain_helper()) for _ in range(3)]
        await asyncio.sleep(0)
        drains[1].cancel()
        protocol.resume_writing()
        done = await asyncio.gather(*drains, return_exceptions=True)
        assert [type(result) for result in done] == [
            type(None),
            asyncio.CancelledError,
            type(None),
        ]
        assert len(protocol._drain_waiters) == 0

    run(main())


def test_the_reader_is_referred_to_weakly(kind: ModuleType) -> None:
    async def main() -> None:
        reader, protocol = make(kind)
        assert protocol._stream_reader is reader
        assert protocol._stream_reader_wr() is reader
        del reader
        gc.collect()
        assert protocol._stream_reader is None
        protocol.data_received(b"nobody reads it")
        assert protocol.eof_received() is True
        protocol.connection_lost(None)

    run(main())


def test_a_servers_reader_is_kept_until_it_has_a_connection(kind: ModuleType) -> None:
    calls: list[tuple[Any, Any]] = []

    async def main() -> None:
        reader, protocol = make(kind, lambda *pair: calls.append(pair))
        gone = weakref.ref(reader)
        del reader
        gc.collect()
        assert protocol._strong_reader is gone()
        transport = Transport()
        protocol.connection_made(transport)
        assert protocol._strong_reader is None
        ((reader, writer),) = calls
        assert reader is gone()
        assert isinstance(writer, kind.StreamWriter)
        assert writer.transport is transport
        transport.close()

    run(main())


def test_a_rejected_connection_is_aborted(kind: ModuleType) -> None:
    async def main() -> None:
        reports: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        _, protocol = make(kind)
        protocol._reject_connection = True
        transport = Transport()
        protocol.connection_made(transport)
        assert transport.calls == ["abort"]
        assert reports[0]["message"].startswith("An open stream was garbage collected prior to")

    run(main())


def test_the_callbacks_task_is_kept_and_its_failure_reported(kind: ModuleType) -> None:
    async def fail(reader: object, writer: object) -> None:
        await asyncio.sleep(0)
        raise LookupError("mine")

    async def main() -> None:
        reports: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))
        _, protocol = make(kind, fail)
        transport = Transport()
        protocol.connection_made(transport)
        task = protocol._task
        assert isinstance(task, asyncio.Task)
        await asyncio.wait([task])
        await asyncio.sleep(0)
        (report,) = reports
        assert report["message"] == "Unhandled exception in client_connected_cb"
        assert report["exception"] is task.exception()
        assert report["transport"] is transport
        assert transport.calls == ["close"]
        protocol.connection_lost(None)
        assert protocol._task is None

    run(main())


def test_a_callback_that_ends_well_leaves_the_transport_open(kind: ModuleType) -> None:
    async def client(reader: object, writer: object) -> None:
        writers.append(writer)

    writers: list[Any] = []

    async def main() -> None:
        _, protocol = make(kind, client)
        transport = Transport()
        protocol.connection_made(transport)
        await asyncio.wait([protocol._task])
        await asyncio.sleep(0)
        assert transport.calls == []
        transport.close()

    run(main())


def test_any_awaitable_but_a_coroutine_is_left_alone(kind: ModuleType) -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        _, protocol = make(kind, lambda *_: future)
        transport = Transport()
        transport.close()
        protocol.connection_made(transport)
        assert protocol._task is None

    run(main())


def test_it_notes_where_its_reader_was_made(kind: ModuleType) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        reader, protocol = make(kind)
        loop.set_debug(False)
        assert protocol._source_traceback is reader._source_traceback is not None

    run(main())


def test_it_needs_a_reader_or_none(kind: ModuleType) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert kind.StreamReaderProtocol(None, loop=loop)._stream_reader is None
        with pytest.raises((TypeError, AttributeError)):
            kind.StreamReaderProtocol(5, loop=loop)

    run(main())


def test_a_subclass_may_replace_methods(kind: ModuleType) -> None:
    class Shouting(kind.StreamReaderProtocol):  # type: ignore[name-defined, misc]
        def data_received(self, data: bytes) -> None:
            super().data_received(data.upper())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reader = kind.StreamReader(loop=loop)
        protocol = Shouting(reader, loop=loop)
        protocol.data_received(b"line\n")
        assert await reader.readline() == b"LINE\n"

    run(main())


def test_it_is_freed_with_all_that_refers_to_it(kind: ModuleType) -> None:
    async def main() -> None:
        reader, protocol = make(kind)
        transport = Transport(protocol=protocol)
        protocol.connection_made(transport)
        protocol.itself = protocol
        gone = weakref.ref(protocol)
        del reader, protocol, transport
        gc.collect()
        assert gone() is None

    run(main())


class Stranger:
    pass


@pytest.mark.parametrize(
    "value",
    [5, Stranger, lambda: None, weakref.ref(Stranger)],
    ids=["number", "class", "function", "reference to a class"],
)
def test_a_weak_reference_to_no_reader_is_refused(value: object) -> None:
    async def main() -> None:
        reader, protocol = make(_loop)
        with pytest.raises(TypeError, match="must refer to an epoll StreamReader"):
            protocol._stream_reader_wr = value
        protocol.data_received(b"x")
        assert await reader.readexactly(1) == b"x"
        other = _loop.StreamReader(loop=asyncio.get_running_loop())
        protocol._stream_reader_wr = weakref.ref(other)
        protocol.data_received(b"y")
        assert await other.readexactly(1) == b"y"
        protocol._stream_reader_wr = None
        protocol.data_received(b"nobody reads it")

    run(main())
