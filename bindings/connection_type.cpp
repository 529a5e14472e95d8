#include <new>
#include <string>

#include <epoll/serve/connection.hpp>

#include "answers.hpp"
#include "arguments.hpp"
#include "buffers.hpp"
#include "errors.hpp"
#include "gil.hpp"
#include "method.hpp"
#include "module_state.hpp"
#include "service.hpp"

namespace epoll::python {

namespace {

/// The Python object of a Connection. Both know each other until the connection is gone; the object
/// may stay as long as somebody holds it.
struct ConnectionObject {
    PyObject_HEAD
    Connection* connection;  ///< null when it is gone; only to be touched on its thread
    unsigned long thread;
    Address peer;
    Ref state;

    [[nodiscard]] PyObject* as_python() noexcept { return reinterpret_cast<PyObject*>(this); }
};

/// False with RuntimeError on any thread but the connection's own.
bool require_thread(const ConnectionObject& self) noexcept {
    if (PyThread_get_thread_ident() == self.thread) {
        return true;
    }
    (void)error(PyExc_RuntimeError,
                "a connection belongs to its server's thread; use Server.call_soon_threadsafe()");
    return false;
}

Ref send(ConnectionObject& self, PyObject* data) {
    BytesView view;
    if (!require_thread(self) || !view.open(data)) {
        return {};
    }
    if (self.connection == nullptr || self.connection->is_closing()) {
        return Ref::borrow(Py_False);
    }
    if (!self.connection->send(view.bytes())) {
        return error(PyExc_ValueError, "a message of %zu bytes does not fit the framing",
                     view.bytes().size());
    }
    return Ref::borrow(Py_True);
}

Ref close(ConnectionObject& self) {
    if (!require_thread(self)) {
        return {};
    }
    if (self.connection != nullptr) {
        self.connection->close();
    }
    return Ref::none();
}

Ref abort(ConnectionObject& self) {
    if (!require_thread(self)) {
        return {};
    }
    if (self.connection != nullptr) {
        self.connection->abort();
    }
    return Ref::none();
}

Ref peer(ConnectionObject& self) { return peer_object(self.peer); }

Ref unsent(ConnectionObject& self) {
    if (!require_thread(self)) {
        return {};
    }
    return as_number(self.connection == nullptr ? 0 : self.connection->unsent());
}

Ref is_closing(ConnectionObject& self) {
    if (!require_thread(self)) {
        return {};
    }
    return as_bool(self.connection == nullptr || self.connection->is_closing());
}

PyObject* get_state(PyObject* self, void*) noexcept {
    const CriticalSection inside{self};
    const Ref& state = self_of<ConnectionObject>(self).state;
    return state ? Ref::borrow(state.get()).release() : Ref::none().release();
}

int set_state(PyObject* self, PyObject* value, void*) noexcept {
    Ref old = value == nullptr ? Ref{} : Ref::borrow(value);
    const CriticalSection inside{self};
    std::swap(old, self_of<ConnectionObject>(self).state);
    return 0;
}

PyObject* describe(PyObject* self) noexcept {
    ConnectionObject& object = self_of<ConnectionObject>(self);
    try {
        return PyUnicode_FromFormat("<%s %s>", Py_TYPE(self)->tp_name,
                                    object.peer.to_string().c_str());
    } catch (...) {
        translate_exception();
        return nullptr;
    }
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self_of<ConnectionObject>(self).state.get());
    return 0;
}

int clear(PyObject* self) noexcept {
    self_of<ConnectionObject>(self).state.reset();
    return 0;
}

constexpr const char* k_send_text =
    "send($self, data, /)\n--\n\n"
    "Queue a message, with the server's framing around it; return whether it was queued.\n"
    "\n"
    "False means that the connection is closed or closing. What is queued inside a handler\n"
    "leaves together with the handler's own answers, in order. Raises TypeError when data has\n"
    "no bytes, ValueError when the framing cannot carry so many, RuntimeError on another thread\n"
    "than the server's.";
constexpr const char* k_close_text =
    "close($self, /)\n--\n\n"
    "Handle no further message, send what is queued, then close. Does nothing when closed.\n"
    "\n"
    "Raises RuntimeError on another thread than the server's.";
constexpr const char* k_abort_text =
    "abort($self, /)\n--\n\n"
    "Close at once; what is queued is lost. Does nothing when closed.\n"
    "\n"
    "Raises RuntimeError on another thread than the server's.";
constexpr const char* k_connection_text =
    "One client of a Server, as its handler and callbacks see it.\n"
    "\n"
    "Everything but `peer` and `state` is for the server's thread only, which is where the\n"
    "handler runs.";

PyMethodDef methods[] = {
    make_method<send>("send", k_send_text),
    make_method<close>("close", k_close_text),
    make_method<abort>("abort", k_abort_text),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    make_property<peer>("peer", "The client's address: (host, port), or a path for a Unix socket."),
    make_property<unsent>("unsent", "How many bytes are queued and not yet sent."),
    make_property<is_closing>("is_closing", "True when nothing can be sent any more."),
    {"state", &get_state, &set_state, "Any object of the program's own; None at first.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(k_connection_text)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<ConnectionObject>)},
    {Py_tp_repr, reinterpret_cast<void*>(&describe)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"epoll._core.Connection", sizeof(ConnectionObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

Ref connection_object(PyObject* type, Connection& connection) {
    if (connection.attachment != nullptr) {
        return Ref::borrow(static_cast<PyObject*>(connection.attachment));
    }
    auto* const object_type = reinterpret_cast<PyTypeObject*>(type);
    Ref object = Ref::steal(object_type->tp_alloc(object_type, 0));
    if (object) {
        auto& self = self_of<ConnectionObject>(object.get());
        self.connection = &connection;
        self.thread = PyThread_get_thread_ident();
        ::new (&self.peer) Address{connection.peer()};
        ::new (&self.state) Ref{};
        connection.attachment = Ref::borrow(object.get()).release();
    }
    return object;
}

Ref detach_connection_object(Connection& connection) noexcept {
    Ref object = Ref::steal(static_cast<PyObject*>(std::exchange(connection.attachment, nullptr)));
    if (object) {
        self_of<ConnectionObject>(object.get()).connection = nullptr;
    }
    return object;
}

Ref peer_object(const Address& address) {
    const std::string host = address.host();
    const auto size = static_cast<Py_ssize_t>(host.size());
    if (address.port() != 0 || !address.is_unix()) {
        return Ref::steal(Py_BuildValue("(s#i)", host.data(), size, int{address.port()}));
    }
    if (!host.empty() && host.front() == '\0') {
        return Ref::steal(PyBytes_FromStringAndSize(host.data(), size));
    }
    return Ref::steal(PyUnicode_DecodeFSDefaultAndSize(host.data(), size));
}

bool add_connection_type(PyObject* module, ModuleState& state) {
    state.connection_type = make_type(module, spec, nullptr);
    return state.connection_type &&
           PyModule_AddObjectRef(module, "Connection", state.connection_type.get()) == 0;
}

}  // namespace epoll::python
