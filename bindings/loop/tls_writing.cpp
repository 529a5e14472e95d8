#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "../buffers.hpp"
#include "../errors.hpp"
#include "in_context.hpp"
#include "loop_state.hpp"
#include "socket_transport.hpp"
#include "tls_transport.hpp"

// Plain text waits in the backlog until the end of the callback or of the turn, and longer when the
// socket is full: so small pieces share a record, and no more is enciphered than can be sent soon.
// A piece that is a record, or all there is, is enciphered where it lies. The cipher text is sent
// from the block into which OpenSSL has written it.

namespace epoll::python {

namespace {

constexpr std::size_t k_record = 16 * 1024;  // the most that one record holds
constexpr std::size_t k_small = k_record / 4;
constexpr std::size_t k_overhead = 64;         // of a record, at most, in the usual cipher suites
constexpr std::size_t k_batch = 4 * k_record;  // enciphered for one system call
constexpr unsigned k_quiet_lost_writes = 5;    // asyncio's LOG_THRESHOLD_FOR_CONNLOST_WRITES

// What may be unsent below, as cipher text.
constexpr std::size_t k_lower_high = 64 * 1024;
constexpr std::size_t k_lower_low = 16 * 1024;

void release_object(void* object) noexcept { Ref::steal(static_cast<PyObject*>(object)).reset(); }

using RecordRoom = std::array<std::byte, k_record>;

/// The next piece to encipher: the first chunk of `queue`, or several small ones, copied to `room`.
std::span<const std::byte> next_piece(const ByteQueue& queue, RecordRoom& room) noexcept {
    std::array<iovec, ByteQueue::k_max_gather> parts;
    const std::span<iovec> chunks = queue.gather(parts);
    const iovec& first = chunks.front();
    if (chunks.size() == 1 || first.iov_len >= k_record) {
        return {static_cast<const std::byte*>(first.iov_base), first.iov_len};
    }
    std::size_t size = 0;
    for (const iovec& chunk : chunks) {
        const std::size_t count = std::min(chunk.iov_len, room.size() - size);
        std::memcpy(room.data() + size, chunk.iov_base, count);
        size += count;
    }
    return {room.data(), size};
}

}  // namespace

bool TlsTransport::takes_writes() {
    if (state_ == State::wrapped || state_ == State::handshaking) [[likely]] {
        return !is_over() || loop_.require_open();
    }
    if (lost_writes_++ >= k_quiet_lost_writes) {
        const Ref done = Ref::steal(
            PyObject_CallMethod(loop_.state().support.get(), "warn_lost_tls_write", nullptr));
    }
    return false;
}

/// A small piece that is not the only one will be copied anyway, to share a record.
void TlsTransport::append(PyObject* bytes) {
    const std::span content{reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes)),
                            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
    if (!backlog_.is_empty() && content.size() <= k_small) {
        backlog_.append_copy(content);
    } else {
        backlog_.append_owned(OwnedBytes{content, Ref::borrow(bytes).release(), &release_object});
    }
}

void TlsTransport::add_to_backlog(PyObject* bytes) {
    if (PyBytes_GET_SIZE(bytes) != 0) {
        append(bytes);
    }
}

bool TlsTransport::write(PyObject* data) {
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        const Ref name = Ref::steal(PyType_GetName(Py_TYPE(data)));
        if (name) {
            (void)error(PyExc_TypeError, "data: expecting a bytes-like instance, got %U",
                        name.get());
        }
        return false;
    }
    if (is_sending_file_) {
        (void)error(PyExc_RuntimeError, "unable to write; sendfile is in progress");
        return false;
    }
    BytesView view;
    if (!view.open(data)) {
        return false;
    }
    if (view.bytes().empty() || !takes_writes()) {
        return PyErr_Occurred() == nullptr;
    }
    if (PyBytes_CheckExact(data)) {
        append(data);
    } else {
        backlog_.append_copy(view.bytes());
    }
    return note_written();
}

bool TlsTransport::write_lines(PyObject* lines) {
    const Ref items = Ref::steal(PySequence_Tuple(lines));  // so that nobody changes it meanwhile
    if (!items) {
        return false;
    }
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(items.get()); ++index) {
        if (!write(PyTuple_GET_ITEM(items.get(), index))) {
            return false;
        }
    }
    return true;
}

/// False with an exception set that must leave the caller.
bool TlsTransport::note_written() {
    if (state_ != State::wrapped || is_calling_ssl_) {
        return true;
    }
    if (backlog_.size() >= k_batch || unsent() >= write_limits_.high || !loop_.is_running()) {
        return (flush(false) || catch_fatal("Fatal error on SSL protocol")) && control_writing();
    }
    if (!is_receiving_) {
        loop_.reactor().before_wait(flush_due_);
    }
    return true;
}

