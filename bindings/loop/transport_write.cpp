#include <utility>
#include <vector>

#include "../buffers.hpp"
#include "../errors.hpp"
#include "in_context.hpp"
#include "loop_state.hpp"
#include "socket_transport.hpp"

// asyncio sends in write(). We gather: what a callback writes in three pieces is one send. Nobody
// can tell, as long as whoever asks what is unsent is answered after the sending, and
// pause_writing() comes inside the write() that is too much. So that is where the queue is flushed
// at once.

namespace epoll::python {

namespace {

/// asyncio's constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES: from the fifth write on, a lost
/// connection is worth a warning.
constexpr unsigned k_quiet_lost_writes = 4;

constexpr const char* k_wrong_type =
#if PY_VERSION_HEX >= 0x030E0000
    "data argument must be a bytes, bytearray, or memoryview object, not %R";
#else
    "data argument must be a bytes-like object, not %R";
#endif

void release_object(void* object) noexcept { Ref::steal(static_cast<PyObject*>(object)).reset(); }

bool raise_wrong_type(PyObject* data) noexcept {
    const Ref name = Ref::steal(PyType_GetName(Py_TYPE(data)));
    if (name) {
        (void)error(PyExc_TypeError, k_wrong_type, name.get());
    }
    return false;
}

std::span<const std::byte> bytes_of(PyObject* bytes) noexcept {
    return {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes)),
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

}  // namespace

bool SocketTransport::require_writable(const char* eof_text, const char* sendfile_text) noexcept {
    if (is_eof_written_) {
        (void)error(PyExc_RuntimeError, "%s", eof_text);
        return false;
    }
    if (empty_waiter_) {
        (void)error(PyExc_RuntimeError, "%s", sendfile_text);
        return false;
    }
    return true;
}

/// False when what is written goes nowhere, because the connection is lost; an exception may be
/// set.
bool SocketTransport::takes_writes() {
    if (stream_ && stream_->is_open()) [[likely]] {
        return true;
    }
    if (!stream_ && !is_lost_) {
        return loop_.require_open();  // abandoned
    }
    if (++lost_writes_ > k_quiet_lost_writes) {
        const LoopState& state = LoopState::of_type(Py_TYPE(self_));
        const Ref done =
            Ref::steal(PyObject_CallMethod(state.support.get(), "warn_lost_write", nullptr));
    }
    return false;
}

bool SocketTransport::write(PyObject* data) {
    constexpr const char* k_after_eof = "Cannot call write() after write_eof()";
    constexpr const char* k_in_sendfile = "unable to write; sendfile is in progress";
    if (PyBytes_CheckExact(data)) [[likely]] {
        if (!require_writable(k_after_eof, k_in_sendfile)) {
            return false;
        }
        if (PyBytes_GET_SIZE(data) == 0) {
            return true;
        }
        if (takes_writes()) [[likely]] {
            queue(data);
            return note_written();
        }
        return PyErr_Occurred() == nullptr;
    }
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        return raise_wrong_type(data);
    }
    return require_writable(k_after_eof, k_in_sendfile) && write_copy(data);
}

/// write() of what may change as soon as we return, or in pause_writing(): it is locked no longer
/// than it is read.
bool SocketTransport::write_copy(PyObject* data) {
    {
        BytesView view;
        if (!view.open(data)) {
            return false;
        }
        if (view.bytes().empty() || !takes_writes()) {
            return PyErr_Occurred() == nullptr;
        }
        queue_copy(view.bytes());
    }
    return !stream_ || note_written();  // the release of a view may be Python code
}

void SocketTransport::queue(PyObject* bytes) {
    live_stream().write(OwnedBytes{bytes_of(bytes), Ref::borrow(bytes).release(), &release_object});
}

