// The type epoll._loop.SSLTransport, and how its objects are made.

#include <new>

#include "../buffers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "loop_state.hpp"
#include "socket_transport.hpp"
#include "tls_transport.hpp"

namespace epoll::python {

namespace {

using Object = TlsTransportObject;

Ref as_bool(bool value) noexcept { return Ref::borrow(value ? Py_True : Py_False); }
Ref as_none(bool is_done) noexcept { return is_done ? Ref::none() : Ref{}; }
Ref or_none(PyObject* object) noexcept { return Ref::borrow(object != nullptr ? object : Py_None); }
Ref as_number(std::size_t size) noexcept { return Ref::steal(PyLong_FromSize_t(size)); }

Ref as_pair(const FlowLimits& limits) noexcept {
    return Ref::steal(Py_BuildValue("(nn)", static_cast<Py_ssize_t>(limits.low),
                                    static_cast<Py_ssize_t>(limits.high)));
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
Ref write_eof(Object& /*self*/) { return Ref::steal(PyErr_Format(PyExc_NotImplementedError, "")); }
Ref can_write_eof(Object& /*self*/) { return as_bool(false); }
Ref close(Object& self) { return as_none(self.transport.close()); }
Ref abort(Object& self) { return as_none(self.transport.abort(Py_None)); }
Ref get_write_buffer_size(Object& self) { return as_number(self.transport.write_buffer_size()); }
Ref get_read_buffer_size(Object& self) { return as_number(self.transport.read_buffer_size()); }
Ref get_write_buffer_limits(Object& self) { return as_pair(self.transport.write_limits()); }
Ref get_read_buffer_limits(Object& self) { return as_pair(self.transport.read_limits()); }

constexpr Signature<2> k_limits_signature(const char* name) noexcept {
    return {name, {"high", "low"}, {Parameter::optional, Parameter::optional}};
}

Ref set_write_buffer_limits(Object& self, const CallArguments& arguments) {
    static constexpr auto k_signature = k_limits_signature("set_write_buffer_limits");
    const auto bound = k_signature.bind(arguments);
    const auto limits =
        bound ? to_flow_limits((*bound)[0], (*bound)[1], k_tls_write_high) : std::nullopt;
    return limits ? as_none(self.transport.set_write_limits(*limits)) : Ref{};
}

Ref set_read_buffer_limits(Object& self, const CallArguments& arguments) {
    static constexpr auto k_signature = k_limits_signature("set_read_buffer_limits");
    const auto bound = k_signature.bind(arguments);
    const auto limits =
        bound ? to_flow_limits((*bound)[0], (*bound)[1], k_tls_read_high) : std::nullopt;
    if (limits) {
        self.transport.set_read_limits(*limits);
    }
    return as_none(limits.has_value());
}

// What asyncio's own code, some libraries and the tests of both use.

Ref force_close(Object& self, PyObject* exception) {
    return as_none(self.transport.abort(exception));
}

Ref connection_made(Object& self, PyObject* transport) {
    const LoopState& state = LoopState::of_type(Py_TYPE(&self));
    if (reinterpret_cast<PyObject*>(Py_TYPE(transport)) != state.socket_transport_type.get()) {
        return error(PyExc_TypeError, "a SocketTransport is needed, not %s",
                     Py_TYPE(transport)->tp_name);
    }
    return as_none(self.transport.on_connection_made(transport));
}

Ref pause_writing(Object& self) { return as_none(self.transport.on_pause_writing()); }
Ref resume_writing(Object& self) { return as_none(self.transport.on_resume_writing()); }

Ref give(Object& self, PyObject* data) {
    BytesView view;
    if (!view.open(data)) {
        return {};
    }
    self.transport.give(view.bytes());
    return Ref::none();
}

Ref add_to_backlog(Object& self, PyObject* data) {
    if (!PyBytes_Check(data)) {
        return error(PyExc_TypeError, "bytes are needed, not %s", Py_TYPE(data)->tp_name);
    }
    self.transport.add_to_backlog(data);
    return Ref::none();
}

Ref loop(Object& self) { return or_none(self.transport.loop_object()); }
Ref ssl_protocol(Object& self) { return Ref::borrow(reinterpret_cast<PyObject*>(&self)); }
Ref ssl_context(Object& self) { return or_none(self.transport.ssl_context()); }
Ref is_writing_paused(Object& self) { return as_bool(self.transport.is_writing_paused()); }

int traverse(PyObject* object, visitproc visit, void* arg) noexcept {
    const Object& self = self_of<Object>(object);
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

void finalize(PyObject* object) noexcept { tls_transport_of(object).finalize(); }

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
    self.transport.~TlsTransport();
    Py_TYPE(object)->tp_free(object);
}

constexpr const char* k_class_text =
    "The transport of a TLS connection, as asyncio.Transport describes it.\n"
    "\n"
    "What a callback writes, in however many pieces, is enciphered and sent when it returns; what\n"
    "is written elsewhere, at the end of the loop's turn. Belongs to the loop's thread, and so "
    "does\n"
    "its ssl_object while the connection is open.";

PyMethodDef methods[] = {
    make_method<get_extra_info>("get_extra_info",
                                "get_extra_info($self, /, name, default=None)\n--\n\n"
                                "Return what is known of the connection: sslcontext, after the\n"
                                "handshake ssl_object, peercert, cipher, compression, and what\n"
                                "the transport below knows."),
    make_method<set_protocol>("set_protocol",
                              "set_protocol($self, protocol, /)\n--\n\n"
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
    make_method<write>("write",
                       "write($self, data, /)\n--\n\n"
                       "Send bytes; never blocks. Bytes that may change are copied."),
    make_method<write_lines>("writelines",
                             "writelines($self, list_of_data, /)\n--\n\n"
                             "Send the bytes of an iterable, in order."),
    make_method<write_eof>("write_eof", "write_eof($self, /)\n--\n\nRaise NotImplementedError."),
    make_method<can_write_eof>("can_write_eof", "can_write_eof($self, /)\n--\n\nReturn False."),
    make_method<close>("close",
                       "close($self, /)\n--\n\n"
                       "Send what is unsent, then close_notify; close when the peer has\n"
                       "answered, or ssl_shutdown_timeout is over."),
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
    make_method<get_read_buffer_size>("get_read_buffer_size",
                                      "get_read_buffer_size($self, /)\n--\n\n"
                                      "Return how many bytes have arrived and are not deciphered."),
    make_method<get_read_buffer_limits>("get_read_buffer_limits",
                                        "get_read_buffer_limits($self, /)\n--\n\n"
                                        "Return (low, high), in bytes."),
    make_method<set_read_buffer_limits>(
        "set_read_buffer_limits",
        "set_read_buffer_limits($self, /, high=None, low=None)\n--\n\n"
        "Set how much is taken from the kernel while reading is paused, in bytes."),
    make_method<force_close>("_force_close",
                             "_force_close($self, exc, /)\n--\n\n"
                             "As abort(); connection_lost() gets exc."),
    make_method<connection_made>("connection_made",
                                 "connection_made($self, transport, /)\n--\n\n"
                                 "Start the handshake over a SocketTransport."),
    make_method<pause_writing>("pause_writing",
                               "pause_writing($self, /)\n--\n\n"
                               "Encipher nothing: the transport below is full."),
    make_method<resume_writing>("resume_writing",
                                "resume_writing($self, /)\n--\n\n"
                                "Encipher again."),
    make_method<give>("_give",
                      "_give($self, data, /)\n--\n\n"
                      "Take what had arrived before this was the protocol."),
    make_method<add_to_backlog>("_test__append_write_backlog",
                                "_test__append_write_backlog($self, data, /)\n--\n\n"
                                "Write, but not yet: for tests, as asyncio has it."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    make_property<loop>("_loop", "The event loop."),
    make_property<get_protocol>("_protocol", "The protocol; None after the end."),
    make_property<ssl_protocol>("_ssl_protocol", "The same object: it is both."),
    make_property<ssl_context>("_sslcontext", "The SSLContext, as asyncio's protocol has it."),
    make_property<is_writing_paused>("_protocol_paused", "pause_writing() was called last."),
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
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_members, transport_members},
    {0, nullptr},
};

PyType_Spec spec = {"epoll._loop.SSLTransport", sizeof(Object), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

bool is_named(PyObject* name, const char* text) noexcept {
    return PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, text) == 0;
}

}  // namespace

Ref TlsTransport::extra_info(PyObject* name) {
    const TlsState& names = loop_.state().tls;
    PyObject*& extra = reinterpret_cast<TlsTransportObject*>(self_)->extra;
    if (extra != nullptr) {
        Ref value = Ref::borrow(PyDict_GetItemWithError(extra, name));
        if (value || PyErr_Occurred() != nullptr) {
            return value;
        }
    }
    Ref value;
    if (is_named(name, "sslcontext")) {
        value = Ref::borrow(ssl_context_.get());
    } else if (is_shaken_ && is_named(name, "ssl_object")) {
        value = Ref::borrow(ssl_object_.get());
    } else if (is_shaken_ && is_named(name, "peercert")) {
        value = call_method(names.getpeercert, ssl_object_.get());
    } else if (is_shaken_ && is_named(name, "cipher")) {
        value = call_method(names.cipher, ssl_object_.get());
    } else if (is_shaken_ && is_named(name, "compression")) {
        value = call_method(names.compression, ssl_object_.get());
    } else {
        return transport_ ? lower()->extra_info(name) : Ref{};
    }
    if (extra == nullptr) {
        extra = PyDict_New();
    }
    return value && extra != nullptr && PyDict_SetItem(extra, name, value.get()) == 0
               ? std::move(value)
               : Ref{};
}

void TlsTransport::finalize() noexcept {
    if (is_closed_ || !transport_) {
        return;
    }
    is_closed_ = true;
    const ExceptionKept kept;
    warn_unclosed(self_);
}

int TlsTransport::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const held :
         {&loop_object_, &transport_, &ssl_object_, &ssl_socket_, &ssl_context_, &waiter_}) {
        Py_VISIT(held->get());
    }
    return app_.traverse(visit, arg);
}

/// The loop stays: what its state has is needed until the end.
void TlsTransport::clear() noexcept {
    session_.detach();
    app_.reset();
    for (Ref* const held : {&transport_, &ssl_object_, &ssl_socket_, &ssl_context_, &waiter_}) {
        held->reset();
    }
}

Ref make_tls_transport(Loop& loop, const TlsParts& parts, PyObject* incoming, PyObject* outgoing) {
    TlsState& state = loop.state().tls;
    if (!state.find()) {
        return {};
    }
    const Ref socket = Ref::steal(PyObject_GetAttrString(parts.ssl_object, "_sslobj"));
    if (!socket) {
        return {};
    }
    const ReachedSsl reached = state.library != nullptr
                                   ? state.library->reach(socket.get(), incoming, outgoing)
                                   : ReachedSsl{};
    if (reached.ssl == nullptr) {
        return Ref::none();
    }
    auto* const type = reinterpret_cast<PyTypeObject*>(state.transport_type.get());
    Ref object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return {};
    }
    ::new (&tls_transport_of(object.get())) TlsTransport(loop, object.get());
    return tls_transport_of(object.get()).start(parts, reached) ? std::move(object) : Ref{};
}

bool add_tls_transport_type(PyObject* module, LoopState& state) {
    state.tls.transport_type = make_transport_type(module, "SSLTransport", spec, "FALLBACK");
    return static_cast<bool>(state.tls.transport_type);
}

}  // namespace epoll::python
