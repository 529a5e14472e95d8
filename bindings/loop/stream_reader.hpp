#pragma once

#include <cstddef>
#include <span>

#include "../python.hpp"
#include "../ref.hpp"
#include "loop_state.hpp"
#include "stream_buffer.hpp"

namespace epoll::python {

/// An asyncio.StreamReader whose bytes lie in a StreamBuffer.
///
/// The fields mean what those of asyncio's class mean, and are its attributes (`_buffer` is a copy
/// that writes its changes back). It needs no loop of ours: fed by hand it works with any. It
/// belongs to its loop's thread.
struct StreamReaderObject {
    PyObject_HEAD
    LoopState* state;
    Ref loop;
    Ref waiter;  ///< the future on which the one waiting read waits
    Ref exception;
    Ref transport;
    Ref limit_object;  ///< `limit` as the program gave it
    Ref source_traceback;
    StreamBuffer buffer;
    std::size_t limit;    ///< of a line; above twice as many unread bytes the transport is paused
    std::size_t awaited;  ///< a waiting read wants this many bytes in the buffer; 0: as they come
    bool has_ended;       ///< feed_eof() was called
    bool is_paused;

    [[nodiscard]] PyObject* as_python() noexcept { return reinterpret_cast<PyObject*>(this); }
};

[[nodiscard]] inline StreamReaderObject& reader_of(PyObject* object) noexcept {
    return *reinterpret_cast<StreamReaderObject*>(object);
}

// Each false: a Python exception is set.

/// Where the bytes for `reader` may be received to, directly. Empty with MemoryError set.
[[nodiscard]] std::span<std::byte> receive_room(StreamReaderObject& reader) noexcept;

/// `count` bytes have been received there: as feed_data().
[[nodiscard]] bool feed_received(StreamReaderObject& reader, std::size_t count) noexcept;

[[nodiscard]] bool feed_data(StreamReaderObject& reader, std::span<const std::byte> bytes);
[[nodiscard]] bool feed_eof(StreamReaderObject& reader) noexcept;

/// `exception` is borrowed; every read raises it from now on.
[[nodiscard]] bool set_exception(StreamReaderObject& reader, PyObject* exception) noexcept;
[[nodiscard]] bool set_transport(StreamReaderObject& reader, PyObject* transport) noexcept;

/// A paused transport reads again once the buffer is down to the limit; for who has taken bytes.
[[nodiscard]] bool resume_if_low(StreamReaderObject& reader) noexcept;

/// A paused transport reads again; for who waits for bytes.
[[nodiscard]] bool resume(StreamReaderObject& reader) noexcept;

/// The first `count` bytes as a bytes object, taken out. The transport stays as it is.
[[nodiscard]] Ref take_bytes(StreamReaderObject& reader, std::size_t count) noexcept;

// The coroutines, not begun (see read_operation.cpp). Arguments are borrowed and judged when they
// begin.
[[nodiscard]] Ref make_read(StreamReaderObject& reader, PyObject* count) noexcept;
[[nodiscard]] Ref make_readexactly(StreamReaderObject& reader, PyObject* count) noexcept;
[[nodiscard]] Ref make_readuntil(StreamReaderObject& reader, PyObject* separator) noexcept;
[[nodiscard]] Ref make_readline(StreamReaderObject& reader) noexcept;
[[nodiscard]] Ref make_next_line(StreamReaderObject& reader) noexcept;  ///< of `async for`

/// Makes the type epoll._loop.StreamReader.
[[nodiscard]] bool add_reader_type(PyObject* module, LoopState& state);

}  // namespace epoll::python
