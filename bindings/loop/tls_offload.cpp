#include <epoll/net/kernel_tls.hpp>

#include "../errors.hpp"
#include "socket_transport.hpp"
#include "tls_transport.hpp"

// The kernel's TLS. OpenSSL hands over the keys of what is sent, where the SSLContext has
// OP_ENABLE_KTLS: then plain text goes down as it is, and what OpenSSL itself has to say, as
// close_notify, goes as a record of its type. What arrives is deciphered by OpenSSL as ever.

namespace epoll::python {

/// Inside OpenSSL, which has let go of the GIL: no Python object is touched, nor let go of.
bool TlsTransport::take_keys(const std::byte* keys) noexcept {
    const Stream* const stream = transport_ ? lower()->stream() : nullptr;
    const std::span<const std::byte> known = kernel_tls_keys(keys);
    if (stream == nullptr || !stream->is_open() || known.empty()) {
        return false;
    }
    if (!session_.is_offloaded()) {  // cipher text has to be with the kernel before it enciphers
        session_.take_outgoing(lower()->try_send(session_.outgoing()));
        return session_.outgoing().empty() && stream->unsent() == 0 &&
               start_kernel_tls(stream->fd(), known) == 0;
    }
    for (TlsRecord record = session_.first_record(); !record.bytes.empty();
         record = session_.first_record()) {  // the last of them says that new keys follow
        const IoResult sent = send_tls_record(stream->fd(), record.type, record.bytes);
        if (sent.count == 0) {
            return false;
        }
        session_.take_record(sent.size());
    }
    return start_kernel_tls(stream->fd(), known) == 0;
}

bool TlsTransport::is_record_waiting() const noexcept {
    return session_.is_offloaded() && !session_.outgoing().empty();
}

/// Records go ahead of plain text that waits below, all but close_notify. False with an exception
/// set; what the socket does not take waits for on_resume_writing().
bool TlsTransport::send_records() {
    for (TlsRecord record = session_.first_record(); !record.bytes.empty();
         record = session_.first_record()) {
        if (is_over()) {
            session_.clear_outgoing();
            return true;
        }
        if (state_ == State::shutting_down && lower()->write_buffer_size() != 0) {
            return lower()->set_write_limits({0, 0});  // to be told when it is the next
        }
        const std::size_t count = lower()->send_record(record.type, record.bytes);
        const bool is_full = count < record.bytes.size();
        session_.take_record(count);
        if (is_full) {
            return true;
        }
    }
    return true;
}

// sendfile()

bool TlsTransport::can_send_files() const noexcept {
    return session_.is_offloaded() && state_ == State::wrapped && !is_over();
}

Ref TlsTransport::make_empty_waiter() {
    if (!can_send_files()) {
        return error(PyExc_RuntimeError, "the kernel does not encipher this connection");
    }
    if (!flush(true)) {
        return {};
    }
    Ref waiter = lower()->make_empty_waiter();
    is_sending_file_ = is_sending_file_ || waiter;
    return waiter;
}

void TlsTransport::reset_empty_waiter() {
    is_sending_file_ = false;
    if (is_over()) {
        return;
    }
    lower()->reset_empty_waiter();
    if (state_ == State::flushing && !resume_due_.is_scheduled()) {  // close() was called meanwhile
        loop_.reactor().defer(resume_due_);
    }
}

Ref TlsTransport::socket() { return transport_ ? lower()->socket() : Ref::none(); }

}  // namespace epoll::python
