#include "../errors.hpp"
#include "loop_state.hpp"
#include "socket_address.hpp"
#include "socket_transport.hpp"

// asyncio asks a new connection for its names, and makes its socket object, at once. Most programs
// never look at them. So they are made when somebody asks, and what could not be told any more
// later is kept before the descriptor goes.

namespace epoll::python {

namespace {

bool is_named(PyObject* name, const char* text) noexcept {
    return PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, text) == 0;
}

/// Of the other families only the socket module knows the form.
bool has_plain_name(const Address& address) noexcept {
    const int family = address.family();
    return family == AF_UNSPEC || family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

}  // namespace

PyObject*& SocketTransport::extra_slot() noexcept {
    return reinterpret_cast<SocketTransportObject*>(self_)->extra();
}

/// Null with an exception set.
PyObject* SocketTransport::extra_dict() noexcept {
    PyObject*& extra = extra_slot();
    if (extra == nullptr) {
        extra = PyDict_New();
    }
    return extra;
}

Ref SocketTransport::socket() {
    if (is_lost_) {
        return Ref::none();
    }
    if (socket_) {
        return Ref::borrow(socket_.get());
    }
    Ref made =
        Ref::steal(PyObject_CallFunction(loop_.state().socket_type.get(), "iiii", -1, -1, -1, fd_));
    if (!made) {
        return {};
    }
    socket_ = Ref::borrow(made.get());  // it owns the descriptor from here on
    if (stream_) {
        stream_->disown();
    }
    (void)left_.release();
    const Ref done = Ref::steal(PyObject_CallMethod(made.get(), "setblocking", "O", Py_False));
    return done ? std::move(made) : Ref{};
}

/// Of a transport that is lost, it is one around a socket that is closed.
Ref SocketTransport::transport_socket() {
    const LoopState& state = LoopState::of_type(Py_TYPE(self_));
    PyObject* const type = state.socket_type.get();
    const Ref made =
        is_lost_ ? Ref::steal(PyObject_CallMethod(type, "__new__", "O", type)) : socket();
    return made ? Ref::steal(PyObject_CallOneArg(state.transport_socket_type.get(), made.get()))
                : Ref{};
}

Ref SocketTransport::sock_name() {
    if (is_lost_) {
        return Ref::none();
    }
    const Address address = Address::local_of(fd_);
    if (has_plain_name(address)) {
        return address_object(address);
    }
    const Ref object = socket();
    return object ? Ref::steal(PyObject_CallMethod(object.get(), "getsockname", nullptr)) : Ref{};
}

Ref SocketTransport::make_extra_info(PyObject* name) {
    Ref value;
    if (is_named(name, "peername")) {
        value = address_object(peer_);
    } else if (is_named(name, "sockname")) {
        value = sock_name();
    } else if (is_named(name, "socket")) {
        value = transport_socket();
    }
    PyObject* const extra = value ? extra_dict() : nullptr;
    return extra != nullptr && PyDict_SetItem(extra, name, value.get()) == 0 ? std::move(value)
                                                                             : Ref{};
}

Ref SocketTransport::extra_info(PyObject* name) {
    if (PyObject* const extra = extra_slot()) {
        Ref value = Ref::borrow(PyDict_GetItemWithError(extra, name));
        if (value || PyErr_Occurred() != nullptr) {
            return value;
        }
    }
    return make_extra_info(name);
}

Ref SocketTransport::all_extra_info() {
    for (const char* const text : {"socket", "sockname", "peername"}) {
        const Ref name = Ref::steal(PyUnicode_InternFromString(text));
        if (!name || !extra_info(name.get())) {
            return {};
        }
    }
    return Ref::borrow(extra_dict());
}

/// What is asked for after the end must be known before: the kernel forgets it.
void SocketTransport::keep_names() noexcept {
    const Ref name = Ref::steal(PyUnicode_InternFromString("sockname"));
    if (!name || !extra_info(name.get())) {
        PyErr_Clear();
    }
}

}  // namespace epoll::python
