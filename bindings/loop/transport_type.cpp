#include <new>

#include "../answers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "loop_state.hpp"
#include "named_argument.hpp"
#include "socket_transport.hpp"
#include "transport_head.hpp"

namespace epoll::python {

namespace {

using Object = SocketTransportObject;

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
    Ref value = self.transport.extra_info((*bound)[0]);
    return value || PyErr_Occurred() != nullptr ? std::move(value) : or_none((*bound)[1]);
}

Ref set_protocol(Object& self, PyObject* protocol) {
    return as_none(self.transport.set_protocol(protocol));
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

Ref write(Object& self, PyObject* data) { return as_none(self.transport.write(data)); }
Ref write_lines(Object& self, PyObject* lines) {
    return as_none(self.transport.write_lines(lines));
}
Ref write_eof(Object& self) { return as_none(self.transport.write_eof()); }
Ref can_write_eof(Object&) { return as_bool(true); }
Ref close(Object& self) { return as_none(self.transport.close()); }
Ref abort(Object& self) { return as_none(self.transport.abort(Py_None)); }

Ref get_write_buffer_size(Object& self) { return as_number(self.transport.write_buffer_size()); }

Ref get_write_buffer_limits(Object& self) {
    return Ref::steal(Py_BuildValue("(nn)", static_cast<Py_ssize_t>(self.transport.low_water()),
                                    static_cast<Py_ssize_t>(self.transport.high_water())));
}

Ref set_write_buffer_limits(Object& self, const CallArguments& arguments) {
    const auto limits = bind_write_limits(arguments);
    return limits ? as_none(self.transport.set_limits(limits->high, limits->low)) : Ref{};
}

// What asyncio's own code and some libraries use.

Ref force_close(Object& self, PyObject* exception) {
    return as_none(self.transport.abort(exception));
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

Ref make_empty_waiter(Object& self) { return self.transport.make_empty_waiter(); }

Ref reset_empty_waiter(Object& self) {
    self.transport.reset_empty_waiter();
    return Ref::none();
}

Ref loop(Object& self) { return or_none(self.transport.loop_object()); }
Ref server(Object& self) { return or_none(self.transport.server()); }
Ref socket(Object& self) { return self.transport.socket(); }
Ref descriptor(Object& self) { return Ref::steal(PyLong_FromLong(self.transport.fd())); }
Ref extra(Object& self) { return self.transport.all_extra_info(); }
Ref is_paused(Object& self) { return as_bool(self.transport.is_paused()); }
Ref is_protocol_paused(Object& self) { return as_bool(self.transport.is_protocol_paused()); }

PyObject* describe(PyObject* object) noexcept {
    const SocketTransport& self = transport_of(object);
    const Stream* const stream = self.stream();
    const char* const closing = self.is_closing() ? " closing" : "";
    const char* const state = self.is_lost() ? " closed" : closing;
    const Ref name = Ref::steal(PyType_GetName(Py_TYPE(object)));
    if (!name) {
        return nullptr;
    }
    if (stream == nullptr) {
        return PyUnicode_FromFormat("<%U%s fd=%d>", name.get(), state, self.fd());
    }
    return PyUnicode_FromFormat("<%U%s fd=%d read=%s write=<%s, bufsize=%zu>>", name.get(), state,
                                self.fd(), stream->is_reading() ? "polling" : "idle",
                                stream->is_writing_blocked() ? "polling" : "idle",
                                stream->unsent());
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

void finalize(PyObject* object) noexcept { transport_of(object).finalize(); }

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
    self.transport.~SocketTransport();
    Py_TYPE(object)->tp_free(object);
}

constexpr const char* k_class_text =
    "The transport of a connected stream socket, as asyncio.Transport describes it.\n"
    "\n"
    "What a callback writes, in however many pieces, is sent when it returns; what is written\n"
    "elsewhere, at the end of the loop's turn. Belongs to the loop's thread.";
constexpr const char* k_empty_waiter_text =
    "_make_empty_waiter($self, /)\n--\n\n"
    "Return a future that is done when nothing is unsent; nothing can be written meanwhile.";

constexpr Signature<1> k_set_protocol = named_argument("set_protocol", "protocol");
constexpr Signature<1> k_write = named_argument("write", "data");
constexpr Signature<1> k_write_lines = named_argument("writelines", "list_of_data");
constexpr Signature<1> k_force_close = named_argument("_force_close", "exc");

PyMethodDef methods[] = {
    make_method<get_extra_info>("get_extra_info",
                                "get_extra_info($self, /, name, default=None)\n--\n\n"
                                "Return what is known of the connection: socket, sockname,\n"
                                "peername and what the maker of the transport added."),
    make_method<by_name<Object, set_protocol, k_set_protocol>>(
        "set_protocol",
        "set_protocol($self, /, protocol)\n--\n\n"
        "Hand the connection to another protocol."),
    make_method<get_protocol>("get_protocol",
                              "get_protocol($self, /)\n--\n\n"
                              "Return the protocol; None after the end."),
    make_method<is_closing>("is_closing",
                            "is_closing($self, /)\n--\n\n"
                            "Return whether the transport is closing or closed."),
    make_method<is_reading>("is_reading",
                            "is_reading($self, /)\n--\n\n"
                            "Return whether new data is delivered."),
    make_method<pause_reading>("pause_reading",
                               "pause_reading($self, /)\n--\n\n"
                               "Deliver no data until resume_reading()."),
    make_method<resume_reading>("resume_reading",
                                "resume_reading($self, /)\n--\n\n"
                                "Deliver data again."),
    make_method<by_name<Object, write, k_write>>(
        "write",
        "write($self, /, data)\n--\n\n"
        "Send bytes; never blocks. Bytes that may change are copied."),
    make_method<by_name<Object, write_lines, k_write_lines>>(
        "writelines",
        "writelines($self, /, list_of_data)\n--\n\n"
        "Send the bytes of an iterable, in order."),
    make_method<write_eof>("write_eof",
                           "write_eof($self, /)\n--\n\n"
                           "Close our side for writing once all is sent."),
    make_method<can_write_eof>("can_write_eof", "can_write_eof($self, /)\n--\n\nReturn True."),
    make_method<close>("close",
                       "close($self, /)\n--\n\n"
                       "Read no more, send what is unsent, then close."),
    make_method<abort>("abort",
                       "abort($self, /)\n--\n\n"
                       "Close at once; what is unsent is lost."),
    make_method<get_write_buffer_size>("get_write_buffer_size",
                                       "get_write_buffer_size($self, /)\n--\n\n"
                                       "Return how many bytes the kernel has not taken yet."),
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
    make_method<make_empty_waiter>("_make_empty_waiter", k_empty_waiter_text),
    make_method<reset_empty_waiter>("_reset_empty_waiter",
                                    "_reset_empty_waiter($self, /)\n--\n\nLet writing go on."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    make_property<loop>("_loop", "The event loop; None after the end."),
    make_property<get_protocol>("_protocol", "The protocol; None after the end."),
    make_property<server>("_server", "The server that accepted it, or None."),
    make_property<socket>("_sock", "The socket object; None after the end."),
    make_property<descriptor>("_sock_fd", "The descriptor, also after the end."),
    make_property<extra>("_extra", "What get_extra_info() looks into, complete."),
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

PyType_Spec spec = {"epoll._loop.SocketTransport", sizeof(Object), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

int SocketTransport::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const held : {&loop_object_, &protocol_, &context_, &server_, &waiter_,
                                  &socket_, &end_exception_, &empty_waiter_}) {
        Py_VISIT(held->get());
    }
    return 0;
}

void SocketTransport::clear() noexcept {
    native_ = nullptr;
    for (Ref* const held :
         {&protocol_, &context_, &server_, &waiter_, &socket_, &end_exception_, &empty_waiter_}) {
        held->reset();
    }
}

Ref allocate_transport(Loop& loop) {
    auto* const type = reinterpret_cast<PyTypeObject*>(loop.state().socket_transport_type.get());
    Ref object = Ref::steal(type->tp_alloc(type, 0));
    if (object) {
        ::new (&self_of<Object>(object.get()).transport) SocketTransport(loop, object.get());
    }
    return object;
}

bool add_socket_transport_type(PyObject* module, LoopState& state) {
    state.socket_transport_type =
        make_transport_type(module, "SocketTransport", spec, "TRY_NATIVE");
    return static_cast<bool>(state.socket_transport_type);
}

}  // namespace epoll::python