/// Sends what waits, as far as the socket takes it; at the end of the connection all of it goes
/// into the queue of the SocketTransport, so that what follows comes behind it.
bool TlsTransport::flush(bool whatever_is_blocked) {
    return is_calling_ssl_ || is_over() || (encipher(whatever_is_blocked) && send_outgoing());
}

/// The next piece as it is: the kernel enciphers it.
bool TlsTransport::pass_on(std::span<const std::byte> piece) {
    is_calling_ssl_ = true;
    const bool has_keys = session_.answer_key_update();
    is_calling_ssl_ = false;
    if (!has_keys) {
        return raise_ssl_error();
    }
    const std::size_t count = std::min(piece.size(), k_batch);
    if (!lower()->send(piece.first(count))) {
        return false;
    }
    backlog_.consume(count);
    return true;
}

bool TlsTransport::encipher(bool whatever_is_blocked) {
    RecordRoom room;
    while (!backlog_.is_empty() && (whatever_is_blocked || !is_lower_paused_)) {
        if (session_.is_offloaded()) {
            if (!pass_on(next_piece(backlog_, room))) {
                return false;
            }
            continue;
        }
        if (session_.outgoing().empty()) {
            const std::size_t expected = std::min(backlog_.size(), k_batch);
            session_.expect_outgoing(expected + (1 + expected / k_record) * k_overhead);
        }
        is_calling_ssl_ = true;
        const TlsResult result = session_.write(next_piece(backlog_, room));
        is_calling_ssl_ = false;
        if (result.status == TlsStatus::failed) {
            return raise_ssl_error();
        }
        if (result.status != TlsStatus::done) {
            return true;  // after a message of the peer that has to come first
        }
        backlog_.consume(result.count);
        if (session_.outgoing().size() >= k_batch && !send_outgoing()) {
            return false;
        }
    }
    return true;
}

bool TlsTransport::send_outgoing() {
    if (session_.outgoing().empty()) {
        return true;
    }
    if (session_.is_offloaded()) {
        return send_records();
    }
    const bool is_done = is_over() || lower()->send(session_.outgoing());
    session_.clear_outgoing();
    return is_done;
}

// Flow control

std::size_t TlsTransport::unsent() const noexcept {
    return backlog_.size() + (is_over() ? 0 : lower()->stream()->unsent());
}

std::size_t TlsTransport::write_buffer_size() {
    if (state_ == State::wrapped && !flush(false)) {
        (void)catch_fatal("Fatal error on SSL protocol");
    }
    return unsent();
}

bool TlsTransport::set_write_limits(const FlowLimits& limits) {
    write_limits_ = limits;
    share_limits();
    return control_writing();
}

/// The SocketTransport tells when it is time to look whether the program's protocol may go on.
void TlsTransport::share_limits() {
    if (!is_over() && !lower()->set_write_limits({std::min(k_lower_high, write_limits_.high),
                                                  std::min(k_lower_low, write_limits_.low)})) {
        PyErr_Clear();
    }
}

/// False with KeyboardInterrupt or SystemExit set: as in asyncio, the caller raises it.
bool TlsTransport::control_writing() noexcept {
    if (app_.object() == nullptr) {
        return true;
    }
    const std::size_t size = unsent();
    const char* message = nullptr;
    bool is_done = true;
    if (!is_writing_paused_ && size != 0 && size >= write_limits_.high) {
        is_writing_paused_ = true;
        message = "protocol.pause_writing() failed";
        is_done = app_.pause_writing();
    } else if (is_writing_paused_ && size <= write_limits_.low) {
        is_writing_paused_ = false;
        message = "protocol.resume_writing() failed";
        is_done = app_.resume_writing();
    }
    if (is_done) {
        return true;
    }
    if (is_leaving_exception()) {
        return false;
    }
    loop_.report_failure({message, self_, self_});
    return true;
}

bool TlsTransport::on_pause_writing() {
    is_lower_paused_ = true;
    return true;
}

bool TlsTransport::on_resume_writing() {
    is_lower_paused_ = false;
    bool is_done = send_outgoing();
    if (is_close_held_ && !close_due_.is_scheduled()) {
        loop_.reactor().defer(close_due_);
    }
    is_done = is_done && (state_ != State::wrapped || flush(false) ||
                          catch_fatal("Fatal error on SSL protocol"));
    control_reading();
    return is_done && control_writing();
}

void TlsTransport::on_flush_due() noexcept {
    const Ref self = Ref::borrow(self_);
    if (is_over() || state_ != State::wrapped) {
        return;
    }
    const InContext inside{lower()->context()};
    bool is_done = false;
    try {
        is_done = inside.is_entered() &&
                  (flush(false) || catch_fatal("Fatal error on SSL protocol")) && control_writing();
    } catch (...) {
        translate_exception();
    }
    if (!is_done) {
        leave_callback("Exception in callback of a TLS transport");
    }
}

}  // namespace epoll::python
