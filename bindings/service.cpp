#include "service.hpp"

#include <array>
#include <cerrno>
#include <utility>

#include <unistd.h>

#include <epoll/serve/responders.hpp>

#include "buffers.hpp"
#include "errors.hpp"

namespace epoll::python {

namespace {

/// From this size on an answer is kept by reference until it is sent; below it a copy costs less.
constexpr std::size_t k_keep_by_reference = 4096;

void release_object(void* object) noexcept {
    const Ref dropped = Ref::steal(static_cast<PyObject*>(object));
}

bool needs_gil(Responder responder, const ServiceCallbacks& callbacks) noexcept {
    return responder == Responder::python || callbacks.on_open || callbacks.on_close;
}

}  // namespace

/// The descriptor that the interpreter's signal handler writes to.
class Service::SignalSource final : public Source {
  public:
    SignalSource(Service& service, int fd) : Source(service.reactor_), service_(service), fd_(fd) {
        join(fd, Events::readable);
    }
    ~SignalSource() { leave(); }

  private:
    void on_ready(Events) noexcept override {
        std::array<char, 256> numbers;
        if (::read(fd_, numbers.data(), numbers.size()) == 0) {
            leave();  // its other end was closed
        }
        service_.check_signals();
    }
    Service& service_;
    int fd_;
};

Service::Service(ServiceCallbacks callbacks, Responder responder, const ServerOptions& options)
    : callbacks_(std::move(callbacks)), responder_(responder), server_(reactor_, *this, options) {}

Service::~Service() {
    callbacks_ = {};  // nobody is called by what follows
}

void Service::listen(OwnedFd socket, bool is_shared) {
    server_.listen(std::move(socket), is_shared);
}

Ref Service::run(int signal_fd) {
    State expected = State::fresh;
    if (!state_.compare_exchange_strong(expected, State::running)) {
        return error(
            PyExc_RuntimeError, "this server %s",
            expected == State::running ? "is running already" : "has ended; make a new one");
    }
    try {
        std::optional<SignalSource> signals;
        if (signal_fd >= 0) {
            signals.emplace(*this, signal_fd);
        }
        if (needs_gil(responder_, callbacks_)) {
            reactor_.set_observer(this);
        } else {
            released_.emplace();
        }
        reactor_.run();
        released_.reset();
    } catch (...) {
        released_.reset();
        state_.store(State::ended);
        throw;
    }
    state_.store(State::ended);
    on_calls_due();  // what came too late to run is dropped here, with the GIL
    if (raised_) {
        set_exception(std::move(raised_));
        return {};
    }
    return Ref::none();
}

void Service::stop(Duration grace) noexcept {
    grace_.store(grace.count());
    reactor_.post(stop_due_);
}

bool Service::call_soon(Ref callback) {
    {
        const std::lock_guard lock{calls_mutex_};
        if (state_.load() == State::ended) {
            return false;
        }
        calls_.push_back(std::move(callback));
    }
    reactor_.post(calls_due_);
    return true;
}

int Service::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* held : {&callbacks_.handler, &callbacks_.on_open, &callbacks_.on_close,
                            &callbacks_.on_error, &callbacks_.connection_type, &raised_}) {
        Py_VISIT(held->get());
    }
    return 0;
}

void Service::clear() noexcept {
    const ServiceCallbacks dropped = std::exchange(callbacks_, ServiceCallbacks{});
}

/// Runs `work` with the GIL, whether the thread holds it at this moment or not.
template <class Work>
void Service::with_gil(Work work) noexcept {
    const bool was_released = released_.has_value();
    released_.reset();
    work();
    if (was_released) {
        released_.emplace();
    }
}

void Service::on_open(Connection& connection) {
    if (!callbacks_.on_open) {
        return;
    }
    const Ref object = connection_object(callbacks_.connection_type.get(), connection);
    const Ref done =
        object ? Ref::steal(PyObject_CallOneArg(callbacks_.on_open.get(), object.get())) : Ref{};
    if (!done) {
        close_for_failure("on_open", &connection);
    }
}

void Service::on_message(Connection& connection, std::span<const std::byte> message) {
    switch (responder_) {
        case Responder::echo: answer_echo(connection, message); break;
        case Responder::hello: answer_hello(connection, message); break;
        case Responder::python: call_handler(connection, message); break;
    }
}

void Service::on_too_long(Connection& connection) {
    if (responder_ == Responder::hello) {
        answer_too_long_a_head(connection);
    }
}

