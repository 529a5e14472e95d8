#include "tls_transport.hpp"

#include <utility>

#include "../errors.hpp"
#include "in_context.hpp"
#include "loop_state.hpp"
#include "loop_time.hpp"
#include "socket_transport.hpp"

// The life of a connection: handshake, shutdown and end, as asyncio's sslproto has them. Every step
// may call the program, which may close, abort or write in it: whoever goes on afterwards looks at
// the state again.

namespace epoll::python {

namespace {

bool is_error_of(const Ref& type, PyObject* exception) noexcept {
    return PyErr_GivenExceptionMatches(exception, type.get()) != 0;
}

}  // namespace

TlsTransport::TlsTransport(Loop& loop, PyObject* self) noexcept
    : loop_(loop),
      self_(self),
      loop_object_(Ref::borrow(loop.self())),
      session_(*loop.state().tls.library, *this),
      write_limits_{k_write_high, k_write_high / 4},
      read_limits_{k_read_high, k_read_high / 4} {}

TlsTransport::~TlsTransport() { session_.detach(); }

bool TlsTransport::start(const TlsParts& parts, const ReachedSsl& reached) {
    ssl_object_ = Ref::borrow(parts.ssl_object);
    ssl_socket_ = Ref::steal(PyObject_GetAttrString(parts.ssl_object, "_sslobj"));
    ssl_context_ = Ref::borrow(parts.ssl_context);
    waiter_ = Py_IsNone(parts.waiter) ? Ref{} : Ref::borrow(parts.waiter);
    handshake_timeout_ = Ref::borrow(parts.handshake_timeout);
    shutdown_timeout_ = Ref::borrow(parts.shutdown_timeout);
    reports_failure_ = parts.reports_failure;
    app_state_ = parts.calls_connection_made ? AppState::initial : AppState::made;
    if (!ssl_socket_ || !set_protocol(parts.protocol)) {
        return false;
    }
    if (!session_.attach(reached)) {
        (void)PyErr_NoMemory();
        return false;
    }
    return true;
}

bool TlsTransport::set_protocol(PyObject* protocol) { return app_.set(loop_.state(), protocol); }

SocketTransport* TlsTransport::lower() const noexcept {
    return transport_ ? &transport_of(transport_.get()) : nullptr;
}

/// There is no connection any more, or the loop has let go of it.
bool TlsTransport::is_over() const noexcept {
    const SocketTransport* const below = lower();
    return below == nullptr || below->stream() == nullptr;
}

bool TlsTransport::is_closing() const noexcept {
#if PY_VERSION_HEX >= 0x030E0000
    return is_closed_ || (transport_ && lower()->is_closing());
#else
    return is_closed_;
#endif
}

/// Calls do_handshake() or unwrap(). To need more bytes is no failure.
TlsTransport::Step TlsTransport::call_ssl(const Ref& method) {
    if (std::exchange(is_calling_ssl_, true)) {
        return Step::starving;  // a callback of the very call that is going on
    }
    const Ref object = Ref::borrow(ssl_object_.get());
    const Ref done = call_method(method, object.get());
    is_calling_ssl_ = false;
    if (done) {
        return Step::done;
    }
    const TlsState& names = loop_.state().tls;
    if (PyErr_ExceptionMatches(names.want_read_error.get()) != 0 ||
        PyErr_ExceptionMatches(names.syscall_error.get()) != 0) {
        PyErr_Clear();
        return Step::starving;
    }
    return Step::failed;
}

// Handshake

bool TlsTransport::on_connection_made(PyObject* transport) {
    if (app_.object() == nullptr) {  // start_tls() of a connection whose end was scheduled already
        return true;
    }
    transport_ = Ref::borrow(transport);
    share_limits();
    state_ = State::handshaking;
    if (loop_.is_debug()) {
        began_ = Clock::now();
        if (!debug("%r starts SSL handshake")) {
            return false;
        }
    }
    start_timer(handshake_timeout_);
    return do_handshake();
}

bool TlsTransport::do_handshake() {
    const Step step = call_ssl(loop_.state().tls.do_handshake);
    if (state_ != State::handshaking) {  // a callback of the handshake has ended it
        PyErr_Clear();
        return true;
    }
    if (step == Step::failed) {
        return PyErr_ExceptionMatches(loop_.state().tls.error.get()) != 0 &&
               fail_handshake(take_exception());
    }
    return send_outgoing() && (step == Step::starving || end_handshake());
}

bool TlsTransport::end_handshake() {
    timer_.stop();
    state_ = State::wrapped;
    is_shaken_ = true;
    if (loop_.is_debug() && !debug("%r: SSL handshake took %.1f ms")) {
        return false;
    }
    if (app_state_ != AppState::initial) {  // start_tls(): who waits has to get the transport first
        const bool is_woken = wake_waiter(nullptr);
        if (!is_over() && !resume_due_.is_scheduled()) {
            loop_.reactor().defer(resume_due_);
        }
        return is_woken;
    }
    app_state_ = AppState::made;
    return app_.connection_made(self_) && wake_waiter(nullptr) && do_read();
}

/// Tells the peer, by the alert that OpenSSL has made of it, and the program.
bool TlsTransport::fail_handshake(Ref exception) {
    timer_.stop();
    state_ = State::unwrapped;
    const bool is_certificate = is_error_of(loop_.state().tls.certificate_error, exception.get());
    if (!send_outgoing()) {
        PyErr_Clear();
    }
    fatal_error(Ref::borrow(exception.get()),
                is_certificate ? "SSL handshake failed on verifying the certificate"
                               : "SSL handshake failed");
    return wake_waiter(exception.get());
}

bool TlsTransport::wake_waiter(PyObject* exception) noexcept {
    if (exception != nullptr && std::exchange(reports_failure_, false) && loop_.is_debug()) {
        set_exception(Ref::borrow(exception));
        loop_.report_failure(
            {"Error on transport creation for incoming connection", app_.object(), self_});
    }
    reports_failure_ = false;
    const Ref waiter = std::move(waiter_);
    return !waiter || resolve_unless_cancelled(loop_.state(), waiter.get(), exception);
}

// Shutdown

bool TlsTransport::close() {
    if (is_closed_) {
        is_given_up_ = true;
        if (app_.object() == nullptr) {  // on_connection_lost() has been here
            forget_session();
        }
        return true;
    }
    if (is_calling_ssl_) {  // by a callback of OpenSSL, in the middle of a record
        const Ref method = Ref::steal(PyObject_GetAttrString(self_, "close"));
        return method && loop_.call_soon(method.get(), {}, nullptr);
    }
    is_closed_ = true;
    return start_shutdown();
}

bool TlsTransport::abort(PyObject* exception) {
    is_closed_ = true;
    if (state_ == State::wrapped && !flush(false)) {
        PyErr_Clear();  // asyncio has sent it when it was written
    }
    state_ = State::unwrapped;
    return transport_ ? lower()->force_close(exception) : true;
}

bool TlsTransport::start_shutdown() {
    if (state_ != State::handshaking && state_ != State::wrapped) {
        return true;
    }
    is_closed_ = true;
    if (state_ == State::handshaking) {
        return abort(Py_None);
    }
    state_ = State::flushing;
    start_timer(shutdown_timeout_);
    return do_flush();
}

bool TlsTransport::do_flush() {
    if (!do_read()) {
        return false;
    }
    if (state_ != State::flushing || is_calling_ssl_ || is_sending_file_) {
        return true;
    }
    if (!flush(true)) {
        return catch_fatal("Fatal error on SSL protocol");
    }
    state_ = State::shutting_down;
    return do_shutdown();
}

bool TlsTransport::do_shutdown() {
    const Step step = has_ended_ ? Step::done : call_ssl(loop_.state().tls.unwrap);
    if (state_ != State::shutting_down) {
        PyErr_Clear();
        return true;
    }
    if (step == Step::failed) {
        if (PyErr_ExceptionMatches(loop_.state().tls.error.get()) == 0) {
            return false;
        }
        timer_.stop();
        fatal_error(take_exception(), "Fatal error on transport");
        return true;
    }
    if (!send_outgoing()) {
        return false;
    }
    if (step == Step::done) {
        if (!call_eof_received()) {
            return false;
        }
        end_shutdown();
    }
    return true;
}

void TlsTransport::end_shutdown() noexcept {
    timer_.stop();
    if (!is_over()) {
        loop_.reactor().defer(close_due_);
    }
}

void TlsTransport::on_close_due() noexcept {
    is_close_held_ = is_record_waiting();
    if (!is_over() && !is_close_held_ && !lower()->close()) {
        leave_callback("Exception in callback close()");
    }
}

// What the SocketTransport tells

bool TlsTransport::on_data(std::size_t count) {
    const Ref self = Ref::borrow(self_);
    if (state_ == State::unwrapped) {
        return true;
    }
    const InContext inside{lower()->context()};
    if (!inside.is_entered()) {
        return false;
    }
    session_.give(loop_.read_buffer().first(count));
    is_receiving_ = true;
    bool is_done = go_on();
    is_receiving_ = false;
    session_.keep_rest();
    if (is_done && state_ == State::wrapped) {
        is_done = (flush(false) || catch_fatal("Fatal error on SSL protocol")) && control_writing();
    }
    control_reading();
    return is_done;
}

bool TlsTransport::go_on() {
    switch (state_) {
        case State::handshaking: return do_handshake();
        case State::wrapped: return do_read();
        case State::flushing: return do_flush();
        case State::shutting_down: return do_shutdown();
        case State::unwrapped: break;
    }
    return true;
}

int TlsTransport::on_eof() {
    has_ended_ = true;
    bool is_done = !loop_.is_debug() || debug("%r received EOF");
    if (is_done && state_ == State::handshaking) {
        const Ref reset = Ref::steal(PyObject_CallNoArgs(PyExc_ConnectionResetError));
        is_done = reset && fail_handshake(Ref::borrow(reset.get()));
    } else if (is_done && state_ == State::wrapped) {
        state_ = State::flushing;
        if (is_reading_paused_) {
            return 1;
        }
        is_done = do_flush();
    } else if (is_done && state_ == State::flushing) {
        if (is_sending_file_) {
            return 1;
        }
        is_done = flush(true);
        if (is_done && state_ == State::flushing) {
            state_ = State::shutting_down;
            is_done = do_shutdown();
        }
    } else if (is_done && state_ == State::shutting_down) {
        is_done = do_shutdown();
    }
    return is_done ? 0 : -1;
}

bool TlsTransport::on_connection_lost(PyObject* exception) {
    backlog_.clear();
    session_.clear_outgoing();
    ++lost_writes_;
    is_closed_ = true;
    timer_.stop();
    flush_due_.cancel();
    resume_due_.cancel();
    close_due_.cancel();
    const bool is_told = state_ == State::handshaking ||
                         (app_state_ != AppState::made && app_state_ != AppState::ended);
    if (!is_told) {
        app_state_ = AppState::lost;
        const Ref method = Ref::steal(
            PyObject_GetAttr(app_.object(), loop_.state().streams.connection_lost.get()));
        if (!method || !loop_.call_soon(method.get(), std::span{&exception, 1}, nullptr)) {
            return false;
        }
    }
    state_ = State::unwrapped;
    const bool is_woken = wake_waiter(Py_IsNone(exception) ? nullptr : exception);
    const Ref transport = std::move(transport_);
    app_.reset();
    session_.detach();
    if (is_given_up_) {
        forget_session();
    }
    return is_woken;
}

/// After the end of a connection that its program has closed although it was closed: asyncio's
/// transport knows nothing then. Whoever keeps the transport does not keep the SSLContext.
void TlsTransport::forget_session() noexcept {
    is_shaken_ = false;
    PyObject* const extra = reinterpret_cast<TlsTransportObject*>(self_)->extra();
    for (const char* const name : {"sslcontext", "ssl_object"}) {
        if (extra != nullptr && PyDict_DelItemString(extra, name) < 0) {
            PyErr_Clear();  // nobody has asked for it
        }
    }
    for (Ref* const held : {&ssl_object_, &ssl_socket_, &ssl_context_}) {
        held->reset();
    }
}

// Failures and limits of time

void TlsTransport::fatal_error(Ref exception, const char* message) noexcept {
    if (!is_over() && !lower()->force_close(exception.get())) {
        PyErr_Clear();
    }
    if (PyErr_GivenExceptionMatches(exception.get(), PyExc_OSError) == 0) {
        if (!is_error_of(loop_.state().cancelled_error, exception.get())) {
            set_exception(std::move(exception));
            loop_.report_failure({message, self_, transport_.get()});
        }
    } else if (loop_.is_debug()) {
        const Ref done = Ref::steal(PyObject_CallMethod(loop_.state().support.get(), "log_os_error",
                                                        "OsO", self_, message, exception.get()));
        PyErr_Clear();
    }
}

/// As `except Exception`: true when the exception that is set was one, which ends the connection.
bool TlsTransport::catch_fatal(const char* message) noexcept {
    if (PyErr_ExceptionMatches(PyExc_Exception) == 0) {
        return false;
    }
    fatal_error(take_exception(), message);
    return true;
}

/// A callback that nobody called has failed.
void TlsTransport::leave_callback(const char* message) noexcept {
    loop_.report_failure({message, self_, transport_.get()});
}

void TlsTransport::start_timer(const Ref& seconds) noexcept {
    const double delay = PyFloat_AsDouble(seconds.get());
    if (PyErr_Occurred() != nullptr) {
        leave_callback("Exception in callback call_later()");
        return;
    }
    try {
        loop_.reactor().timers().start(timer_, to_moment(to_seconds(Clock::now()) + delay));
    } catch (...) {
        translate_exception();
        leave_callback("Exception in callback call_later()");
    }
}

void TlsTransport::on_time_out() noexcept {
    const Ref self = Ref::borrow(self_);
    if (state_ == State::handshaking) {
        (void)error(PyExc_ConnectionAbortedError,
                    "SSL handshake is taking longer than %S seconds: aborting the connection",
                    handshake_timeout_.get());
        fatal_error(take_exception(), "Fatal error on transport");
    } else if (state_ != State::wrapped && !is_over()) {
        (void)error(PyExc_TimeoutError, "SSL shutdown timed out");
        const Ref exception = take_exception();
        if (!lower()->force_close(exception.get())) {
            leave_callback("Exception in callback _check_shutdown_timeout()");
        }
    }
}

/// Logs with the time since the handshake began, in debug mode.
bool TlsTransport::debug(const char* text) noexcept {
    const double milliseconds = (to_seconds(Clock::now()) - to_seconds(began_)) * 1e3;
    return static_cast<bool>(Ref::steal(PyObject_CallMethod(loop_.state().support.get(), "log_tls",
                                                            "Osd", self_, text, milliseconds)));
}

}  // namespace epoll::python
