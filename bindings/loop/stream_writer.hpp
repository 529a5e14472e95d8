#pragma once

#include "../python.hpp"
#include "../ref.hpp"
#include "loop_state.hpp"

namespace epoll::python {

/// An asyncio.StreamWriter over a StreamReaderProtocol of ours and any transport.
///
/// To a SocketTransport it writes without a detour over Python. drain() that has nothing to wait
/// for is finished as soon as it is awaited. The fields are asyncio's attributes.
struct StreamWriterObject {
    PyObject_HEAD
    LoopState* state;
    Ref transport;
    Ref protocol;
    Ref reader;  ///< a StreamReader of ours, or none
    Ref loop;
    Ref complete_future;  ///< `_complete_fut`, made when somebody asks for it

    [[nodiscard]] PyObject* as_python() noexcept { return reinterpret_cast<PyObject*>(this); }
};

[[nodiscard]] inline StreamWriterObject& writer_of(PyObject* object) noexcept {
    return *reinterpret_cast<StreamWriterObject*>(object);
}

/// A writer. All objects are borrowed; `reader` may be null.
[[nodiscard]] Ref make_writer(LoopState& state, PyObject* transport, PyObject* protocol,
                              PyObject* reader, PyObject* loop) noexcept;

/// Whether writer.transport is closing, or closed.
[[nodiscard]] Answer is_closing(const StreamWriterObject& writer) noexcept;

// The coroutines, not begun (see write_operation.cpp).
[[nodiscard]] Ref make_drain(StreamWriterObject& writer) noexcept;
[[nodiscard]] Ref make_wait_closed(StreamWriterObject& writer) noexcept;

/// Makes the type epoll._loop.StreamWriter.
[[nodiscard]] bool add_writer_type(PyObject* module, LoopState& state);

}  // namespace epoll::python
