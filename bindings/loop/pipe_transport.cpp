#include "pipe_transport.hpp"

#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>

#include "../errors.hpp"
#include "in_context.hpp"
#include "loop_state.hpp"

namespace epoll::python {

PipeTransport::PipeTransport(Loop& loop, PyObject* self) noexcept
    : Source(loop.reactor()), loop_(loop), self_(self), loop_object_(Ref::borrow(loop.self())) {}

PipeTransport::~PipeTransport() = default;

// Making

bool PipeTransport::start(const PipeParts& parts) {
    fd_ = PyObject_AsFileDescriptor(parts.pipe);
    if (fd_ < 0) {
        return false;
    }
    struct stat found{};
    if (::fstat(fd_, &found) < 0) {
        (void)os_error(errno);
        return false;
    }
    context_ = Ref::steal(PyContext_CopyCurrent());
    if (!context_ || !loop_.require_open() || !accepts(found.st_mode)) {
        return false;
    }
    const Ref made = Ref::steal(PyObject_GetAttrString(parts.protocol, "connection_made"));
    Ref extra = parts.extra != nullptr && parts.extra != Py_None ? Ref::borrow(parts.extra)
                                                                 : Ref::steal(PyDict_New());
    if (!made || !extra || PyDict_SetItemString(extra.get(), "pipe", parts.pipe) < 0) {
        return false;
    }
    file_ = OwnedFd{::fcntl(fd_, F_DUPFD_CLOEXEC, 0)};
    const int flags = file_.is_open() ? ::fcntl(fd_, F_GETFL) : -1;
    if (flags < 0 || ::fcntl(fd_, F_SETFL, flags | O_NONBLOCK) < 0) {
        (void)os_error(errno);
        return false;
    }
    if (!loop_.call_soon(made.get(), std::span{&self_, 1}, context_.get())) {
        return false;
    }
    extra_slot() = extra.release();
    protocol_ = Ref::borrow(parts.protocol);
    pipe_ = Ref::borrow(parts.pipe);
    if (parts.waiter != nullptr && parts.waiter != Py_None) {
        waiter_ = Ref::borrow(parts.waiter);
    }
    is_lost_ = false;
    loop_.pipes().add(*this);
    loop_.reactor().defer(begin_due_);
    return true;
}

PyObject*& PipeTransport::extra_slot() noexcept {
    return reinterpret_cast<TransportHead<0>*>(self_)->extra();
}

/// Where asyncio starts to watch and wakes who waits; connection_made() has a Handle of its own
/// before this.
void PipeTransport::on_begin_due() noexcept {
    const Ref self = Ref::borrow(self_);
    begin();
    if (const Ref waiter = std::move(waiter_);
        waiter && !resolve_unless_cancelled(loop_.state(), waiter.get(), nullptr)) {
        report("Exception in callback _set_result_unless_cancelled()");
    }
}

// Watching

void PipeTransport::watch(Events events) noexcept {
    if (is_joined()) {
        want(events);
        return;
    }
    try {
        join(file(), events);
    } catch (const std::system_error& refusal) {
        fail(refusal.code().value(), "Fatal error on pipe transport");
    } catch (const std::exception&) {
        fail(ENOMEM, "Fatal error on pipe transport");
    }
}

// The end

void PipeTransport::fail(int error, const char* message) noexcept {
    (void)os_error(error);
    const Ref exception = take_exception();
    if (!is_expected(error)) {
        set_exception(Ref::borrow(exception.get()));
        report(message);
    } else if (loop_.is_debug()) {
        const Ref done = Ref::steal(PyObject_CallMethod(loop_.state().support.get(), "log_os_error",
                                                        "OsO", self_, message, exception.get()));
        if (!done && !loop_.leaves_run()) {
            PyErr_WriteUnraisable(self_);
        }
    }
    force_close(exception.get());
}

void PipeTransport::force_close(PyObject* exception) noexcept {
    if (is_lost_) {
        return;
    }
    is_closing_ = true;
    stop();
    end_soon(exception);
}

void PipeTransport::end_soon(PyObject* exception) noexcept {
    if (end_exception_) {
        return;  // it is scheduled already
    }
    end_exception_ = Ref::borrow(exception);
    leave();
    if (!loop_.is_closed()) {
        loop_.reactor().defer(end_due_);
    }
}

void PipeTransport::on_end_due() noexcept {
    const Ref self = Ref::borrow(self_);
    call(loop_.state().streams.connection_lost, end_exception_.get(),
         "Exception in callback connection_lost()");
    is_lost_ = true;
    close_pipe();
    if (PyErr_Occurred() != nullptr) {
        report("Exception in callback close()");
    }
    protocol_.reset();
    context_.reset();
    end_exception_.reset();
    Pipes::remove(*this);
    loop_object_.reset();
}

/// Nothing is watched any more when the descriptor is closed. An exception may be set afterwards.
void PipeTransport::close_pipe() noexcept {
    leave();
    (void)file_.close();
    if (const Ref pipe = std::move(pipe_)) {
        const Ref done = call_method(loop_.state().streams.close, pipe.get());
    }
}

void PipeTransport::abandon() noexcept {
    leave();
    (void)file_.close();
    stop();
    begin_due_.cancel();
    end_due_.cancel();
    is_closing_ = true;
    is_abandoned_ = true;
}

void PipeTransport::disown() noexcept {
    const Ref self = Ref::borrow(self_);
    abandon();
    is_lost_ = true;
    pipe_.reset();
    Pipes::remove(*this);
}

void PipeTransport::finalize() noexcept {
    if (is_lost_) {
        return;
    }
    const ExceptionKept kept;
    warn_unclosed(self_);
    abandon();
    is_lost_ = true;
    close_pipe();
    if (PyErr_Occurred() != nullptr) {
        PyErr_WriteUnraisable(self_);
    }
}

// Calls

void PipeTransport::call(const Ref& name, PyObject* argument, const char* message) noexcept {
    const InContext inside{context_.get()};
    const Ref protocol = Ref::borrow(protocol_.get());  // the call may set another one
    Ref done;
    if (inside.is_entered()) {
        done = argument == nullptr ? call_method(name, protocol.get())
                                   : call_method(name, protocol.get(), argument);
    }
    if (!done) {
        report(message);
    }
}

void PipeTransport::report(const char* message) noexcept {
    loop_.report_failure({message, protocol_.get(), self_});
}

void PipeTransport::log(const char* text) noexcept {
    if (loop_.is_debug()) [[unlikely]] {
        const Ref self = Ref::borrow(self_);
        if (!log_debug(loop_.state(), text, self_) && !loop_.leaves_run()) {
            PyErr_WriteUnraisable(self_);
        }
    }
}

int PipeTransport::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const held :
         {&loop_object_, &protocol_, &context_, &pipe_, &waiter_, &end_exception_}) {
        Py_VISIT(held->get());
    }
    return 0;
}

void PipeTransport::clear() noexcept {
    for (Ref* const held : {&protocol_, &context_, &pipe_, &waiter_, &end_exception_}) {
        held->reset();
    }
}

}  // namespace epoll::python
