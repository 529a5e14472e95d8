#include <cerrno>

#include <epoll/net/socket_calls.hpp>

#include "../buffers.hpp"
#include "../errors.hpp"
#include "datagram_transport.hpp"
#include "in_context.hpp"
#include "loop_state.hpp"

// sendto() raises nothing for what the network says: that goes to error_received(), which is called
// inside it. A mistake of the program, such as a wrong type of address, ends the transport. Both as
// asyncio has it.

namespace epoll::python {

namespace {

/// What each queued datagram counts for besides its bytes, and whether an empty one is one.
#if PY_VERSION_HEX >= 0x030D0000
constexpr std::size_t k_header_size = 8;
constexpr bool k_sends_empty = true;
#else
constexpr std::size_t k_header_size = 0;
constexpr bool k_sends_empty = false;
#endif

/// asyncio's constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES: from the fifth one on, sending over a
/// transport that has ended is worth a warning.
constexpr unsigned k_quiet_lost_writes = 4;

constexpr const char* k_fatal = "Fatal write error on datagram transport";

/// No errno, but an exception: `data` does not show its bytes.
constexpr int k_no_bytes = -1;

void release_object(void* object) noexcept { Ref::steal(static_cast<PyObject*>(object)).reset(); }

bool require_bytes(PyObject* data) noexcept {
    if (PyBytes_Check(data) || PyByteArray_Check(data) || PyMemoryView_Check(data)) [[likely]] {
        return true;
    }
    const Ref name = Ref::steal(PyType_GetName(Py_TYPE(data)));
    if (name) {
        (void)error(PyExc_TypeError, "data argument must be a bytes-like object, not %R",
                    name.get());
    }
    return false;
}

}  // namespace

bool DatagramTransport::send(PyObject* data, PyObject* address) {
    if (!require_bytes(data)) {
        return false;
    }
    if (!k_sends_empty) {
        const int has_bytes = PyObject_IsTrue(data);
        if (has_bytes <= 0) {
            return has_bytes == 0;
        }
    }
    if (!is_sendable(address)) {
        return PyErr_Occurred() == nullptr;
    }
    if (is_connected_ || (has_unnamed_peer_ && address == Py_None)) {
        return send_to(data, Address{});
    }
    const Address* const target = loop_.datagrams().peers.address_of(family_, address);
    return target != nullptr ? send_to(data, *target) : send_by_name(data, address);
}

/// Makes `address` the one that is sent to. False when nothing is to be sent; an exception may be
/// set.
bool DatagramTransport::is_sendable(PyObject*& address) {
    if (address_) {
        if (address != Py_None && address != address_.get()) {
            const int is_same = PyObject_RichCompareBool(address, address_.get(), Py_EQ);
            if (is_same == 0) {
                (void)error(PyExc_ValueError, "Invalid address: must be None or %S",
                            address_.get());
            }
            if (is_same != 1) {
                return false;
            }
        }
        address = address_.get();
    }
    if (datagram_ && datagram_->is_open()) [[likely]] {
        return true;
    }
    if (!datagram_ && !is_lost_) {
        return loop_.require_open();  // abandoned
    }
    // Until connection_lost() has been called asyncio sends what names its receiver itself.
    return is_lost_ || address_ ? note_lost_write() : true;
}

bool DatagramTransport::note_lost_write() {
    if (++lost_writes_ > k_quiet_lost_writes) {
        const LoopState& state = LoopState::of_type(Py_TYPE(self_));
        const Ref done =
            Ref::steal(PyObject_CallMethod(state.support.get(), "warn_lost_write", nullptr));
    }
    return false;
}

bool DatagramTransport::send_to(PyObject* data, const Address& target) {
    const int error = send_bytes(data, target);
    if (error == k_no_bytes) {
        return settle_failure();
    }
    return note_sent(error);
}

/// An errno; 0 also when it was queued. What may change as soon as we return is locked no longer
/// than it is read.
int DatagramTransport::send_bytes(PyObject* data, const Address& target) {
    if (PyBytes_CheckExact(data)) [[likely]] {
        const std::span bytes{reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(data)),
                              static_cast<std::size_t>(PyBytes_GET_SIZE(data))};
        if (datagram_ && datagram_->is_open()) [[likely]] {
            return datagram_->send(OwnedBytes{bytes, Ref::borrow(data).release(), &release_object},
                                   target);
        }
    }
    BytesView view;
    if (!view.open(data)) {
        return k_no_bytes;
    }
    if (!datagram_) {  // the object that gave the view has closed the loop
        return 0;
    }
    if (datagram_->is_open()) {
        return datagram_->send(view.bytes(), target);
    }
    const IoResult result = target.size() == 0 ? epoll::send(fd_, view.bytes())
                                               : epoll::send_to(fd_, view.bytes(), target);
    return result.would_block() ? 0 : result.error;
}

