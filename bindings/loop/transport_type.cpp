#include "../answers.hpp"
#include "../method.hpp"
#include "common_methods.hpp"
#include "loop_state.hpp"
#include "socket_transport.hpp"
#include "transport_object.hpp"

namespace epoll::python {

namespace {

using Object = SocketTransportObject;
using Common = TransportMethods<Object>;

Ref write_eof(Object& self) { return as_none(self.transport.write_eof()); }
Ref can_write_eof(Object&) { return as_bool(true); }
Ref server(Object& self) { return or_none(self.transport.server()); }
Ref extra(Object& self) { return self.transport.all_extra_info(); }
PyObject* describe(PyObject* object) noexcept {
    const SocketTransport& self = transport_of(object);
    const Stream* const stream = self.stream();
    const char* const state = state_of(self);
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

constexpr const char* k_class_text =
    "The transport of a connected stream socket, as asyncio.Transport describes it.\n"
    "\n"
    "What a callback writes, in however many pieces, is sent when it returns; what is written\n"
    "elsewhere, at the end of the loop's turn. Belongs to the loop's thread.";

std::array methods = join(
    Common::protocol_methods(), Common::reading_methods(), Common::limits_methods(),
    Common::abort_methods(), Common::writing_methods(), Common::file_methods(),
    std::array{
        make_method<&Common::get_extra_info>(
            "get_extra_info",
            "get_extra_info($self, /, name, default=None)\n--\n\n"
            "Return what is known of the connection: socket, sockname,\n"
            "peername and what the maker of the transport added."),
        make_method<write_eof>("write_eof",
                               "write_eof($self, /)\n--\n\n"
                               "Close our side for writing once all is sent."),
        make_method<can_write_eof>("can_write_eof", "can_write_eof($self, /)\n--\n\nReturn True."),
        make_method<&Common::close>("close",
                                    "close($self, /)\n--\n\n"
                                    "Read no more, send what is unsent, then close."),
        make_method<&Common::get_write_buffer_size>(
            "get_write_buffer_size",
            "get_write_buffer_size($self, /)\n--\n\n"
            "Return how many bytes the kernel has not taken yet."),
        Common::fatal_error_method(),
    });

PyGetSetDef properties[] = {
    make_property<&Common::loop>("_loop", "The event loop; None after the end."),
    make_property<&Common::get_protocol>("_protocol", "The protocol; None after the end."),
    make_property<server>("_server", "The server that accepted it, or None."),
    make_property<&Common::socket>("_sock", "The socket object; None after the end."),
    make_property<&Common::descriptor>("_sock_fd", "The descriptor, also after the end."),
    make_property<extra>("_extra", "What get_extra_info() looks into, complete."),
    make_property<&Common::is_closing>("_closing", "As is_closing()."),
    make_property<&Common::is_paused>("_paused", "pause_reading() was called last."),
    make_property<&Common::is_protocol_paused>("_protocol_paused",
                                               "pause_writing() was called last."),
    attributes_property(),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

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
    return allocate_object<Object>(loop.state().socket_transport_type, loop);
}

bool add_socket_transport_type(PyObject* module, LoopState& state) {
    Ref& type = state.socket_transport_type;
    type = make_transport_type<Object>(
        module,
        {"epoll._loop.SocketTransport", k_class_text, methods.data(), properties, &describe},
        transport_base("_FlowControlMixin", Object::k_hidden_slots));
    const Ref mode = sendfile_mode("TRY_NATIVE");
    return type && mode && allow_start_tls(type.get()) &&
           PyObject_SetAttrString(type.get(), "_sendfile_compatible", mode.get()) == 0;
}

}  // namespace epoll::python