void Service::call_handler(Connection& connection, std::span<const std::byte> message) {
    if (raised_) {
        return;  // the service is ending
    }
    const Ref bytes = Ref::steal(PyBytes_FromStringAndSize(
        reinterpret_cast<const char*>(message.data()), static_cast<Py_ssize_t>(message.size())));
    Ref object;
    if (bytes && callbacks_.takes_connection) {
        object = connection_object(callbacks_.connection_type.get(), connection);
    }
    Ref result;
    if (bytes && (object || !callbacks_.takes_connection)) {
        PyObject* const arguments[] = {nullptr, bytes.get(), object.get()};
        const std::size_t count = callbacks_.takes_connection ? 2 : 1;
        result = Ref::steal(PyObject_Vectorcall(callbacks_.handler.get(), arguments + 1,
                                                count | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
    }
    if (result) {
        answer(connection, std::move(result));
    } else {
        close_for_failure("handler", &connection);
    }
}

void Service::answer(Connection& connection, Ref result) {
    if (result.get() == Py_None) {
        return;
    }
    BytesView view;
    if (!view.open(result.get())) {
        PyErr_Clear();
        (void)error(PyExc_TypeError, "a handler returns bytes or None, not %.200s",
                    Py_TYPE(result.get())->tp_name);
        close_for_failure("handler", &connection);
        return;
    }
    const auto bytes = view.bytes();
    bool fits = false;
    if (PyBytes_CheckExact(result.get()) && bytes.size() >= k_keep_by_reference) {
        fits = connection.send(OwnedBytes{bytes, result.release(), &release_object});
    } else {
        fits = connection.send(bytes);
    }
    if (!fits) {
        (void)error(PyExc_ValueError, "an answer of %zu bytes does not fit the framing",
                    bytes.size());
        close_for_failure("handler", &connection);
    }
}

void Service::on_close(Connection& connection, CloseReason reason, int error) noexcept {
    if (connection.attachment == nullptr && !callbacks_.on_close) {
        return;
    }
    with_gil([&] {
        const Ref object = callbacks_.on_close && !raised_
                               ? connection_object(callbacks_.connection_type.get(), connection)
                               : Ref{};
        const Ref attached = detach_connection_object(connection);
        if (!object) {
            if (PyErr_Occurred() != nullptr) {
                close_for_failure("on_close", nullptr);
            }
            return;
        }
        const Ref done = Ref::steal(PyObject_CallFunction(callbacks_.on_close.get(), "Osi",
                                                          object.get(), name_of(reason), error));
        if (!done) {
            close_for_failure("on_close", nullptr);
        }
    });
}

void Service::on_accept_error(int error) noexcept {
    with_gil([&] {
        (void)os_error(error);
        log_failure("accept", nullptr);
    });
}

void Service::on_stopped() noexcept { reactor_.stop(); }

void Service::on_block() noexcept { released_.emplace(); }

void Service::on_unblock() noexcept { released_.reset(); }

/// With other threads about, the GIL is kept while there is work. Alone, the system call is saved.
bool Service::prefers_polling() noexcept { return must_queue_for_gil(); }

/// Logs the exception that is set and closes the connection it belongs to, if any. What is not an
/// Exception (KeyboardInterrupt, SystemExit) ends the service instead.
void Service::close_for_failure(const char* what, Connection* connection) noexcept {
    if (PyErr_ExceptionMatches(PyExc_Exception) == 0) {
        end_with_exception();
        return;
    }
    handler_errors_.add(1);
    log_failure(what, connection);
    if (connection != nullptr) {
        connection->close();
    }
}

void Service::log_failure(const char* what, const Connection* connection) const noexcept {
    const Ref exception = take_exception();
    const Ref peer = connection != nullptr ? peer_object(connection->peer()) : Ref::none();
    const Ref done = peer && callbacks_.on_error
                         ? Ref::steal(PyObject_CallFunction(callbacks_.on_error.get(), "sOO", what,
                                                            peer.get(), exception.get()))
                         : Ref{};
    if (!done && PyErr_Occurred() != nullptr) {
        PyErr_WriteUnraisable(callbacks_.on_error.get());
    }
}

void Service::end_with_exception() noexcept {
    if (!raised_) {
        raised_ = take_exception();
    } else {
        PyErr_Clear();
    }
    reactor_.stop();
}

void Service::check_signals() noexcept {
    with_gil([this] {
        if (PyErr_CheckSignals() < 0) {
            end_with_exception();
        }
    });
}

void Service::on_stop_due() noexcept { server_.stop(Duration{grace_.load()}); }

void Service::on_calls_due() noexcept {
    with_gil([this] {
        std::vector<Ref> calls;
        {
            const std::lock_guard lock{calls_mutex_};
            calls.swap(calls_);
        }
        for (const Ref& call : calls) {
            if (raised_ || state_.load() == State::ended) {
                break;
            }
            const Ref done = Ref::steal(PyObject_CallNoArgs(call.get()));
            if (!done) {
                close_for_failure("call_soon_threadsafe", nullptr);
            }
        }
    });
}

}  // namespace epoll::python
