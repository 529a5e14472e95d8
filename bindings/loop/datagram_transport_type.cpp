#include <new>

#include "../answers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "datagram_transport.hpp"
#include "fd_watches.hpp"
#include "loop_state.hpp"
#include "named_argument.hpp"

namespace epoll::python {

namespace {

using Object = DatagramTransportObject;

Ref send_to(Object& self, const CallArguments& arguments) {
    static constexpr Signature<2> k_signature{
        "sendto",
        {"data", "addr"},
        {Parameter::required, Parameter::optional},
    };
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto& [data, address] = *bound;
    return as_none(self.transport.send(data, address != nullptr ? address : Py_None));
}

Ref get_extra_info(Object& self, const CallArguments& arguments) {
    static constexpr Signature<2> k_signature{
        "get_extra_info",
        {"name", "default"},
        {Parameter::required, Parameter::optional},
    };
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    // Without a dict it is garbage, and somebody else's finalizer asks.
    PyObject* const value =
        self.extra != nullptr ? PyDict_GetItemWithError(self.extra, (*bound)[0]) : nullptr;
    if (value == nullptr && PyErr_Occurred() != nullptr) {
        return {};
    }
    return value != nullptr ? Ref::borrow(value) : or_none((*bound)[1]);
}

Ref set_protocol(Object& self, PyObject* protocol) {
    self.transport.set_protocol(protocol);
    return Ref::none();
}

Ref get_protocol(Object& self) { return or_none(self.transport.protocol()); }
Ref is_closing(Object& self) { return as_bool(self.transport.is_closing()); }
Ref is_reading(Object& self) { return as_bool(self.transport.is_reading()); }

Ref pause_reading(Object& self) {
    self.transport.pause_reading();
    return Ref::none();
}

Ref resume_reading(Object& self) {
    self.transport.resume_reading();
    return Ref::none();
}

Ref close(Object& self) { return as_none(self.transport.close()); }
Ref abort(Object& self) { return as_none(self.transport.force_close(Py_None)); }

Ref get_write_buffer_size(Object& self) { return as_number(self.transport.write_buffer_size()); }

Ref get_write_buffer_limits(Object& self) {
    const FlowLimits limits = self.transport.limits();
    return Ref::steal(Py_BuildValue("(nn)", static_cast<Py_ssize_t>(limits.low),
                                    static_cast<Py_ssize_t>(limits.high)));
}

Ref set_write_buffer_limits(Object& self, const CallArguments& arguments) {
    const auto limits = bind_write_limits(arguments);
    return limits ? as_none(self.transport.set_limits(*limits)) : Ref{};
}

// What asyncio's own code and some libraries use.

Ref force_close(Object& self, PyObject* exception) {
    return as_none(self.transport.force_close(exception));
}

Ref fatal_error(Object& self, const CallArguments& arguments) {
    static constexpr Signature<2> k_signature{
        "_fatal_error",
        {"exc", "message"},
        {Parameter::required, Parameter::optional},
    };
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const char* const message =
        (*bound)[1] == nullptr ? "Fatal error on transport" : PyUnicode_AsUTF8((*bound)[1]);
    return message != nullptr ? as_none(self.transport.fatal_error((*bound)[0], message)) : Ref{};
}

Ref loop(Object& self) { return or_none(self.transport.loop_object()); }
Ref socket(Object& self) { return or_none(self.transport.socket()); }
Ref descriptor(Object& self) { return Ref::steal(PyLong_FromLong(self.transport.fd())); }
Ref address(Object& self) { return or_none(self.transport.address()); }
Ref extra(Object& self) { return or_none(self.extra); }
Ref is_paused(Object& self) { return as_bool(self.transport.is_paused()); }
Ref is_protocol_paused(Object& self) { return as_bool(self.transport.is_protocol_paused()); }

PyObject* describe(PyObject* object) noexcept {
    const DatagramTransport& self = self_of<Object>(object).transport;
    const Datagram* const datagram = self.datagram();
    const char* const closing = self.is_closing() ? " closing" : "";
    const char* const state = self.is_lost() ? " closed" : closing;
    const Ref name = Ref::steal(PyType_GetName(Py_TYPE(object)));
    if (!name) {
        return nullptr;
    }
    if (datagram == nullptr) {
        return PyUnicode_FromFormat("<%U%s fd=%d>", name.get(), state, self.fd());
    }
    return PyUnicode_FromFormat("<%U%s fd=%d read=%s write=<%s, bufsize=%zu>>", name.get(), state,
                                self.fd(), datagram->is_reading() ? "polling" : "idle",
                                datagram->unsent() != 0 ? "polling" : "idle",
                                self.write_buffer_size());
}

int traverse(PyObject* object, visitproc visit, void* arg) noexcept {
    Object& self = self_of<Object>(object);
    Py_VISIT(Py_TYPE(object));
    const int stopped = self.TransportHead::traverse(visit, arg);
    return stopped != 0 ? stopped : self.transport.traverse(visit, arg);
}

int clear(PyObject* object) noexcept {
    Object& self = self_of<Object>(object);
    self.transport.clear();
    self.TransportHead::clear();
    return 0;
}

void finalize(PyObject* object) noexcept { self_of<Object>(object).transport.finalize(); }

void deallocate(PyObject* object) noexcept {
    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;  // somebody has it again
    }
    const Ref type = Ref::steal(reinterpret_cast<PyObject*>(Py_TYPE(object)));
    PyObject_GC_UnTrack(object);
    Object& self = self_of<Object>(object);
    if (self.weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    (void)clear(object);
    self.transport.~DatagramTransport();
    Py_TYPE(object)->tp_free(object);
}

constexpr const char* k_class_text =
    "The transport of a datagram socket, as asyncio.DatagramTransport describes it.\n"
    "\n"
    "One turn of the loop delivers up to 32 datagrams of a socket. Belongs to the loop's thread.";

constexpr Signature<1> k_set_protocol = named_argument("set_protocol", "protocol");
constexpr Signature<1> k_force_close = named_argument("_force_close", "exc");

PyMethodDef methods[] = {
    make_method<send_to>(
        "sendto",
        "sendto($self, /, data, addr=None)\n--\n\n"
        "Send a datagram; never blocks. Bytes that may change are copied. What the\n"
        "network says against it is told to error_received()."),
    make_method<get_extra_info>("get_extra_info",
                                "get_extra_info($self, /, name, default=None)\n--\n\n"
                                "Return what is known of the socket: socket, sockname, peername."),
    make_method<by_name<Object, set_protocol, k_set_protocol>>(
        "set_protocol",
        "set_protocol($self, /, protocol)\n--\n\n"
        "Hand the socket to another protocol."),
    make_method<get_protocol>("get_protocol",
                              "get_protocol($self, /)\n--\n\n"
                              "Return the protocol; None after the end."),
    make_method<is_closing>("is_closing",
                            "is_closing($self, /)\n--\n\n"
                            "Return whether the transport is closing or closed."),
    make_method<is_reading>("is_reading",
                            "is_reading($self, /)\n--\n\n"
                            "Return whether datagrams are delivered."),
    make_method<pause_reading>("pause_reading",
                               "pause_reading($self, /)\n--\n\n"
                               "Deliver no datagrams until resume_reading()."),
    make_method<resume_reading>("resume_reading",
                                "resume_reading($self, /)\n--\n\n"
                                "Deliver datagrams again."),
    make_method<close>("close",
                       "close($self, /)\n--\n\n"
                       "Receive no more, send what is unsent, then close."),
    make_method<abort>("abort",
                       "abort($self, /)\n--\n\n"
                       "Close at once; what is unsent is lost."),
    make_method<get_write_buffer_size>(
        "get_write_buffer_size",
        "get_write_buffer_size($self, /)\n--\n\n"
        "Return how many bytes the kernel has not taken yet, from Python 3.13 on with 8 more for\n"
        "each datagram."),
    make_method<get_write_buffer_limits>("get_write_buffer_limits",
                                         "get_write_buffer_limits($self, /)\n--\n\n"
                                         "Return (low, high), in bytes."),
    make_method<set_write_buffer_limits>(
        "set_write_buffer_limits",
        "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
        "Set when pause_writing() and resume_writing() are called, in bytes unsent."),
    make_method<by_name<Object, force_close, k_force_close>>(
        "_force_close",
        "_force_close($self, /, exc)\n--\n\n"
        "As abort(); connection_lost() gets exc."),
    make_method<fatal_error>(
        "_fatal_error",
        "_fatal_error($self, /, exc, message='Fatal error on transport')\n--\n\n"
        "Report exc and close by force."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    make_property<loop>("_loop", "The event loop; None after the end."),
    make_property<get_protocol>("_protocol", "The protocol; None after the end."),
    make_property<socket>("_sock", "The socket object; None after the end."),
    make_property<descriptor>("_sock_fd", "The descriptor, also after the end."),
    make_property<address>("_address", "The only address that is sent to, or None."),
    make_property<extra>("_extra", "What get_extra_info() looks into."),
    make_property<is_closing>("_closing", "As is_closing()."),
    make_property<is_paused>("_paused", "pause_reading() was called last."),
    make_property<is_protocol_paused>("_protocol_paused", "pause_writing() was called last."),
    attributes_property(),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// NOLINTNEXTLINE(cppcoreguidelines-interfaces-global-init): only an address is taken
PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(k_class_text)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_finalize, reinterpret_cast<void*>(&finalize)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate)},
    {Py_tp_repr, reinterpret_cast<void*>(&describe)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, transport_members},
    {0, nullptr},
};

PyType_Spec spec = {"epoll._loop.DatagramTransport", sizeof(Object), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

int DatagramTransport::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const held :
         {&loop_object_, &protocol_, &context_, &waiter_, &socket_, &address_, &end_exception_}) {
        Py_VISIT(held->get());
    }
    return 0;
}

void DatagramTransport::clear() noexcept {
    for (Ref* const held : {&protocol_, &waiter_, &socket_, &address_, &end_exception_}) {
        held->reset();
    }
}

Ref make_datagram_transport(Loop& loop, const DatagramParts& parts) {
    if (!loop.watches().require_no_transport(parts.socket)) {
        return {};
    }
    auto* const type = reinterpret_cast<PyTypeObject*>(loop.state().datagram_transport_type.get());
    Ref object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return {};
    }
    auto& transport = self_of<Object>(object.get()).transport;
    ::new (&transport) DatagramTransport(loop, object.get());
    return transport.start(parts) ? std::move(object) : Ref{};
}

bool add_datagram_transport_type(PyObject* module, LoopState& state) {
    state.datagram_transport_type = make_datagram_transport_type(module, "DatagramTransport", spec);
    return static_cast<bool>(state.datagram_transport_type);
}

}  // namespace epoll::python
