#include <algorithm>
#include <array>
#include <utility>

#include "../errors.hpp"
#include "in_context.hpp"
#include "loop_state.hpp"
#include "socket_transport.hpp"
#include "tls_transport.hpp"

// Cipher text lies in the loop's one read buffer, where the kernel has put it, or in what is kept
// of it while the program does not read; OpenSSL deciphers it into the memory of the protocol.
// asyncio would ask for more until it hears that there is none: here it is known.

namespace epoll::python {

namespace {

/// A record's worth: what a message usually is. More than that goes into a bytes object at once.
constexpr std::size_t k_record = 16 * 1024;
/// What one system call takes: more would have left the cache before it is deciphered.
constexpr std::size_t k_most_received = 128 * 1024;
constexpr std::size_t k_most_bytes = 256 * 1024;
/// Unsent below, as cipher text: so much are never the program's data, which wait above, but
/// answers that OpenSSL has made, to wishes for another handshake, of a peer that does not read.
constexpr std::size_t k_most_answers = 256 * 1024;

}  // namespace

std::span<std::byte> TlsTransport::receive_buffer() {
    return loop_.read_buffer().first(k_most_received);
}

void TlsTransport::give(std::span<const std::byte> bytes) {
    session_.give(bytes);
    session_.keep_rest();
}

bool TlsTransport::may_read() const noexcept {
    return (state_ == State::wrapped || state_ == State::flushing) && !is_reading_paused_ &&
           !is_calling_ssl_ && !is_over();
}

bool TlsTransport::do_read() {
    if (state_ != State::wrapped && state_ != State::flushing) {
        return true;
    }
    bool is_done = read_all();
    if (is_done && !is_receiving_ && state_ == State::wrapped) {
        is_done = flush(false) && control_writing();
    }
    control_reading();
    return is_done || catch_fatal("Fatal error on SSL protocol");
}

bool TlsTransport::read_all() {
    TlsStatus status = TlsStatus::done;
    while (status == TlsStatus::done && may_read() &&
           (session_.unread() != 0 || session_.pending() != 0)) {
        if (!read_once(status)) {
            return false;
        }
    }
    if (status == TlsStatus::failed && !is_over()) {
        return raise_ssl_error();
    }
    return status != TlsStatus::ended || (call_eof_received() && start_shutdown());
}

/// Deciphers what there is, as far as there is room: done when it is full.
TlsStatus TlsTransport::fill(std::span<std::byte> room, std::size_t& count) noexcept {
    while (count < room.size()) {
        is_calling_ssl_ = true;
        const TlsResult result = session_.read(room.subspan(count));
        is_calling_ssl_ = false;
        if (result.status != TlsStatus::done) {
            return result.status;
        }
        count += result.count;
        if (session_.unread() == 0 && session_.pending() == 0) {
            return TlsStatus::starving;
        }
    }
    return TlsStatus::done;
}

/// Hands out what one record has, as the protocol wants it.
bool TlsTransport::read_once(TlsStatus& status) {
    if (app_.native() != nullptr) {
        return read_into_stream(status);
    }
    return app_.is_buffered() ? read_into_buffer(status) : read_as_bytes(status);
}

bool TlsTransport::read_into_stream(TlsStatus& status) {
    const Ref protocol = Ref::borrow(app_.object());
    NativeProtocol& native = *app_.native();
    std::size_t count = 0;
    const std::span<std::byte> room = native.receive_buffer();
    if (room.data() == loop_.read_buffer().data()) {  // where the cipher text is: nobody reads
        std::array<std::byte, 4096> waste;
        status = fill(waste, count);
        return true;
    }
    if (room.empty()) {
        return false;
    }
    status = fill(room, count);
    if (count == 0) {
        native.on_nothing_received();
        return true;
    }
    return native.on_data(count);
}

bool TlsTransport::read_into_buffer(TlsStatus& status) {
    const Ref answer = app_.get_buffer(session_.unread());
    const Py_ssize_t size = answer ? PyObject_Size(answer.get()) : -1;
    if (size == 0) {
        (void)error(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    if (size <= 0) {
        return false;
    }
    LockedBuffer buffer;
    const std::span<std::byte> room = buffer.lock(answer.get());
    if (room.empty()) {
        if (buffer.is_locked()) {  // whatever its len() is
            (void)error(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        }
        return false;
    }
    if (!may_read()) {  // get_buffer() has ended or paused it
        status = TlsStatus::starving;
        return true;
    }
    std::size_t count = 0;
    status = fill(room, count);
    buffer.release();
    return count == 0 || app_.buffer_updated(count);
}

bool TlsTransport::read_as_bytes(TlsStatus& status) {
    const std::size_t arrived = session_.unread() + session_.pending();
    std::size_t count = 0;
    Ref data;
    if (arrived <= k_record) {
        std::array<std::byte, k_record> room;
        status = fill(room, count);
        if (count != 0) {
            data = Ref::steal(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(room.data()),
                                                        static_cast<Py_ssize_t>(count)));
        }
    } else {
        const std::size_t size = std::min(arrived, k_most_bytes);
        PyObject* object = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
        if (object == nullptr) {
            return false;
        }
        status = fill({reinterpret_cast<std::byte*>(PyBytes_AS_STRING(object)), size}, count);
        if (count != size) {
            (void)_PyBytes_Resize(&object, static_cast<Py_ssize_t>(count));
        }
        data = Ref::steal(object);
    }
    return count == 0 ? PyErr_Occurred() == nullptr : data && app_.data_received(data.get());
}

bool TlsTransport::call_eof_received() {
    if (app_state_ != AppState::made) {
        return true;
    }
    app_state_ = AppState::ended;
    const int keep_open = app_.eof_received();
    if (keep_open < 0) {
        if (is_leaving_exception()) {
            return false;
        }
        fatal_error(take_exception(), "Error calling eof_received()");
    } else if (keep_open > 0) {
        return static_cast<bool>(
            Ref::steal(PyObject_CallMethod(loop_.state().support.get(), "warn_tls_eof", nullptr)));
    }
    return true;
}

/// The failure stands in OpenSSL's error queue; the interpreter's own object makes the exception of
/// it: a connection that has failed does not read any more, and tells why again.
bool TlsTransport::raise_ssl_error() noexcept {
    const TlsState& names = loop_.state().tls;
    if (session_.lacks_new_keys()) {
        (void)error(names.error.get(), "new keys are due, which the kernel's TLS does not take");
        return false;
    }
    const Ref one = Ref::steal(PyLong_FromLong(1));
    is_calling_ssl_ = true;
    const Ref read = one ? call_method(names.read, ssl_socket_.get(), one.get()) : Ref{};
    is_calling_ssl_ = false;
    if (PyErr_Occurred() == nullptr) {
        (void)error(names.error.get(), "the TLS connection has failed");
    }
    Ref exception = take_exception();
    if (!send_outgoing()) {  // the alert
        PyErr_Clear();
    }
    set_exception(std::move(exception));
    return false;
}

/// While the program does not read, a bounded number of bytes is taken from the kernel, and a
/// bounded number of answers is made for a peer that does not read.
void TlsTransport::control_reading() noexcept {
    if (is_over()) {
        return;
    }
    const std::size_t size = session_.unread();
    const bool is_flooded = state_ == State::wrapped &&
                            (is_record_waiting() || lower()->stream()->unsent() >= k_most_answers);
    if (!is_lower_read_paused_ && (is_flooded || (size != 0 && size >= read_limits_.high))) {
        is_lower_read_paused_ = true;
        lower()->pause_reading();
    } else if (is_lower_read_paused_ && !is_flooded && size <= read_limits_.low) {
        is_lower_read_paused_ = false;
        lower()->resume_reading();
    }
}

void TlsTransport::set_read_limits(const FlowLimits& limits) noexcept {
    read_limits_ = limits;
    control_reading();
}

void TlsTransport::resume_reading() noexcept {
    if (std::exchange(is_reading_paused_, false) && !is_over() && !resume_due_.is_scheduled()) {
        loop_.reactor().defer(resume_due_);
    }
}

void TlsTransport::on_resume_due() noexcept {
    const Ref self = Ref::borrow(self_);
    if (is_over() || state_ == State::handshaking) {
        return;
    }
    const InContext inside{lower()->context()};
    bool is_done = false;
    try {
        is_done = inside.is_entered() && go_on();
    } catch (...) {
        translate_exception();
    }
    if (!is_done) {
        leave_callback("Exception in callback resume()");
    }
    control_reading();
}

}  // namespace epoll::python