/// The socket module knows more addresses than we do: names of hosts, and what is none at all.
bool DatagramTransport::send_by_name(PyObject* data, PyObject* address) {
    const LoopState& state = loop_.state();
    const Ref socket = Ref::borrow(socket_.get());
    if (!datagram_ || datagram_->unsent() == 0) {
        const Ref sent =
            Ref::steal(PyObject_CallMethod(socket.get(), "sendto", "OO", data, address));
        if (sent || PyErr_ExceptionMatches(PyExc_BlockingIOError) == 0) {
            return sent || settle_failure();
        }
        PyErr_Clear();
    }
    const Ref found = Ref::steal(
        PyObject_CallMethod(state.support.get(), "datagram_address", "OO", socket.get(), address));
    const Address* const target =
        found ? loop_.datagrams().peers.address_of(family_, found.get()) : nullptr;
    if (target != nullptr) {
        return send_to(data, *target);
    }
    if (found) {
        (void)os_error(EINVAL);
    }
    return settle_failure();
}

bool DatagramTransport::note_sent(int error) {
    if (error != 0) [[unlikely]] {
        (void)os_error(error);
        return settle_failure();
    }
    return !datagram_ || datagram_->unsent() == 0 || maybe_pause_protocol();
}

/// Tells who has to know of the exception that is set. False when the caller has to.
bool DatagramTransport::settle_failure() {
    if (is_leaving_exception()) {
        return false;
    }
    const Ref exception = take_exception();
    if (PyErr_GivenExceptionMatches(exception.get(), PyExc_OSError) == 0) {
        return fatal_error(exception.get(), k_fatal);
    }
    const Ref protocol = Ref::borrow(protocol_.get());
    return static_cast<bool>(
        call_method(loop_.state().error_received_name, protocol.get(), exception.get()));
}

// Flow control

std::size_t DatagramTransport::write_buffer_size() const noexcept {
    return datagram_ ? datagram_->unsent_bytes() + k_header_size * datagram_->unsent() : 0;
}

bool DatagramTransport::set_write_limits(const FlowLimits& limits) {
    limits_ = limits;
    return maybe_pause_protocol();
}

/// False with KeyboardInterrupt or SystemExit set: as in asyncio, the caller raises it.
bool DatagramTransport::maybe_pause_protocol() noexcept {
    if (is_protocol_paused_ || write_buffer_size() <= limits_.high) {
        return true;
    }
    is_protocol_paused_ = true;
    const Ref protocol = Ref::borrow(protocol_.get());
    if (call_method(loop_.state().streams.pause_writing, protocol.get())) {
        return true;
    }
    if (is_leaving_exception()) {
        return false;
    }
    report("protocol.pause_writing() failed");
    return true;
}

void DatagramTransport::on_progress() {
    if (!is_protocol_paused_ || write_buffer_size() > limits_.low) {
        return;
    }
    is_protocol_paused_ = false;
    const InContext inside{context_.get()};
    const Ref protocol = Ref::borrow(protocol_.get());
    if (!inside.is_entered() ||
        !call_method(loop_.state().streams.resume_writing, protocol.get())) {
        report("protocol.resume_writing() failed");
    }
}

}  // namespace epoll::python
