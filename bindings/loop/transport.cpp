#include "transport.hpp"

#include <utility>

#include <epoll/net/socket_options.hpp>

#include "../errors.hpp"
#include "fd_watches.hpp"
#include "in_context.hpp"
#include "io_references.hpp"
#include "loop_state.hpp"
#include "socket_transport.hpp"
#include "tls_transport.hpp"

namespace epoll::python {

namespace {

constexpr const char* k_data_failure = "Fatal error: protocol.data_received() call failed.";

bool is_internet(int family) noexcept { return family == AF_INET || family == AF_INET6; }

Ref start_transport(Ref object, const TransportParts& parts) {
    if (!transport_of(object.get()).start(parts)) {
        transport_of(object.get()).disclaim();
        return {};
    }
    return object;
}

}  // namespace

std::span<std::byte> LockedBuffer::lock(PyObject* object) noexcept {
    release();
    if (PyObject_GetBuffer(object, &view_, PyBUF_WRITABLE) < 0) {
        view_.obj = nullptr;
        // As socket.recv_into() has it.
        (void)error(PyExc_TypeError,
                    "recv_into() argument 1 must be read-write bytes-like object, not %s",
                    Py_TYPE(object)->tp_name);
        return {};
    }
    return {static_cast<std::byte*>(view_.buf), static_cast<std::size_t>(view_.len)};
}

Ref make_transport(Loop& loop, OwnedFd connection, const Address& peer,
                   const TransportParts& parts) {
    Ref object = allocate_transport(loop);
    return object && transport_of(object.get()).adopt(std::move(connection), peer)
               ? start_transport(std::move(object), parts)
               : Ref{};
}

Ref make_transport(Loop& loop, PyObject* socket, const TransportParts& parts) {
    Ref object = loop.watches().require_no_transport(socket) ? allocate_transport(loop) : Ref{};
    return object && transport_of(object.get()).adopt(socket)
               ? start_transport(std::move(object), parts)
               : Ref{};
}

SocketTransport::SocketTransport(Loop& loop, PyObject* self) noexcept
    : loop_(loop), self_(self), loop_object_(Ref::borrow(loop.self())) {}

SocketTransport::~SocketTransport() {
    stream_.reset();  // a descriptor is watched no longer than it is open
    drop_socket();
}

// Making

bool SocketTransport::adopt(OwnedFd connection, const Address& peer) {
    fd_ = connection.get();
    loop_.watches().release(fd_);
    stream_.emplace(loop_.reactor(), std::move(connection), static_cast<StreamHandler&>(*this),
                    WaterMarks{low_, low_});
    peer_ = peer;
    if (is_internet(peer.family())) {
        (void)set_no_delay(fd_, true);
    }
    return true;
}

bool SocketTransport::adopt(PyObject* socket) {
    fd_ = PyObject_AsFileDescriptor(socket);
    if (fd_ < 0) {
        return false;
    }
    loop_.watches().release(fd_);
    stream_.emplace(loop_.reactor(), DisownedFd{fd_}, static_cast<StreamHandler&>(*this),
                    WaterMarks{low_, low_});
    socket_ = Ref::borrow(socket);
    has_io_reference_ = change_io_references(socket, 1);
    peer_ = Address::peer_of(fd_);
    if (is_internet(Address::local_of(fd_).family())) {
        (void)set_no_delay(fd_, true);
    }
    return true;
}

bool SocketTransport::start(const TransportParts& parts) {
    const bool has_context = parts.context != nullptr && parts.context != Py_None;
    context_ = has_context ? Ref::borrow(parts.context) : Ref::steal(PyContext_CopyCurrent());
    if (!context_ || !loop_.require_open() || !set_protocol(parts.protocol)) {
        return false;
    }
    if (parts.extra != nullptr && parts.extra != Py_None) {
        extra_slot() = Ref::borrow(parts.extra).release();
    }
    const Ref made = native_ == nullptr
                         ? Ref::steal(PyObject_GetAttrString(parts.protocol, "connection_made"))
                         : Ref{};
    if (native_ == nullptr && !made) {
        return false;
    }
    if (parts.server != nullptr && parts.server != Py_None) {
#if PY_VERSION_HEX >= 0x030D0000
        const Ref done = Ref::steal(PyObject_CallMethod(parts.server, "_attach", "O", self_));
#else
        const Ref done = Ref::steal(PyObject_CallMethod(parts.server, "_attach", nullptr));
#endif
        if (!done) {
            return false;
        }
        server_ = Ref::borrow(parts.server);
    }
    if (made && !loop_.call_soon(made.get(), std::span{&self_, 1}, context_.get())) {
        detach_server();
        return false;
    }
    if (parts.waiter != nullptr && parts.waiter != Py_None) {
        waiter_ = Ref::borrow(parts.waiter);
    }
    is_lost_ = false;
    loop_.watches().adopt(fd_, self_);
    loop_.transports().add(*this);
    loop_.reactor().defer(begin_due_);
    return true;
}

bool SocketTransport::set_protocol(PyObject* protocol) {
    const LoopState& state = LoopState::of_type(Py_TYPE(self_));
    NativeProtocol* const native = native_protocol_of(state, protocol);
    const int is_buffered =
        native != nullptr ? 0 : PyObject_IsInstance(protocol, state.buffered_protocol_type.get());
    if (is_buffered < 0) {
        return false;
    }
    native_ = native;
    is_buffered_ = is_buffered == 1;
    protocol_ = Ref::borrow(protocol);
    return true;
}

/// Where asyncio calls connection_made(), starts to read and wakes who waits, in this order; what
/// is written in Python has a Handle of its own before this.
void SocketTransport::on_begin_due() noexcept {
    const Ref self = Ref::borrow(self_);
    if (native_ != nullptr) {
        const Ref protocol = Ref::borrow(protocol_.get());  // inside it may be replaced
        const InContext inside{context_.get()};
        if (!inside.is_entered() || !native_->on_connection_made(self_)) {
            report("Exception in callback connection_made()");
        }
    }
    is_begun_ = true;
    begin_reading();
    wake_waiter();
}

void SocketTransport::begin_reading() noexcept {
    if (stream_ && is_begun_ && is_reading()) {
        stream_->start_reading();
    }
}

void SocketTransport::wake_waiter() noexcept {
    const Ref waiter = std::move(waiter_);
    if (!waiter) {
        return;
    }
    const Ref cancelled = Ref::steal(PyObject_CallMethod(waiter.get(), "cancelled", nullptr));
    if (cancelled && cancelled.get() != Py_True) {
        const Ref done = Ref::steal(PyObject_CallMethod(waiter.get(), "set_result", "O", Py_None));
    }
    if (PyErr_Occurred() != nullptr) {
        report("Exception in callback _set_result_unless_cancelled()");
    }
}

// Reading

void SocketTransport::pause_reading() noexcept {
    if (is_reading()) {
        is_paused_ = true;
        if (stream_) {
            stream_->stop_reading();
        }
        log("%r pauses reading");
    }
}

void SocketTransport::resume_reading() noexcept {
    if (!is_closing() && is_paused_) {
        is_paused_ = false;
        begin_reading();
        log("%r resumes reading");
    }
}

std::span<std::byte> SocketTransport::receive_buffer() noexcept {
    if (native_ == nullptr && !is_buffered_) {
        return loop_.read_buffer();
    }
    if (native_ == nullptr) {
        return python_buffer();
    }
    const std::span<std::byte> room = native_->receive_buffer();
    if (room.empty()) {
        fail("Fatal error: protocol.get_buffer() call failed.");
    }
    return room;
}

std::span<std::byte> SocketTransport::python_buffer() noexcept {
    constexpr const char* k_failed = "Fatal error: protocol.get_buffer() call failed.";
    const InContext inside{context_.get()};
    const Ref wish = inside.is_entered() ? Ref::steal(PyLong_FromLong(-1)) : Ref{};
    const Ref protocol = Ref::borrow(protocol_.get());  // the call may set another one
    const Ref answer =
        wish ? call_method(loop_.state().streams.get_buffer, protocol.get(), wish.get()) : Ref{};
    const Py_ssize_t size = answer ? PyObject_Size(answer.get()) : -1;
    if (size == 0) {
        (void)error(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
    }
    if (size <= 0) {
        fail(k_failed);
        return {};
    }
    const std::span<std::byte> room = buffer_.lock(answer.get());
    if (room.empty()) {
        if (buffer_.is_locked()) {  // whatever its len() is
            buffer_.release();
            (void)error(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        }
        fail("Fatal read error on socket transport");
    }
    return room;
}

void SocketTransport::on_nothing_received() noexcept {
    buffer_.release();
    if (native_ != nullptr) {
        native_->on_nothing_received();
    }
    if (loop_.is_debug()) {
        vain_read_ = turn();
    }
}

void SocketTransport::on_data(std::span<std::byte> bytes) {
    if (native_ != nullptr && !buffer_.is_locked()) {
        if (!native_->on_data(bytes.size())) [[unlikely]] {
            fail(native_ != nullptr ? native_->data_failure() : k_data_failure);
        }
    } else if (buffer_.is_locked()) {
        buffer_.release();
        if (!call_buffer_updated(bytes.size())) [[unlikely]] {
            fail("Fatal error: protocol.buffer_updated() call failed.");
        }
    } else if (!call_data_received(bytes)) [[unlikely]] {
        fail(k_data_failure);
    }
}

bool SocketTransport::call_data_received(std::span<const std::byte> bytes) noexcept {
    const Ref data = Ref::steal(PyBytes_FromStringAndSize(
        reinterpret_cast<const char*>(bytes.data()), static_cast<Py_ssize_t>(bytes.size())));
    const InContext inside{context_.get()};
    if (!data || !inside.is_entered()) {
        return false;
    }
    const Ref protocol = Ref::borrow(protocol_.get());
    return static_cast<bool>(
        call_method(loop_.state().streams.data_received, protocol.get(), data.get()));
}

bool SocketTransport::call_buffer_updated(std::size_t count) noexcept {
    const Ref size = Ref::steal(PyLong_FromSize_t(count));
    const InContext inside{context_.get()};
    if (!size || !inside.is_entered()) {
        return false;
    }
    const Ref protocol = Ref::borrow(protocol_.get());
    return static_cast<bool>(
        call_method(loop_.state().streams.buffer_updated, protocol.get(), size.get()));
}

void SocketTransport::on_end_of_stream() {
    on_nothing_received();
    log("%r received EOF");
    const int keep_open = call_eof_received();
    if (keep_open < 0) {
        fail("Fatal error: protocol.eof_received() call failed.");
        if (loop_.is_leaving()) {
            live_stream().repeat_end_of_stream();
        }
    } else if (keep_open == 0 && !close()) {
        fail("Fatal error: the transport could not be closed.");
    }
}

int SocketTransport::call_eof_received() noexcept {
    const InContext inside{context_.get()};
    if (!inside.is_entered()) {
        return -1;
    }
    const Ref protocol = Ref::borrow(protocol_.get());
    if (native_ != nullptr) {
        return native_->on_eof();
    }
    const Ref answer = call_method(loop_.state().streams.eof_received, protocol.get());
    return answer ? PyObject_IsTrue(answer.get()) : -1;
}

// For native protocols

namespace {

bool is_tls(const LoopState& state, PyObject* transport) noexcept {
    return reinterpret_cast<PyObject*>(Py_TYPE(transport)) == state.tls.transport_type.get();
}

}  // namespace

bool is_native_transport(const LoopState& state, PyObject* object) noexcept {
    return reinterpret_cast<PyObject*>(Py_TYPE(object)) == state.socket_transport_type.get() ||
           is_tls(state, object);
}

void pause_reading(const LoopState& state, PyObject* transport) noexcept {
    if (is_tls(state, transport)) {
        tls_transport_of(transport).pause_reading();
    } else {
        transport_of(transport).pause_reading();
    }
}

void resume_reading(const LoopState& state, PyObject* transport) noexcept {
    if (is_tls(state, transport)) {
        tls_transport_of(transport).resume_reading();
    } else {
        transport_of(transport).resume_reading();
    }
}

bool is_closing(const LoopState& state, PyObject* transport) noexcept {
    return is_tls(state, transport) ? tls_transport_of(transport).is_closing()
                                    : transport_of(transport).is_closing();
}

bool write_to(const LoopState& state, PyObject* transport, PyObject* data) {
    return is_tls(state, transport) ? tls_transport_of(transport).write(data)
                                    : transport_of(transport).write(data);
}

}  // namespace epoll::python
