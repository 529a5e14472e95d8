#include "../answers.hpp"
#include "../method.hpp"
#include "common_methods.hpp"
#include "datagram_transport.hpp"
#include "fd_watches.hpp"
#include "loop_state.hpp"
#include "transport_object.hpp"

namespace epoll::python {

namespace {

using Object = DatagramTransportObject;
using Common = TransportMethods<Object>;

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

Ref address(Object& self) { return or_none(self.transport.address()); }
Ref extra(Object& self) { return or_none(self.extra()); }
PyObject* describe(PyObject* object) noexcept {
    const DatagramTransport& self = self_of<Object>(object).transport;
    const Datagram* const datagram = self.datagram();
    const char* const state = state_of(self);
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

constexpr const char* k_class_text =
    "The transport of a datagram socket, as asyncio.DatagramTransport describes it.\n"
    "\n"
    "One turn of the loop delivers up to 32 datagrams of a socket. Belongs to the loop's thread.";

std::array methods = join(
    Common::protocol_methods(), Common::reading_methods(), Common::limits_methods(),
    Common::abort_methods(),
    std::array{
        make_method<send_to>(
            "sendto",
            "sendto($self, /, data, addr=None)\n--\n\n"
            "Send a datagram; never blocks. Bytes that may change are copied. What the\n"
            "network says against it is told to error_received()."),
        make_method<&Common::get_extra_info>(
            "get_extra_info",
            "get_extra_info($self, /, name, default=None)\n--\n\n"
            "Return what is known of the socket: socket, sockname, peername."),
        make_method<&Common::close>("close",
                                    "close($self, /)\n--\n\n"
                                    "Receive no more, send what is unsent, then close."),
        make_method<&Common::get_write_buffer_size>(
            "get_write_buffer_size",
            "get_write_buffer_size($self, /)\n--\n\n"
            "Return how many bytes the kernel has not taken yet, from Python 3.13 on with 8 more\n"
            "for each datagram."),
        Common::fatal_error_method(),
    });

PyGetSetDef properties[] = {
    make_property<&Common::loop>("_loop", "The event loop; None after the end."),
    make_property<&Common::get_protocol>("_protocol", "The protocol; None after the end."),
    make_property<&Common::socket>("_sock", "The socket object; None after the end."),
    make_property<&Common::descriptor>("_sock_fd", "The descriptor, also after the end."),
    make_property<address>("_address", "The only address that is sent to, or None."),
    make_property<extra>("_extra", "What get_extra_info() looks into."),
    make_property<&Common::is_closing>("_closing", "As is_closing()."),
    make_property<&Common::is_paused>("_paused", "pause_reading() was called last."),
    make_property<&Common::is_protocol_paused>("_protocol_paused",
                                               "pause_writing() was called last."),
    attributes_property(),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

/// asyncio's two classes, as isinstance() asks for the second.
Ref bases() noexcept {
    const Ref base = transport_base("_FlowControlMixin", Object::k_hidden_slots);
    const Ref datagrams = base ? transport_base("DatagramTransport", 0) : Ref{};
    return datagrams ? Ref::steal(PyTuple_Pack(2, base.get(), datagrams.get())) : Ref{};
}

}  // namespace

/// Without a dict it is garbage, and somebody else's finalizer asks.
Ref DatagramTransport::extra_info(PyObject* name) const {
    PyObject* const known = reinterpret_cast<DatagramTransportObject*>(self_)->extra();
    return known != nullptr ? Ref::borrow(PyDict_GetItemWithError(known, name)) : Ref{};
}

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
    Ref object = allocate_object<Object>(loop.state().datagram_transport_type, loop);
    return object && self_of<Object>(object.get()).transport.start(parts) ? std::move(object)
                                                                          : Ref{};
}

bool add_datagram_transport_type(PyObject* module, LoopState& state) {
    state.datagram_transport_type = make_transport_type<Object>(
        module,
        {"epoll._loop.DatagramTransport", k_class_text, methods.data(), properties, &describe},
        bases());
    return static_cast<bool>(state.datagram_transport_type);
}

}  // namespace epoll::python
