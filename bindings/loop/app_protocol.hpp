#pragma once

#include <cstddef>
#include <span>

#include "../python.hpp"
#include "../ref.hpp"
#include "native_protocol.hpp"

namespace epoll::python {

struct LoopState;

/// The protocol that a TlsTransport talks to: one of ours, or any object of Python. Everything that
/// may call Python answers false, or -1, with an exception set.
class AppProtocol {
  public:
    [[nodiscard]] bool set(const LoopState& state, PyObject* protocol);
    void reset() noexcept;

    [[nodiscard]] PyObject* object() const noexcept { return object_.get(); }  ///< borrowed
    [[nodiscard]] NativeProtocol* native() const noexcept { return native_; }
    [[nodiscard]] bool is_buffered() const noexcept { return static_cast<bool>(get_buffer_); }

    [[nodiscard]] bool connection_made(PyObject* transport);
    [[nodiscard]] bool data_received(PyObject* bytes);
    /// get_buffer(size_hint); empty with an exception set.
    [[nodiscard]] Ref get_buffer(std::size_t size_hint);
    [[nodiscard]] bool buffer_updated(std::size_t count);
    [[nodiscard]] int eof_received();
    [[nodiscard]] bool pause_writing();
    [[nodiscard]] bool resume_writing();

    int traverse(visitproc visit, void* arg) const noexcept;

  private:
    [[nodiscard]] bool call(const Ref& name);

    const LoopState* state_ = nullptr;
    Ref object_;
    NativeProtocol* native_ = nullptr;
    Ref get_buffer_;  ///< of a BufferedProtocol; asyncio keeps it, too
};

}  // namespace epoll::python
