// The type epoll._loop.SSLTransport, and how its objects are made.

#include "../answers.hpp"
#include "../buffers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "common_methods.hpp"
#include "loop_state.hpp"
#include "named_argument.hpp"
#include "socket_transport.hpp"
#include "tls_transport.hpp"
#include "transport_object.hpp"

namespace epoll::python {

namespace {

using Object = TlsTransportObject;
using Common = TransportMethods<Object>;

Ref write_eof(Object& /*self*/) { return Ref::steal(PyErr_Format(PyExc_NotImplementedError, "")); }
Ref can_write_eof(Object& /*self*/) { return as_bool(false); }
Ref get_read_buffer_size(Object& self) { return as_number(self.transport.read_buffer_size()); }
Ref get_read_buffer_limits(Object& self) { return as_pair(self.transport.read_limits()); }

Ref set_read_buffer_limits(Object& self, const CallArguments& arguments) {
    static constexpr auto k_signature = limits_signature("set_read_buffer_limits");
    const auto limits = bind_limits(k_signature, arguments, TlsTransport::k_read_high);
    if (limits) {
        self.transport.set_read_limits(*limits);
    }
    return as_none(limits.has_value());
}

// What asyncio's own code, some libraries and the tests of both use.

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

Ref ssl_protocol(Object& self) { return Ref::borrow(reinterpret_cast<PyObject*>(&self)); }
Ref is_reading_paused(Object& self) { return as_bool(!self.transport.is_reading()); }
Ref ssl_context(Object& self) { return or_none(self.transport.ssl_context()); }

Ref sendfile_compatible(Object& self) {
    return sendfile_mode(self.transport.can_send_files() ? "TRY_NATIVE" : "FALLBACK");
}

constexpr const char* k_class_text =
    "The transport of a TLS connection, as asyncio.Transport describes it.\n"
    "\n"
    "What a callback writes, in however many pieces, is enciphered and sent when it returns; what\n"
    "is written elsewhere, at the end of the loop's turn. Belongs to the loop's thread, and so\n"
    "does its ssl_object while the connection is open.";

constexpr Signature<1> k_connection_made = named_argument("connection_made", "transport");
constexpr Signature<1> k_add_to_backlog = named_argument("_test__append_write_backlog", "data");

std::array methods = join(
    Common::protocol_methods(), Common::reading_methods(), Common::limits_methods(),
    Common::abort_methods(), Common::writing_methods(), Common::file_methods(),
    std::array{
        make_method<&Common::get_extra_info>(
            "get_extra_info",
            "get_extra_info($self, /, name, default=None)\n--\n\n"
            "Return what is known of the connection: sslcontext, after the\n"
            "handshake ssl_object, peercert, cipher, compression, ktls_send\n"
            "(whether the kernel enciphers), and what the transport below\n"
            "knows."),
        make_method<write_eof>("write_eof",
                               "write_eof($self, /)\n--\n\nRaise NotImplementedError."),
        make_method<can_write_eof>("can_write_eof", "can_write_eof($self, /)\n--\n\nReturn False."),
        make_method<&Common::close>(
            "close",
            "close($self, /)\n--\n\n"
            "Send what is unsent, then close_notify; close when the peer has\n"
            "answered, or ssl_shutdown_timeout is over."),
        make_method<&Common::get_write_buffer_size>(
            "get_write_buffer_size",
            "get_write_buffer_size($self, /)\n--\n\n"
            "Return how many bytes the kernel has not taken yet."),
        make_method<get_read_buffer_size>(
            "get_read_buffer_size",
            "get_read_buffer_size($self, /)\n--\n\n"
            "Return how many bytes have arrived and are not deciphered."),
        make_method<get_read_buffer_limits>("get_read_buffer_limits",
                                            "get_read_buffer_limits($self, /)\n--\n\n"
                                            "Return (low, high), in bytes."),
        make_method<set_read_buffer_limits>(
            "set_read_buffer_limits",
            "set_read_buffer_limits($self, /, high=None, low=None)\n--\n\n"
            "Set how much is taken from the kernel while reading is paused, in bytes."),
        make_method<by_name<Object, connection_made, k_connection_made>>(
            "connection_made",
            "connection_made($self, /, transport)\n--\n\n"
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
        make_method<by_name<Object, add_to_backlog, k_add_to_backlog>>(
            "_test__append_write_backlog",
            "_test__append_write_backlog($self, /, data)\n--\n\n"
            "Write, but not yet: for tests, as asyncio has it."),
    });

PyGetSetDef properties[] = {
    make_property<&Common::loop>("_loop", "The event loop."),
    make_property<&Common::get_protocol>("_protocol", "The protocol; None after the end."),
    make_property<&Common::socket>("_sock", "The socket object; None after the end."),
    make_property<sendfile_compatible>("_sendfile_compatible",
                                       "Whether sendfile() may go past this transport: when the "
                                       "kernel enciphers."),
    make_property<ssl_protocol>("_ssl_protocol", "The same object: it is both."),
    make_property<ssl_context>("_sslcontext", "The SSLContext, as asyncio's protocol has it."),
    make_property<is_reading_paused>("_app_reading_paused", "pause_reading() was called last."),
    make_property<&Common::is_protocol_paused>("_protocol_paused",
                                               "pause_writing() was called last."),
    attributes_property(),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

bool is_named(PyObject* name, const char* text) noexcept {
    return PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, text) == 0;
}

}  // namespace

Ref TlsTransport::extra_info(PyObject* name) {
    const TlsState& names = loop_.state().tls;
    PyObject*& extra = reinterpret_cast<TlsTransportObject*>(self_)->extra();
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
    } else if (is_shaken_ && is_named(name, "ktls_send")) {
        value = as_bool(session_.is_offloaded());
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
    Ref object = allocate_object<Object>(state.transport_type, loop);
    return object && tls_transport_of(object.get()).start(parts, reached) ? std::move(object)
                                                                          : Ref{};
}

bool add_tls_transport_type(PyObject* module, LoopState& state) {
    Ref& type = state.tls.transport_type;
    type = make_transport_type<Object>(
        module, {"epoll._loop.SSLTransport", k_class_text, methods.data(), properties, nullptr},
        transport_base("_FlowControlMixin", Object::k_hidden_slots));
    return type && allow_start_tls(type.get());
}

}  // namespace epoll::python
