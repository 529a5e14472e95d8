#pragma once

#include <cstddef>
#include <span>

#include "python.hpp"

namespace epoll::python {

/// The contiguous bytes of an object (bytes, bytearray, memoryview, array …), borrowed while it
/// lives.
///
/// `bytes` is read directly; anything else is locked by the buffer protocol until the end.
class BytesView {
  public:
    BytesView() noexcept = default;
    BytesView(const BytesView&) = delete;
    BytesView& operator=(const BytesView&) = delete;
    ~BytesView() {
        if (view_.obj != nullptr) {
            PyBuffer_Release(&view_);
        }
    }

    /// Looks at `object`, once. False with TypeError or BufferError set when it has no such bytes.
    [[nodiscard]] bool open(PyObject* object) noexcept {
        if (PyBytes_CheckExact(object)) {
            bytes_ = make_span(PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object));
            return true;
        }
        if (PyObject_GetBuffer(object, &view_, PyBUF_SIMPLE) < 0) {
            return false;
        }
        bytes_ = make_span(view_.buf, view_.len);
        return true;
    }

    /// Valid while this view and the object live.
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

    /// What this view keeps alive, for whoever shows it to the garbage collector; null: nothing.
    [[nodiscard]] PyObject* exporter() const noexcept { return view_.obj; }

  private:
    static std::span<const std::byte> make_span(const void* data, Py_ssize_t size) noexcept {
        return {static_cast<const std::byte*>(data), static_cast<std::size_t>(size)};
    }

    Py_buffer view_{};
    std::span<const std::byte> bytes_;
};

/// Bytes that somebody else has to be able to write to, borrowed while it lives.
class RoomView {
  public:
    RoomView() noexcept = default;
    RoomView(const RoomView&) = delete;
    RoomView& operator=(const RoomView&) = delete;
    ~RoomView() {
        if (view_.obj != nullptr) {
            PyBuffer_Release(&view_);
        }
    }

    /// Looks at `object`, once. False, and no exception, when it has no such bytes.
    [[nodiscard]] bool open(PyObject* object) noexcept {
        if (PyObject_GetBuffer(object, &view_, PyBUF_WRITABLE) < 0) {
            PyErr_Clear();
            return false;
        }
        return true;
    }

    [[nodiscard]] std::span<std::byte> bytes() const noexcept {
        return {static_cast<std::byte*>(view_.buf), static_cast<std::size_t>(view_.len)};
    }

  private:
    Py_buffer view_{};
};

}  // namespace epoll::python
