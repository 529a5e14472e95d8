#include "datagram_transport.hpp"

#include <array>
#include <utility>

#include "../errors.hpp"
#include "fd_watches.hpp"
#include "in_context.hpp"
#include "io_references.hpp"
#include "loop_state.hpp"
#include "socket_address.hpp"

// What may die when is as in transport_end.cpp: the loop's Transports hold a reference from start()
// until on_closed(), which is the last thing a Datagram calls.

namespace epoll::python {

namespace {

bool is_plain_family(int family) noexcept {
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

Ref call_with_both(PyObject* name, PyObject* object, PyObject* first, PyObject* second) noexcept {
    const std::array<PyObject*, 3> arguments{object, first, second};
    return Ref::steal(PyObject_VectorcallMethod(name, arguments.data(), arguments.size(), nullptr));
}

void call_quietly(PyObject* object, const char* method) noexcept {
    const Ref done = Ref::steal(PyObject_CallMethod(object, method, nullptr));
    if (!done) {
        PyErr_WriteUnraisable(object);
    }
}

/// dict.setdefault(name, value).
bool set_default(PyObject* dict, const char* name, const Ref& value) noexcept {
    const Ref key = value ? Ref::steal(PyUnicode_InternFromString(name)) : Ref{};
    return key && PyDict_SetDefault(dict, key.get(), value.get()) != nullptr;
}

}  // namespace

bool has_plain_addresses(const LoopState& state, PyObject* socket) noexcept {
    if (reinterpret_cast<PyObject*>(Py_TYPE(socket)) != state.socket_type.get()) {
        return false;
    }
    const int fd = PyObject_AsFileDescriptor(socket);
    if (fd < 0) {
        PyErr_Clear();
    }
    return is_plain_family(Address::local_of(fd).family());
}

DatagramTransport::DatagramTransport(Loop& loop, PyObject* self) noexcept
    : loop_(loop), self_(self), loop_object_(Ref::borrow(loop.self())), limits_{k_default_limits} {}

DatagramTransport::~DatagramTransport() {
    datagram_.reset();  // a descriptor is watched no longer than it is open
    drop_socket();
}

// Making

bool DatagramTransport::start(const DatagramParts& parts) {
    if (!prepare(parts)) {
        disclaim();
        return false;
    }
    is_lost_ = false;
    loop_.watches().adopt(fd_, self_);
    loop_.transports().add(*this);
    loop_.reactor().defer(begin_due_);
    return true;
}

bool DatagramTransport::prepare(const DatagramParts& parts) {
    fd_ = PyObject_AsFileDescriptor(parts.socket);
    if (fd_ < 0 || !loop_.require_open()) {
        return false;
    }
    family_ = Address::local_of(fd_).family();
    loop_.watches().release(fd_);
    datagram_.emplace(loop_.reactor(), DisownedFd{fd_}, loop_.datagrams().pool,
                      static_cast<DatagramHandler&>(*this));
    socket_ = Ref::borrow(parts.socket);
    has_io_reference_ = change_io_references(parts.socket, 1);
    context_ = Ref::steal(PyContext_CopyCurrent());
    protocol_ = Ref::borrow(parts.protocol);
    if (!context_ || !fill_extra(parts.extra)) {
        return false;
    }
    if (parts.address != nullptr && parts.address != Py_None) {
        const int is_restricted = PyObject_IsTrue(parts.address);
        if (is_restricted < 0) {
            return false;
        }
        address_ = is_restricted == 1 ? Ref::borrow(parts.address) : Ref{};
    }
    const Ref made = Ref::steal(PyObject_GetAttrString(parts.protocol, "connection_made"));
    if (!made || !loop_.call_soon(made.get(), std::span{&self_, 1}, context_.get())) {
        return false;
    }
    if (parts.waiter != nullptr && parts.waiter != Py_None) {
        waiter_ = Ref::borrow(parts.waiter);
    }
    return true;
}

/// Sets what get_extra_info() knows, and learns whether sendto() may do without an address.
bool DatagramTransport::fill_extra(PyObject* extra) {
    PyObject*& slot = reinterpret_cast<DatagramTransportObject*>(self_)->extra();
    const bool is_given = extra != nullptr && extra != Py_None;
    slot = (is_given ? Ref::borrow(extra) : Ref::steal(PyDict_New())).release();
    if (slot == nullptr) {
        return false;
    }
    const Ref wrapped =
        Ref::steal(PyObject_CallOneArg(loop_.state().transport_socket_type.get(), socket_.get()));
    const Ref name = address_object(Address::local_of(fd_));
    if (!wrapped || !name || PyDict_SetItemString(slot, "socket", wrapped.get()) < 0 ||
        PyDict_SetItemString(slot, "sockname", name.get()) < 0 ||
        !set_default(slot, "peername", address_object(Address::peer_of(fd_)))) {
        return false;
    }
    const Ref peer = Ref::steal(PyMapping_GetItemString(slot, "peername"));
    const int is_named = peer ? PyObject_IsTrue(peer.get()) : -1;
    is_connected_ = is_named == 1;
    has_unnamed_peer_ = !is_connected_ && Address::peer_of(fd_).size() != 0;
    return is_named >= 0;
}

/// Making it has failed, with the exception that is set: the socket object is the caller's again.
void DatagramTransport::disclaim() noexcept {
    Ref raised = take_exception();
    datagram_.reset();
    const Ref socket = std::move(socket_);
    if (socket && std::exchange(has_io_reference_, false)) {
        call_quietly(socket.get(), "_decref_socketios");
    }
    set_exception(std::move(raised));
}

/// Where asyncio starts to read and wakes who waits; connection_made() has a Handle of its own
/// before this.
void DatagramTransport::on_begin_due() noexcept {
    const Ref self = Ref::borrow(self_);
    if (datagram_ && is_reading()) {
        datagram_->start_reading();
    }
    const Ref waiter = std::move(waiter_);
    if (waiter && !resolve_unless_cancelled(loop_.state(), waiter.get(), nullptr)) {
        report("Exception in callback _set_result_unless_cancelled()");
    }
}

// Receiving

void DatagramTransport::pause_reading() noexcept {
    if (is_reading()) {
        is_paused_ = true;
        if (datagram_) {
            datagram_->stop_reading();
        }
        log("%r pauses reading");
    }
}

void DatagramTransport::resume_reading() noexcept {
    if (!is_closing() && is_paused_) {
        is_paused_ = false;
        if (datagram_ && !begin_due_.is_scheduled()) {
            datagram_->start_reading();
        }
        log("%r resumes reading");
    }
}

bool DatagramTransport::on_datagram(std::span<const std::byte> bytes, const Address& peer) {
    const Ref data = Ref::steal(PyBytes_FromStringAndSize(
        reinterpret_cast<const char*>(bytes.data()), static_cast<Py_ssize_t>(bytes.size())));
    const Ref name = data ? loop_.datagrams().peers.name_of(peer) : Ref{};
    const InContext inside{context_.get()};
    const Ref protocol = Ref::borrow(protocol_.get());
    const Ref done = name && inside.is_entered()
                         ? call_with_both(loop_.state().datagram_received_name.get(),
                                          protocol.get(), data.get(), name.get())
                         : Ref{};
    if (!done) [[unlikely]] {
        report("Exception in callback datagram_received()");
    }
    loop_.note_callback();
    return !loop_.is_leaving();
}

void DatagramTransport::on_error(int error) {
    const InContext inside{context_.get()};
    if (inside.is_entered()) {
        (void)os_error(error);
        const Ref exception = take_exception();
        const Ref protocol = Ref::borrow(protocol_.get());
        if (call_method(loop_.state().error_received_name, protocol.get(), exception.get())) {
            return;
        }
    }
    report("Exception in callback error_received()");
}

// The end

void DatagramTransport::report(const char* message) noexcept {
    loop_.report_failure({message, protocol_.get(), self_});
}

/// A line of debug mode, with the transport as %r. What logging calls may drop anything.
void DatagramTransport::log(const char* text) noexcept {
    if (loop_object_ && loop_.is_debug()) [[unlikely]] {
        const Ref self = Ref::borrow(self_);
        if (!log_debug(loop_.state(), text, self_) && !loop_.leaves_run()) {
            PyErr_WriteUnraisable(self_);
        }
    }
}

bool DatagramTransport::close() {
    if (is_closing()) {
        return true;
    }
    if (!datagram_) {
        return loop_.require_open();
    }
    datagram_->close();
    return true;
}

bool DatagramTransport::abort(PyObject* exception) {
    if (!datagram_) {
        return is_lost_ || loop_.require_open();
    }
    if (datagram_->is_open()) {
        end_exception_ = Ref::borrow(exception);
        datagram_->abort(0);
    }
    return true;
}

bool DatagramTransport::fatal_error(PyObject* exception, const char* message) {
    if (is_lost_) {
        return true;
    }
    if (PyErr_GivenExceptionMatches(exception, PyExc_OSError) == 0) {
        set_exception(Ref::borrow(exception));
        report(message);
    } else if (loop_.is_debug()) {
        const Ref done = Ref::steal(PyObject_CallMethod(loop_.state().support.get(), "log_os_error",
                                                        "OsO", self_, message, exception));
        if (!done) {
            return false;
        }
    }
    return abort(exception);
}

bool DatagramTransport::call_connection_lost(int error) noexcept {
    const InContext inside{context_.get()};
    if (!inside.is_entered()) {
        return false;
    }
    Ref exception = std::move(end_exception_);
    if (!exception && error != 0) {
        (void)os_error(error);
        exception = take_exception();
    }
    const Ref protocol = Ref::borrow(protocol_.get());
    return static_cast<bool>(call_method(loop_.state().streams.connection_lost, protocol.get(),
                                         exception ? exception.get() : Py_None));
}

void DatagramTransport::on_closed(int error) noexcept {
    const Ref self = Ref::borrow(self_);
    if (!call_connection_lost(error)) {
        report("Exception in callback connection_lost()");
    }
    loop_.watches().forget(fd_);
    is_lost_ = true;
    was_closing_ = true;
    datagram_.reset();
    drop_socket();
    protocol_.reset();
    Transports::remove(*this);
    context_.reset();
    loop_object_.reset();
}

void DatagramTransport::drop_socket() noexcept {
    if (const Ref socket = std::move(socket_)) {
        call_quietly(socket.get(), "close");
        if (std::exchange(has_io_reference_, false)) {
            call_quietly(socket.get(), "_decref_socketios");
        }
    }
}

void DatagramTransport::abandon() noexcept {
    if (datagram_) {
        was_closing_ = datagram_->is_closing();
        datagram_.reset();
        begin_due_.cancel();
        loop_.watches().forget(fd_);
    }
}

void DatagramTransport::finalize() noexcept {
    if (is_lost_) {
        return;
    }
    const ExceptionKept kept;
    warn_unclosed(self_);
    abandon();
    is_lost_ = true;
    was_closing_ = true;
    drop_socket();
}

}  // namespace epoll::python