/// A snapshot: whoever owns these bytes may change them as soon as we return. Of many bytes only
/// those are copied that the kernel does not take.
void SocketTransport::queue_copy(std::span<const std::byte> bytes) {
    if (bytes.size() > high_) {
        live_stream().write_borrowed(bytes);
        live_stream().flush();
    } else {
        live_stream().write(bytes);
    }
}

/// False with an exception set that must leave the caller.
bool SocketTransport::note_written() {
    if (live_stream().unsent() > high_ || !loop_.is_running()) {
        live_stream().flush();
        return maybe_pause_protocol();
    }
    return true;
}

bool SocketTransport::write_lines(PyObject* lines) {
#if PY_VERSION_HEX < 0x030C0000
    const Ref empty = Ref::steal(PyBytes_FromStringAndSize(nullptr, 0));
    const Ref joined =
        empty ? Ref::steal(PyObject_CallMethod(empty.get(), "join", "(O)", lines)) : Ref{};
    return joined && write(joined.get());
#else
    if (!require_writable("Cannot call writelines() after write_eof()",
                          "unable to writelines; sendfile is in progress")) {
        return false;
    }
    const Ref items = Ref::steal(PySequence_Tuple(lines));  // so that nobody changes it meanwhile
    if (!items) {
        return false;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(items.get());
    if (count == 0 || !takes_writes()) {
        return PyErr_Occurred() == nullptr;
    }
    return queue_all({&PyTuple_GET_ITEM(items.get(), 0), static_cast<std::size_t>(count)}) &&
           (!stream_ || note_written());
#endif
}

bool SocketTransport::send(std::span<const std::byte> bytes) {
    if (!takes_writes()) {
        return PyErr_Occurred() == nullptr;
    }
    live_stream().write_borrowed(bytes);
    live_stream().flush();
    return maybe_pause_protocol();
}

std::size_t SocketTransport::send_record(std::uint8_t type, std::span<const std::byte> bytes) {
    if (!stream_) {
        return bytes.size();
    }
    const std::size_t count = stream_->send_record(type, bytes);
    if (count < bytes.size() && !is_protocol_paused_ && !pause_protocol()) {
        report("protocol.pause_writing() failed");  // ours does not
    }
    return count;
}

std::size_t SocketTransport::try_send(std::span<const std::byte> bytes) noexcept {
    return stream_ ? stream_->try_send(bytes) : 0;
}

/// All or, with an exception set, none of them.
bool SocketTransport::queue_all(std::span<PyObject* const> items) {
    std::vector<BytesView> views(items.size());
    for (std::size_t i = 0; i != items.size(); ++i) {
        if (PyObject_CheckBuffer(items[i]) == 0) {
            (void)error(PyExc_TypeError, "memoryview: a bytes-like object is required, not '%s'",
                        Py_TYPE(items[i])->tp_name);
            return false;
        }
        if (!views[i].open(items[i])) {
            return false;
        }
    }
    for (std::size_t i = 0; i != items.size() && stream_ && stream_->is_open(); ++i) {
        if (PyBytes_CheckExact(items[i])) {
            queue(items[i]);
        } else {
            queue_copy(views[i].bytes());
        }
    }
    return true;
}

bool SocketTransport::write_eof() {
    if (is_closing() || is_eof_written_) {
        return true;
    }
    if (!stream_) {
        return loop_.require_open();
    }
    is_eof_written_ = true;
    stream_->flush();
    const int error = stream_->shutdown_writing();
    if (error != 0) {  // asyncio lets it through
        (void)os_error(error);
    }
    return error == 0;
}

std::size_t SocketTransport::write_buffer_size() {
    if (!stream_ || !stream_->is_open()) {
        return 0;
    }
    stream_->flush();
    return stream_->unsent();
}

// Flow control

bool SocketTransport::set_write_limits(const FlowLimits& limits) {
    high_ = limits.high;
    low_ = limits.low;
    update_water_marks();
    return write_buffer_size() <= high_ || maybe_pause_protocol();
}

/// The stream tells us when there is little left, whenever there was more than little: what is too
/// much is decided here. While somebody waits for an empty queue, it tells when it is empty.
void SocketTransport::update_water_marks() noexcept {
    const std::size_t mark = empty_waiter_ ? 0 : low_;
    if (stream_) {
        stream_->set_water_marks({mark, mark});
    }
}

/// False with KeyboardInterrupt or SystemExit set: as in asyncio, the caller raises it.
bool SocketTransport::maybe_pause_protocol() noexcept {
    const Stream& stream = live_stream();
    return is_protocol_paused_ || !stream.is_writing_blocked() || stream.unsent() <= high_ ||
           pause_protocol();
}

bool SocketTransport::pause_protocol() noexcept {
    is_protocol_paused_ = true;
    const Ref protocol = Ref::borrow(protocol_.get());
    const bool is_done =
        native_ != nullptr
            ? native_->on_pause_writing()
            : static_cast<bool>(call_method(loop_.state().streams.pause_writing, protocol.get()));
    if (is_done) {
        return true;
    }
    if (is_leaving_exception()) {
        return false;
    }
    report("protocol.pause_writing() failed");
    return true;
}

void SocketTransport::on_drained() {
    maybe_resume_protocol();
    if (empty_waiter_ && live_stream().unsent() == 0) {
        settle_empty_waiter(nullptr);
    }
}

void SocketTransport::maybe_resume_protocol() noexcept {
    if (!is_protocol_paused_ || live_stream().unsent() > low_) {
        return;
    }
    is_protocol_paused_ = false;
    const InContext inside{context_.get()};
    const Ref protocol = Ref::borrow(protocol_.get());
    const bool is_done =
        inside.is_entered() &&
        (native_ != nullptr ? native_->on_resume_writing()
                            : static_cast<bool>(call_method(loop_.state().streams.resume_writing,
                                                            protocol.get())));
    if (!is_done) {
        report("protocol.resume_writing() failed");
    }
}

// sendfile()

Ref SocketTransport::make_empty_waiter() {
    if (empty_waiter_) {
        return error(PyExc_RuntimeError, "Empty waiter is already set");
    }
    if (is_lost_ || !loop_.require_open()) {
        return PyErr_Occurred() != nullptr
                   ? Ref{}
                   : error(PyExc_ConnectionError, "Connection is closed by peer");
    }
    Ref waiter = Ref::steal(PyObject_CallMethod(loop_.self(), "create_future", nullptr));
    if (!waiter) {
        return {};
    }
    const bool is_empty = write_buffer_size() == 0;
    empty_waiter_ = Ref::borrow(waiter.get());
    update_water_marks();
    if (is_empty) {
        settle_empty_waiter(nullptr);
    }
    return waiter;
}

void SocketTransport::reset_empty_waiter() {
    empty_waiter_.reset();
    update_water_marks();
}

/// Tells who waits, if somebody does and was not told: all is sent (`exception` null), or the
/// connection has ended, with `exception` or None.
void SocketTransport::settle_empty_waiter(PyObject* exception) noexcept {
    const Ref waiter = Ref::borrow(empty_waiter_.get());
    if (!waiter) {
        return;
    }
    const Ref is_done = Ref::steal(PyObject_CallMethod(waiter.get(), "done", nullptr));
    Ref told;
    if (is_done && is_done.get() == Py_True) {
        return;
    }
    if (exception == nullptr) {
        told = Ref::steal(PyObject_CallMethod(waiter.get(), "set_result", "O", Py_None));
    } else if (exception != Py_None) {
        told = Ref::steal(PyObject_CallMethod(waiter.get(), "set_exception", "O", exception));
    } else {
        const Ref lost = Ref::steal(
            PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer"));
        told = lost
                   ? Ref::steal(PyObject_CallMethod(waiter.get(), "set_exception", "O", lost.get()))
                   : Ref{};
    }
    if (!told) {
        report("Exception in callback of the transport");
    }
}

}  // namespace epoll::python
