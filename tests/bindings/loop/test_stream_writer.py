"""The native StreamWriter over a transport that is not ours, with asyncio's as model."""

from __future__ import annotations

import asyncio
import gc
import warnings
import weakref
from collections.abc import Coroutine
from types import ModuleType
from typing import Any

import pytest

from epoll import _loop


class Transport:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: self.calls.append((name, *args))

    def is_closing(self) -> bool:
        return ("close",) in self.calls

    def get_extra_info(self, name: str, default: object = None) -> object:
        return {"name": "value"}.get(name, default)


def run(main: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    return asyncio.run(asyncio.wait_for(main, 10))


def make(kind: ModuleType) -> tuple[Any, Any, Transport]:
    loop = asyncio.get_running_loop()
    reader = kind.StreamReader(loop=loop)
    protocol = kind.StreamReaderProtocol(reader, loop=loop)
    transport = Transport()
    return kind.StreamWriter(transport, protocol, reader, loop), protocol, transport


def test_it_is_an_asyncio_stream_writer(kind: ModuleType) -> None:
    assert issubclass(kind.StreamWriter, asyncio.StreamWriter)
    assert kind.StreamWriter.__name__ == "StreamWriter"


def test_every_call_goes_to_the_transport(kind: ModuleType) -> None:
    async def main() -> None:
        writer, protocol, transport = make(kind)
        data = memoryview(b"data")
        assert writer.write(data) is None
        assert writer.writelines([b"a", b"b"]) is None
        writer.write_eof()
        writer.can_write_eof()
        assert not writer.is_closing()
        writer.close()
        assert writer.is_closing()
        assert transport.calls == [
            ("write", data),
            ("writelines", [b"a", b"b"]),
            ("write_eof",),
            ("can_write_eof",),
            ("close",),
        ]
        assert writer.get_extra_info("name") == "value"
        assert writer.get_extra_info("other", 5) == 5
        assert writer.transport is transport
        assert writer._protocol is protocol
        assert repr(writer) == f"<StreamWriter transport={transport!r} reader={writer._reader!r}>"

    run(main())


def test_it_works_without_a_reader(kind: ModuleType) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol = kind.StreamReaderProtocol(None, loop=loop)
        writer = kind.StreamWriter(Transport(), protocol, None, loop)
        await writer.drain()
        writer.close()
        assert "reader" not in repr(writer)

    run(main())


def test_drain_waits_while_the_protocol_is_paused(kind: ModuleType) -> None:
    async def main() -> None:
        writer, protocol, transport = make(kind)
        await writer.drain()
        protocol.pause_writing()
        drain = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not drain.done()
        protocol.resume_writing()
        assert await drain is None
        assert len(protocol._drain_waiters) == 0
        transport.close()

    run(main())


def test_drain_asks_the_reader_then_the_transport_then_the_protocol(kind: ModuleType) -> None:
    async def main() -> None:
        writer, protocol, transport = make(kind)
        transport.close()
        drain = writer.drain()
        assert drain.send(None) is None
        protocol.connection_lost(None)
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            drain.send(None)
        writer._reader.set_exception(LookupError("mine"))
        with pytest.raises(LookupError, match="mine"):
            await writer.drain()

    run(main())


def test_wait_closed(kind: ModuleType) -> None:
    async def main() -> None:
        writer, protocol, transport = make(kind)
        closed = asyncio.ensure_future(writer.wait_closed())
        await asyncio.sleep(0)
        transport.close()
        protocol.connection_lost(OSError("broken"))
        for wait in (closed, writer.wait_closed(), writer.wait_closed()):
            with pytest.raises(OSError, match="broken"):
                await wait

    run(main())


def test_wait_closed_after_the_end_does_not_suspend(kind: ModuleType) -> None:
    async def main() -> None:
        writer, protocol, transport = make(kind)
        transport.close()
        protocol.connection_lost(None)
        with pytest.raises(StopIteration):
            writer.wait_closed().send(None)

    run(main())


def test_names_of_the_coroutines(kind: ModuleType) -> None:
    async def main() -> None:
        writer, _, transport = make(kind)
        for name in ("drain", "wait_closed"):
            call = getattr(writer, name)()
            assert call.__qualname__ == f"StreamWriter.{name}"
            call.close()
        transport.close()

    run(main())


def test_what_the_transport_raises_comes_out(kind: ModuleType) -> None:
    class Broken(Transport):
        def write(self, data: object) -> None:
            raise LookupError("broken")

        def is_closing(self) -> bool:
            raise LookupError("broken")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol = kind.StreamReaderProtocol(None, loop=loop)
        writer = kind.StreamWriter(Broken(), protocol, None, loop)
        for call in (writer.is_closing, lambda: writer.write(b"")):
            with pytest.raises(LookupError, match="broken"):
                call()
        with pytest.raises(LookupError, match="broken"):
            await writer.drain()
        writer._transport = transport = Transport()
        assert writer.transport is transport
        transport.close()

    run(main())


@pytest.mark.skipif(
    not hasattr(asyncio.StreamWriter, "__del__"), reason="this version has no such finalizer"
)
def test_a_dropped_writer_closes_its_transport_with_a_warning(kind: ModuleType) -> None:
    async def main() -> Any:  # noqa: ANN401
        writer, _, transport = make(kind)
        with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            del writer
        assert transport.calls == [("close",)]
        writer, _, transport = make(kind)
        transport.close()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del writer
            gc.collect()
        return make(kind)[0]

    writer = run(main())
    with pytest.warns(ResourceWarning, match="loop is closed"):
        del writer


def test_it_is_freed_with_all_that_refers_to_it(kind: ModuleType) -> None:
    async def main() -> None:
        writer, _, transport = make(kind)
        transport.close()
        transport.writer = writer  # type: ignore[attr-defined]
        writer.itself = writer
        gone = weakref.ref(writer)
        del writer, transport
        gc.collect()
        assert gone() is None

    run(main())


def test_a_native_writer_takes_native_objects_only() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol = _loop.StreamReaderProtocol(None, loop=loop)
        reader = asyncio.StreamReader(loop=loop)
        with pytest.raises(TypeError, match="must be those of an epoll stream"):
            _loop.StreamWriter(Transport(), protocol, reader, loop)
        with pytest.raises(TypeError, match="must be those of an epoll stream"):
            _loop.StreamWriter(Transport(), asyncio.StreamReaderProtocol(reader), None, loop)
        with pytest.raises(TypeError, match="missing"):
            _loop.StreamWriter(Transport())  # type: ignore[call-arg]

    run(main())


def test_a_writer_without_init_raises() -> None:
    writer = _loop.StreamWriter.__new__(_loop.StreamWriter)
    with pytest.raises(AttributeError):
        writer.write(b"data")
    with pytest.raises(AttributeError):
        writer.drain()
    assert writer.transport is None
