#include "stream_reader.hpp"

#include <algorithm>
#include <utility>

#include "../errors.hpp"
#include "transport.hpp"

namespace epoll::python {

namespace {

bool is_native(const StreamReaderObject& reader) noexcept {
    return is_native_transport(*reader.state, reader.transport.get());
}

/// Wakes the read that waits, if one does: with an exception, or (null) to look at the buffer.
bool wake(StreamReaderObject& reader, PyObject* exception) noexcept {
    if (!reader.waiter) {
        return true;
    }
    const Ref waiter = std::move(reader.waiter);
    return resolve_unless_cancelled(*reader.state, waiter.get(), exception);
}

/// A transport that cannot be paused is forgotten, so that it is not asked again.
bool pause(StreamReaderObject& reader) noexcept {
    if (is_native(reader)) {
        pause_reading(*reader.state, reader.transport.get());
    } else if (!call_method(reader.state->streams.pause_reading, reader.transport.get())) {
        if (PyErr_ExceptionMatches(PyExc_NotImplementedError) == 0) {
            return false;
        }
        PyErr_Clear();
        reader.transport.reset();
        return true;
    }
    reader.is_paused = true;
    return true;
}

bool on_fed(StreamReaderObject& reader) noexcept {
    if (!wake(reader, nullptr)) {
        return false;
    }
    const bool is_too_much =
        reader.buffer.size() / 2 >= reader.limit && reader.buffer.size() > 2 * reader.limit;
    return !is_too_much || reader.is_paused || !reader.transport || pause(reader);
}

bool require_before_eof(const StreamReaderObject& reader) noexcept {
    if (reader.has_ended) {
        (void)error(PyExc_AssertionError, "feed_data after feed_eof");
    }
    return !reader.has_ended;
}

}  // namespace

std::span<std::byte> receive_room(StreamReaderObject& reader) noexcept {
    try {
        // One more than is wanted: room that is filled would be followed by another receive.
        const std::size_t wanted = reader.awaited + 1;
        const std::size_t held = reader.buffer.size();
        return reader.buffer.make_room_to_receive(std::max(wanted, held) - held);
    } catch (...) {
        translate_exception();
        return {};
    }
}

bool feed_received(StreamReaderObject& reader, std::size_t count) noexcept {
    if (!require_before_eof(reader)) {
        return false;
    }
    reader.buffer.add_received(count);
    return on_fed(reader);
}

bool feed_data(StreamReaderObject& reader, std::span<const std::byte> bytes) {
    if (!require_before_eof(reader)) {
        return false;
    }
    if (bytes.empty()) {
        return true;
    }
    reader.buffer.append(bytes);
    return on_fed(reader);
}

bool feed_eof(StreamReaderObject& reader) noexcept {
    reader.has_ended = true;
    return wake(reader, nullptr);
}

bool set_exception(StreamReaderObject& reader, PyObject* exception) noexcept {
    reader.exception = Py_IsNone(exception) ? Ref{} : Ref::borrow(exception);
    return wake(reader, exception);
}

bool set_transport(StreamReaderObject& reader, PyObject* transport) noexcept {
    if (reader.transport) {
        (void)error(PyExc_AssertionError, "Transport already set");
        return false;
    }
    reader.transport = Ref::borrow(transport);
    return true;
}

bool resume_if_low(StreamReaderObject& reader) noexcept {
    return !reader.is_paused || reader.buffer.size() > reader.limit || resume(reader);
}

bool resume(StreamReaderObject& reader) noexcept {
    if (!reader.is_paused) {
        return true;
    }
    reader.is_paused = false;
    if (reader.transport && is_native(reader)) {
        resume_reading(*reader.state, reader.transport.get());
        return true;
    }
    return static_cast<bool>(
        call_method(reader.state->streams.resume_reading, reader.transport.get()));
}

Ref take_bytes(StreamReaderObject& reader, std::size_t count) noexcept {
    Ref taken = Ref::steal(
        PyBytes_FromStringAndSize(reinterpret_cast<const char*>(reader.buffer.content().data()),
                                  static_cast<Py_ssize_t>(count)));
    if (taken) {
        reader.buffer.take(count);
    }
    return taken;
}

}  // namespace epoll::python
