#pragma once

#include <cstddef>
#include <span>

#include "../python.hpp"
#include "../ref.hpp"
#include "loop_state.hpp"
#include "native_protocol.hpp"

namespace epoll::python {

struct StreamReaderObject;

/// An asyncio.StreamReaderProtocol between a transport and a StreamReader of ours.
///
/// What arrives goes straight into the reader's buffer. The fields mean what those of asyncio's
/// class mean and are its attributes; `_closed` and `_drain_waiters` come into being when somebody
/// asks for them.
class StreamProtocol final : public NativeProtocol {
  public:
    StreamProtocol(LoopState& state, PyObject* self) noexcept : state_(state), self_(self) {}

    bool on_connection_made(PyObject* made) override;
    std::span<std::byte> receive_buffer() override;
    bool on_data(std::size_t count) override;
    void on_nothing_received() noexcept override;
    int on_eof() override;
    bool on_pause_writing() override;
    bool on_resume_writing() override;
    bool on_connection_lost(PyObject* exception) override;

    /// protocol.data_received(), for transports that have the bytes already, as that of TLS.
    [[nodiscard]] bool on_bytes(std::span<const std::byte> bytes) const;

    /// `_stream_reader_wr`: null, or a weak reference to a StreamReader of ours. False with
    /// TypeError for anything else.
    [[nodiscard]] bool set_weak_reader(PyObject* reference) noexcept;
    [[nodiscard]] PyObject* weak_reader() const noexcept { return weak_reader_.get(); }

    /// The reader (`_stream_reader`); empty, without an exception, when it is gone.
    [[nodiscard]] Ref reader() const noexcept;

    /// The future `_closed`, done once the connection is lost. Empty with an exception set.
    [[nodiscard]] Ref closed();

    /// The list `_drain_waiters`. Empty with an exception set.
    [[nodiscard]] Ref drain_waiters() noexcept;

    /// True without a future when closed() would have a result by now.
    [[nodiscard]] bool is_closed_well() const noexcept {
        return connection_lost && !lost_exception_ && !closed_;
    }

    /// Makes the protocol one that is new, with `reader` (may be null) and a callback (may be
    /// null).
    [[nodiscard]] bool start(PyObject* reader, PyObject* callback, PyObject* loop) noexcept;

    /// What the finalizer of asyncio's class does: `_closed` needs nobody who asks for its
    /// exception.
    void forget_failure() noexcept;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;

    Ref loop;
    Ref strong_reader;  ///< `_strong_reader`: of a server, until the connection is made
    Ref transport;
    Ref callback;  ///< `_client_connected_cb`
    Ref task;      ///< that runs the callback
    Ref writer;    ///< `_stream_writer`
    Ref source_traceback;
    bool is_paused = false;
    bool connection_lost = false;
    bool rejects_connection = false;
    bool is_over_tls = false;

  private:
    [[nodiscard]] bool call_back(PyObject* reader);
    [[nodiscard]] bool start_task(PyObject* coroutine);
    [[nodiscard]] bool report_callback() const noexcept;
    [[nodiscard]] bool log(const char* what) noexcept;
    [[nodiscard]] bool end_reader(PyObject* exception) const noexcept;
    [[nodiscard]] bool resolve_closed() noexcept;
    [[nodiscard]] bool wake_drains(PyObject* exception) noexcept;

    LoopState& state_;
    PyObject* self_;
    Ref weak_reader_;
    Ref closed_;
    Ref drain_waiters_;
    Ref lost_exception_;
    Ref receiving_;  ///< without the GIL: so that the reader, whose buffer is received into, cannot
                     ///< go on another thread meanwhile
};

struct StreamProtocolObject {
    PyObject_HEAD
    StreamProtocol native;
};

[[nodiscard]] inline StreamProtocol& protocol_of(PyObject* object) noexcept {
    return reinterpret_cast<StreamProtocolObject*>(object)->native;
}

/// Makes the type epoll._loop.StreamReaderProtocol.
[[nodiscard]] bool add_protocol_type(PyObject* module, LoopState& state);

/// True for an epoll._loop.StreamReader, StreamReaderProtocol, or an object derived from one.
[[nodiscard]] inline bool is_one_of(const Ref& type, PyObject* object) noexcept {
    return PyObject_TypeCheck(object, reinterpret_cast<PyTypeObject*>(type.get()));
}

}  // namespace epoll::python
