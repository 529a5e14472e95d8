#include <utility>

#include <epoll/net/socket_calls.hpp>

#include "../errors.hpp"
#include "fd_watches.hpp"
#include "in_context.hpp"
#include "loop_state.hpp"
#include "socket_transport.hpp"

// What may die when. The Stream must not be destroyed inside its own callbacks, and a protocol may
// drop everything in any of them. So the loop's Transports hold a reference from start() until
// on_closed(), which is the last thing a Stream calls and the only place where the object may go.

namespace epoll::python {

namespace {

void call_quietly(PyObject* object, const char* method) noexcept {
    const Ref done = Ref::steal(PyObject_CallMethod(object, method, nullptr));
    if (!done) {
        PyErr_WriteUnraisable(object);
    }
}

}  // namespace

/// A callback has raised, or the memory that it gave is not usable.
void SocketTransport::fail(const char* message) noexcept {
    if (loop_.leaves_run()) {
        return;
    }
    const Ref exception = take_exception();
    if (!fatal_error(exception.get(), message)) {
        report(message);
    }
}

void SocketTransport::report(const char* message) noexcept {
    loop_.report_failure({message, protocol_.get(), self_});
}

std::uint64_t SocketTransport::turn() const noexcept { return loop_.reactor().turns(); }

/// A line of debug mode, with the transport as %r. What logging calls may drop anything.
void SocketTransport::log(const char* text) noexcept {
    if (loop_.is_debug()) [[unlikely]] {
        const Ref self = Ref::borrow(self_);
        if (!log_debug(loop_.state(), text, self_) && !loop_.leaves_run()) {
            PyErr_WriteUnraisable(self_);
        }
    }
}

/// In debug mode: what the kernel has ended the connection with. on_closed() comes in the turn
/// after that, so a read that failed then was that of the last turn.
void SocketTransport::log_end(int error, PyObject* exception) noexcept {
    if (error == 0 || !loop_.is_debug()) {
        return;
    }
    const char* const message = vain_read_ + 1 == turn() ? "Fatal read error on socket transport"
                                                         : "Fatal write error on socket transport";
    const Ref done = Ref::steal(PyObject_CallMethod(loop_.state().support.get(), "log_os_error",
                                                    "OsO", self_, message, exception));
    if (!done && !loop_.leaves_run()) {
        PyErr_WriteUnraisable(self_);
    }
}

bool SocketTransport::fatal_error(PyObject* exception, const char* message) {
    if (is_lost_) {
        return true;
    }
    if (PyErr_GivenExceptionMatches(exception, PyExc_OSError) == 0) {
        set_exception(Ref::borrow(exception));
        report(message);
    } else if (loop_.is_debug()) {
        const Ref done = Ref::steal(PyObject_CallMethod(loop_.state().support.get(), "log_os_error",
                                                        "OsO", self_, message, exception));
        if (!done) {
            return false;
        }
    }
    return force_close(exception);
}

bool SocketTransport::close() {
    if (is_closing()) {
        return true;
    }
    if (!stream_) {
        return loop_.require_open();
    }
    stream_->flush();
    stream_->close();
    return true;
}

bool SocketTransport::abort(PyObject* exception) {
    if (stream_) {
        stream_->flush();  // asyncio had sent it when it was written
    }
    return force_close(exception);
}

bool SocketTransport::force_close(PyObject* exception) {
    if (!stream_) {
        return is_lost_ || loop_.require_open();
    }
    if (stream_->is_open()) {
        end_exception_ = Ref::borrow(exception);
        if (empty_waiter_) {
            shut_down(fd_);  // sendfile() has a duplicate of the descriptor
        }
        stream_->abort(0);
    }
    return true;
}

Ref SocketTransport::end_exception(int error) noexcept {
    if (end_exception_) {
        return std::move(end_exception_);
    }
    if (error == 0) {
        return Ref::none();
    }
    (void)os_error(error);
    return take_exception();
}

void SocketTransport::on_closed(int error) noexcept {
    const Ref self = Ref::borrow(self_);
    const bool is_failure = error != 0 && !end_exception_;
    const Ref exception = end_exception(error);
    log_end(is_failure ? error : 0, exception.get());
    if (!call_connection_lost(exception.get())) {
        report("Exception in callback connection_lost()");
    }
    keep_names();
    loop_.watches().forget(fd_);
    settle_empty_waiter(exception.get());
    is_lost_ = true;
    was_closing_ = true;
    stream_.reset();
    drop_socket();
    native_ = nullptr;
    protocol_.reset();
    detach_server();
    Transports::remove(*this);
    context_.reset();
    loop_object_.reset();
}

bool SocketTransport::call_connection_lost(PyObject* exception) noexcept {
    const InContext inside{context_.get()};
    if (!inside.is_entered()) {
        return false;
    }
    const Ref protocol = Ref::borrow(protocol_.get());
    if (native_ != nullptr) {
        return native_->on_connection_lost(exception);
    }
    return static_cast<bool>(
        call_method(loop_.state().streams.connection_lost, protocol.get(), exception));
}

/// Closes the socket object, if there is one; else the descriptor is the stream's to close, or was
/// left to us.
void SocketTransport::drop_socket() noexcept {
    if (const Ref socket = std::move(socket_)) {
        call_quietly(socket.get(), "close");
        if (std::exchange(has_io_reference_, false)) {
            call_quietly(socket.get(), "_decref_socketios");
        }
    }
    (void)left_.close();
}

void SocketTransport::disclaim() noexcept {
    Ref raised = take_exception();
    stream_.reset();
    const Ref socket = std::move(socket_);
    if (socket && std::exchange(has_io_reference_, false)) {
        call_quietly(socket.get(), "_decref_socketios");
    }
    set_exception(std::move(raised));
}

void SocketTransport::detach_server() noexcept {
    const Ref server = std::move(server_);
    if (!server) {
        return;
    }
#if PY_VERSION_HEX >= 0x030D0000
    const Ref done = Ref::steal(PyObject_CallMethod(server.get(), "_detach", "O", self_));
#else
    const Ref done = Ref::steal(PyObject_CallMethod(server.get(), "_detach", nullptr));
#endif
    if (!done) {
        PyErr_WriteUnraisable(server.get());
    }
}

void SocketTransport::abandon() noexcept {
    if (!stream_) {
        return;
    }
    was_closing_ = stream_->is_closing();
    if (!socket_) {
        stream_->disown();
        left_ = OwnedFd{fd_};
    }
    stream_.reset();
    begin_due_.cancel();
    loop_.watches().forget(fd_);
}

void SocketTransport::finalize() noexcept {
    if (is_lost_) {
        return;
    }
    const ExceptionKept kept;
    warn_unclosed(self_);
    abandon();
    is_lost_ = true;
    was_closing_ = true;
    drop_socket();
    detach_server();
}

}  // namespace epoll::python
