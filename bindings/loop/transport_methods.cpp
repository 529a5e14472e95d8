#include <vector>

#include "../answers.hpp"
#include "../method.hpp"
#include "acceptors.hpp"
#include "datagram_transport.hpp"
#include "loop.hpp"
#include "tls_transport.hpp"
#include "transport.hpp"

namespace epoll::python {

namespace {

Ref make_socket_transport(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<6> k_signature{
        "_make_socket_transport",
        {"sock", "protocol", "waiter", "extra", "server", "context"},
        {Parameter::required, Parameter::required, Parameter::optional, Parameter::keyword_only,
         Parameter::keyword_only, Parameter::keyword_only},
    };
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto& [socket, protocol, waiter, extra, server, context] = *bound;
    return make_transport(*self.loop, socket, {protocol, waiter, extra, server, context});
}

Ref make_datagrams(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<5> k_signature{
        "_make_datagram_transport",
        {"sock", "protocol", "address", "waiter", "extra"},
        {Parameter::required, Parameter::required, Parameter::optional, Parameter::optional,
         Parameter::optional},
    };
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto& [socket, protocol, address, waiter, extra] = *bound;
    const LoopState& state = self.loop->state();
    if (has_plain_addresses(state, socket)) {
        return make_datagram_transport(*self.loop, {socket, protocol, address, waiter, extra});
    }
    const auto given = [](PyObject* object) { return object != nullptr ? object : Py_None; };
    return Ref::steal(PyObject_CallMethod(state.support.get(), "make_datagram_transport", "OOOOOO",
                                          self.as_python(), socket, protocol, given(address),
                                          given(waiter), given(extra)));
}

Ref start_accepting(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<4> k_signature{
        "_start_accepting",
        {"protocol_factory", "sock", "server", "context"},
        {Parameter::required, Parameter::required, Parameter::required, Parameter::required},
    };
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto& [factory, socket, server, context] = *bound;
    return self.loop->acceptors().start({factory, socket, server, context}) ? Ref::none() : Ref{};
}

Ref stop_accepting(LoopObject& self, PyObject* socket) {
    return as_bool(self.loop->acceptors().stop(socket));
}

Ref make_tls(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<10> k_signature{
        "_make_tls_transport",
        {"protocol", "ssl_object", "incoming", "outgoing", "sslcontext", "waiter",
         "ssl_handshake_timeout", "ssl_shutdown_timeout", "call_connection_made", "report_failure"},
        {Parameter::required, Parameter::required, Parameter::required, Parameter::required,
         Parameter::required, Parameter::required, Parameter::required, Parameter::required,
         Parameter::required, Parameter::required},
    };
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto& [protocol, ssl_object, incoming, outgoing, context, waiter, handshake_timeout,
                 shutdown_timeout, calls_made, reports] = *bound;
    const TlsParts parts{.protocol = protocol,
                         .ssl_object = ssl_object,
                         .ssl_context = context,
                         .waiter = waiter,
                         .handshake_timeout = handshake_timeout,
                         .shutdown_timeout = shutdown_timeout,
                         .calls_connection_made = calls_made == Py_True,
                         .reports_failure = reports == Py_True};
    return make_tls_transport(*self.loop, parts, incoming, outgoing);
}

constexpr const char* k_tls_text =
    "_make_tls_transport($self, /, protocol, ssl_object, incoming, outgoing, sslcontext, waiter,\n"
    "                    ssl_handshake_timeout, ssl_shutdown_timeout, call_connection_made,\n"
    "                    report_failure)\n--\n\n"
    "Make what is the protocol of a SocketTransport, and the TLS transport of a protocol; None "
    "when\n"
    "OpenSSL cannot be reached. epoll.tls judges the arguments.";
constexpr const char* k_make_text =
    "_make_socket_transport($self, /, sock, protocol, waiter=None, *, extra=None, server=None,\n"
    "                       context=None)\n--\n\n"
    "Make the transport of a connected, non-blocking socket object, which it closes at its end.";
constexpr const char* k_make_datagrams_text =
    "_make_datagram_transport($self, /, sock, protocol, address=None, waiter=None, extra=None)\n"
    "--\n\n"
    "Make the transport of a non-blocking datagram socket object, which it closes at its end.";
constexpr const char* k_start_text =
    "_start_accepting($self, /, protocol_factory, sock, server, context)\n--\n\n"
    "Make a transport of each connection that arrives at a listening socket.";
constexpr const char* k_stop_text =
    "_stop_accepting($self, sock, /)\n--\n\n"
    "Accept no more connections; return whether some were accepted before.";

}  // namespace

void append_transport_methods(std::vector<PyMethodDef>& methods) {
    methods.push_back(make_method<make_socket_transport>("_make_socket_transport", k_make_text));
    methods.push_back(make_method<make_tls>("_make_tls_transport", k_tls_text));
    methods.push_back(
        make_method<make_datagrams>("_make_datagram_transport", k_make_datagrams_text));
    methods.push_back(make_method<start_accepting>("_start_accepting", k_start_text));
    methods.push_back(make_method<stop_accepting>("_stop_accepting", k_stop_text));
}

}  // namespace epoll::python
