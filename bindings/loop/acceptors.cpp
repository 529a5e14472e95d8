#include "acceptors.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>

#include <epoll/net/listener.hpp>

#include "../errors.hpp"
#include "fd_watches.hpp"
#include "in_context.hpp"
#include "loop.hpp"
#include "loop_state.hpp"
#include "socket_address.hpp"
#include "transport.hpp"

namespace epoll::python {

namespace {

constexpr const char* k_no_transport = "Error on transport creation for incoming connection";

bool is_lack(int error) noexcept {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

Ref or_empty(PyObject* object) noexcept { return object == Py_None ? Ref{} : Ref::borrow(object); }

}  // namespace

/// One listening socket. Python code that it calls may stop it, which destroys it: what is needed
/// afterwards is kept on the stack.
class Acceptors::Acceptor final : private ListenerHandler {
  public:
    /// `listening` is a duplicate of the socket's descriptor. Throws std::system_error.
    Acceptor(Loop& loop, OwnedFd listening, const AcceptorParts& parts, Ref context)
        : loop_(loop),
          factory_(Ref::borrow(parts.protocol_factory)),
          socket_(Ref::borrow(parts.socket)),
          server_(or_empty(parts.server)),
          context_(std::move(context)),
          listener_(loop.reactor(), std::move(listening), *this, false) {}

    [[nodiscard]] PyObject* socket() const noexcept { return socket_.get(); }

    int traverse(visitproc visit, void* arg) const noexcept {
        for (const Ref* const held : {&factory_, &socket_, &server_, &context_}) {
            Py_VISIT(held->get());
        }
        return 0;
    }

  private:
    void on_accept(OwnedFd connection, const Address& peer) noexcept override {
        Loop& loop = loop_;
        const Ref factory = Ref::borrow(factory_.get());
        const Ref server = Ref::borrow(server_.get());
        const Ref parent = Ref::borrow(context_.get());
        if (loop.is_debug()) [[unlikely]] {
            log_connection(loop, server.get(), connection.get(), peer);
        }
        const Ref context = Ref::steal(PyContext_Copy(parent.get()));
        Ref protocol;
        if (context) {
            protocol = make_protocol(factory.get(), context.get());
        }
        if (protocol) {
            try {
                if (make_transport(loop, std::move(connection), peer,
                                   {.protocol = protocol.get(),
                                    .server = server.get(),
                                    .context = context.get()})) {
                    return;
                }
            } catch (...) {  // the kernel's refusal, where asyncio's add_reader() fails
                translate_exception();
                loop.report_failure({k_no_transport, protocol.get(), nullptr});
                return;
            }
        }
        report_no_transport(loop, protocol.get());
    }

    /// A line of debug mode.
    static void log_connection(Loop& loop, PyObject* server, int fd, const Address& peer) noexcept {
        const LoopState& state = loop.state();
        const Ref logger = Ref::steal(PyObject_GetAttrString(state.support.get(), "logger"));
        const Ref address = logger ? address_object(peer) : Ref{};
        const Ref text = address ? describe_socket(state, fd) : Ref{};
        if (!text || !Ref::steal(PyObject_CallMethod(
                         logger.get(), "debug", "sOOO", "%r got a new connection from %r: %s",
                         server != nullptr ? server : Py_None, address.get(), text.get()))) {
            if (!loop.leaves_run()) {
                PyErr_WriteUnraisable(loop.self());
            }
        }
    }

    /// repr() of a socket object that does not stay: the descriptor has another owner.
    static Ref describe_socket(const LoopState& state, int fd) noexcept {
        const Ref socket =
            Ref::steal(PyObject_CallFunction(state.socket_type.get(), "iiii", -1, -1, -1, fd));
        Ref text = socket ? Ref::steal(PyObject_Repr(socket.get())) : Ref{};
        Ref raised = text ? Ref{} : take_exception();
        if (socket && !Ref::steal(PyObject_CallMethod(socket.get(), "detach", nullptr))) {
            return {};
        }
        if (raised) {
            set_exception(std::move(raised));
        }
        return text;
    }

    static Ref make_protocol(PyObject* factory, PyObject* context) noexcept {
        const InContext inside{context};
        return inside.is_entered() ? Ref::steal(PyObject_CallNoArgs(factory)) : Ref{};
    }

    /// As asyncio does it: in debug mode only. The program's own code has failed, and it is the
    /// peer's connection that ends.
    static void report_no_transport(Loop& loop, PyObject* protocol) noexcept {
        if (loop.is_debug()) {
            loop.report_failure({k_no_transport, protocol, nullptr});
        } else if (!loop.leaves_run()) {
            PyErr_Clear();
        }
    }

    void on_accept_error(int number) noexcept override {
        Loop& loop = loop_;
        const Ref socket = Ref::borrow(socket_.get());
        const Ref wrapped =
            Ref::steal(PyObject_CallOneArg(loop.state().transport_socket_type.get(), socket.get()));
        if (!wrapped) {
            loop.report_failure({.message = "socket.accept() has failed"});
            return;
        }
        (void)os_error(number);
        const Ref exception = take_exception();
        const Ref done = Ref::steal(
            PyObject_CallMethod(loop.self(), "call_exception_handler", "({s:s,s:O,s:O})", "message",
                                is_lack(number) ? "socket.accept() out of system resource"
                                                : "socket.accept() has failed",
                                "exception", exception.get(), "socket", wrapped.get()));
        if (!done) {
            loop.report_failure({.message = "Exception in callback call_exception_handler()"});
        }
    }

    Loop& loop_;
    Ref factory_;
    Ref socket_;
    Ref server_;
    Ref context_;
    Listener listener_;
};

Acceptors::Acceptors(Loop& loop) noexcept : loop_(loop) {}

Acceptors::~Acceptors() { close(); }

bool Acceptors::start(const AcceptorParts& parts) {
    const int fd = PyObject_AsFileDescriptor(parts.socket);
    if (fd < 0 || !loop_.require_open()) {
        return false;
    }
    const bool has_context = parts.context != nullptr && parts.context != Py_None;
    Ref context = has_context ? Ref::borrow(parts.context) : Ref::steal(PyContext_CopyCurrent());
    if (!context) {
        return false;
    }
    OwnedFd listening{::fcntl(fd, F_DUPFD_CLOEXEC, 0)};
    if (!listening.is_open()) {
        (void)os_error(errno);
        return false;
    }
    loop_.watches().release(listening.get());
    auto acceptor =
        std::make_unique<Acceptor>(loop_, std::move(listening), parts, std::move(context));
    (void)stop(parts.socket);
    acceptors_.push_back(std::move(acceptor));
    return true;
}

bool Acceptors::stop(PyObject* socket) noexcept {
    const auto found = std::ranges::find_if(
        acceptors_, [socket](const auto& acceptor) { return acceptor->socket() == socket; });
    if (found == acceptors_.end()) {
        return false;
    }
    const std::unique_ptr<Acceptor> stopped = std::move(*found);  // dies when the table is in order
    acceptors_.erase(found);
    return true;
}

void Acceptors::close() noexcept {
    while (!acceptors_.empty()) {
        const std::unique_ptr<Acceptor> stopped = std::move(acceptors_.back());
        acceptors_.pop_back();
    }
}

int Acceptors::traverse(visitproc visit, void* arg) const noexcept {
    for (const auto& acceptor : acceptors_) {
        if (const int stopped = acceptor->traverse(visit, arg); stopped != 0) {
            return stopped;
        }
    }
    return 0;
}

}  // namespace epoll::python
