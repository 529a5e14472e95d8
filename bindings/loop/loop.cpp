#include "loop.hpp"

#include <utility>

#include "../errors.hpp"
#include "acceptors.hpp"
#include "datagram_transport.hpp"
#include "fd_watches.hpp"
#include "handle.hpp"
#include "pipes.hpp"
#include "transports.hpp"

namespace epoll::python {

namespace {

constexpr std::size_t k_read_buffer = 256 * 1024;

/// How long a loop that always has callbacks to run goes on without a system call.
constexpr std::chrono::microseconds k_poll_interval{50};

PyObject* none_if_null(PyObject* object) noexcept { return object != nullptr ? object : Py_None; }

}  // namespace

Loop::Loop(LoopState& state, Ref module)
    : state_(state),
      module_(std::move(module)),
      reactor_(std::make_unique<Reactor>()),
      watches_(std::make_unique<FdWatches>(*this)),
      acceptors_(std::make_unique<Acceptors>(*this)),
      transports_(std::make_unique<Transports>()),
      pipes_(std::make_unique<Pipes>()),
      home_(PyThread_get_thread_ident()) {
    reactor_->set_poll_interval(k_poll_interval);
    reactor_->set_observer(this);
    const std::lock_guard lock{state_.loops_mutex};
    state_.loops.push_back(*this);
}

Loop::~Loop() {
    {
        const std::lock_guard lock{state_.loops_mutex};
        unlink();
    }
    clear();
}

void Loop::set_thread(unsigned long thread) noexcept {
    thread_ = thread;
    if (thread != 0) {
        home_ = thread;
    }
}

/// What require_open() says of a loop that is not open.
bool Loop::refuse_use() const noexcept {
    const char* text = "Event loop is closed";
    if (!was_opened_) {
        text = "This event loop was never opened: its __init__() was not called, or has failed";
    } else if (!is_closed_) {
        text = "This event loop belongs to the parent process; make a new one after a fork";
    }
    (void)error(PyExc_RuntimeError, text);
    return false;
}

bool Loop::require_thread_now() const noexcept {
    if (thread_ != 0 && thread_ != PyThread_get_thread_ident()) {
        (void)error(
            PyExc_RuntimeError,
            "Non-thread-safe operation invoked on an event loop other than the current one");
        return false;
    }
    return true;
}

Ref Loop::call_soon(PyObject* callback, std::span<PyObject* const> arguments, PyObject* context) {
    Ref handle = make_handle(*this, callback, arguments, context);
    if (handle) {
        schedule(*this, handle.get());
    }
    return handle;
}

PyObject* Loop::creation_keywords() noexcept {
    if (!creation_keywords_) {
        Ref keywords = Ref::steal(PyDict_New());
        if (!keywords || PyDict_SetItem(keywords.get(), state_.loop_name.get(), self_) < 0) {
            return nullptr;
        }
        creation_keywords_ = std::move(keywords);
    }
    return creation_keywords_.get();
}

bool Loop::run() {
    return drive([this] { reactor_->run(); });
}

bool Loop::run_turn() {
    return drive([this] { reactor_->run_turn(Timeout::forever()); });
}

template <class Drive>
bool Loop::drive(Drive drive) {
    if (!require_open()) {
        return false;
    }
    if (is_driving_) {
        (void)error(PyExc_RuntimeError, "This event loop is already running");
        return false;
    }
    is_driving_ = true;
    home_ = PyThread_get_thread_ident();
    bool has_failed = false;
    try {
        drive();
    } catch (...) {
        released_.reset();
        translate_exception();
        has_failed = true;
    }
    {
        const CriticalSection section{self_};
        handles_.settle();
    }
    is_driving_ = false;
    Ref failure = std::move(failure_);
    if (failure && !has_failed) {
        set_exception(std::move(failure));
        has_failed = true;
    }
    return !has_failed;
}

void Loop::set_stopping(bool is_stopping) noexcept {
    is_stopping_ = is_stopping;
    if (is_stopping) {
        reactor_->stop();
    }
}

void Loop::wake() noexcept { reactor_->post(wake_); }

void Loop::close() noexcept {
    Ref keywords;  // they name the loop: without them it can die by its references alone
    {
        const CriticalSection section{self_};
        is_closed_ = true;
        reactor_->close();  // first, as what was posted must not die before it is taken back
        handles_.drop_all();
        keywords = std::move(creation_keywords_);
    }
    acceptors_->close();
    transports_->close();
    pipes_->close();
    watches_->close();
}

void Loop::report_failure(const FailureContext& context) noexcept {
    if (leaves_run()) {
        return;
    }
    const Ref exception = take_exception();
    const Ref done = Ref::steal(PyObject_CallMethod(
        state_.support.get(), "report_failure", "OsOOO", self_, context.message, exception.get(),
        none_if_null(context.protocol), none_if_null(context.transport)));
    if (!done && !leaves_run()) {
        PyErr_WriteUnraisable(self_);
    }
}

void Loop::report_handle_failure(PyObject* handle) noexcept {
    if (leaves_run()) {
        return;
    }
    const Ref exception = take_exception();
    const Ref done = Ref::steal(PyObject_CallMethod(state_.support.get(), "report_handle_failure",
                                                    "OOO", self_, handle, exception.get()));
    if (!done && !leaves_run()) {
        PyErr_WriteUnraisable(self_);
    }
}

bool Loop::leaves_run() noexcept {
    if (!is_leaving_exception()) {
        return false;
    }
    leave_run(take_exception());
    return true;
}

void Loop::leave_run(Ref exception) noexcept {
    if (!failure_) {
        failure_ = std::move(exception);
    }
    reactor_->interrupt();
}

void Loop::check_signals() noexcept {
    if (PyErr_CheckSignals() < 0) {
        leave_run(take_exception());
    }
}

std::span<std::byte> Loop::read_buffer() {
    if (read_buffer_ == nullptr) {
        read_buffer_ = std::make_unique_for_overwrite<std::byte[]>(k_read_buffer);
    }
    return {read_buffer_.get(), k_read_buffer};
}

DatagramShare& Loop::datagrams() {
    if (datagrams_ == nullptr) {
        datagrams_ = std::make_unique<DatagramShare>();
    }
    return *datagrams_;
}

void Loop::on_fork() noexcept {
    is_forked_ = true;
    reactor_->on_fork();
    if (is_driving_) {  // the child is in a callback, and comes back to a loop that is not its own
        (void)require_open();
        leave_run(take_exception());
    }
}

int Loop::traverse(visitproc visit, void* arg) noexcept {
    for (const Ref* held : {&module_, &task_factory_, &creation_keywords_, &failure_}) {
        Py_VISIT(held->get());
    }
    for (const int stopped : {observation_.traverse(visit, arg), contexts_.traverse(visit, arg),
                              handles_.traverse(visit, arg), transports_->traverse(visit, arg),
                              pipes_->traverse(visit, arg), watches_->traverse(visit, arg),
                              acceptors_->traverse(visit, arg)}) {
        if (stopped != 0) {
            return stopped;
        }
    }
    return 0;
}

void Loop::clear() noexcept {
    close();
    task_factory_ = Ref::none();
    creation_keywords_.reset();
    failure_.reset();
    const Ref running = observation_.set_running({});
    contexts_.clear();
}

std::optional<std::uint64_t> Loop::progress() const noexcept {
    if (!is_driving_ || observation_.is_resting()) {
        return std::nullopt;
    }
    return reactor_->turns() + reactor_->calls() + callbacks_.value();
}

void Loop::on_block() noexcept {
    observation_.set_resting(true);
    released_.emplace();
}

void Loop::on_unblock() noexcept {
    released_.reset();
    observation_.set_resting(false);
    check_signals();
}

bool Loop::prefers_polling() noexcept { return must_queue_for_gil(); }

}  // namespace epoll::python
