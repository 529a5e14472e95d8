#pragma once

#include <cstddef>
#include <span>

#include "../python.hpp"

namespace epoll::python {

class SocketTransport;

/// A protocol whose callbacks are C++. A SocketTransport that finds that the type of its protocol
/// is exactly one of ours calls these instead of the Python methods of the same meaning; a subclass
/// in Python gets its Python methods called.
///
/// bool results: false means that a Python exception is set; the transport treats it as it treats
/// one of the Python method.
class NativeProtocol {
  public:
    [[nodiscard]] virtual bool on_connection_made(PyObject* transport) = 0;

    /// Where the next bytes shall go; in place until on_data(). Empty with an exception set.
    [[nodiscard]] virtual std::span<std::byte> receive_buffer() = 0;
    [[nodiscard]] virtual bool on_data(std::size_t count) = 0;

    /// That read brought no bytes: the answer of receive_buffer() is not needed any more.
    virtual void on_nothing_received() noexcept = 0;

    /// The message of the report when on_data() has failed: asyncio's, for a protocol of this kind.
    [[nodiscard]] virtual const char* data_failure() const noexcept {
        return "Fatal error: protocol.data_received() call failed.";
    }

    /// 1: keep the transport open for writing; 0: close it; -1 with an exception set.
    [[nodiscard]] virtual int on_eof() = 0;
    [[nodiscard]] virtual bool on_pause_writing() = 0;
    [[nodiscard]] virtual bool on_resume_writing() = 0;

    /// `exception` is None or an exception, borrowed.
    [[nodiscard]] virtual bool on_connection_lost(PyObject* exception) = 0;

  protected:
    ~NativeProtocol() = default;
};

struct LoopState;

/// The native side of `protocol`, or null when its type is not exactly one of ours. The protocol
/// keeps it alive.
[[nodiscard]] NativeProtocol* native_protocol_of(const LoopState& state,
                                                 PyObject* protocol) noexcept;

}  // namespace epoll::python
