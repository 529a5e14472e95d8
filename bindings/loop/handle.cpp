#include "handle.hpp"

#include <utility>

#include "../errors.hpp"
#include "handle_part.hpp"
#include "in_context.hpp"
#include "loop_time.hpp"

namespace epoll::python {

namespace {

Ref make_tuple(std::span<PyObject* const> items) noexcept {
    Ref tuple = Ref::steal(PyTuple_New(static_cast<Py_ssize_t>(items.size())));
    if (tuple) {
        Py_ssize_t place = 0;
        for (PyObject* const item : items) {
            PyTuple_SET_ITEM(tuple.get(), place++, Ref::borrow(item).release());
        }
    }
    return tuple;
}

/// Fills a slot that is empty.
void fill(PyObject* handle, Py_ssize_t offset, Ref value) noexcept {
    slot_of(handle, offset) = value.release();
}

Ref copy_of_context(Loop& loop) noexcept {
#ifdef Py_GIL_DISABLED
    if (!loop.is_own_thread()) {
        return Ref::steal(PyContext_CopyCurrent());
    }
#endif
    return loop.contexts().copy_current(loop.state().contexts);
}

/// What Handle.__init__ does.
bool initialize(Loop& loop, PyObject* handle, PyObject* callback,
                std::span<PyObject* const> arguments, PyObject* context) noexcept {
    const HandleLayout& layout = loop.state().layout;
    Ref tuple =
        arguments.empty() ? Ref::borrow(loop.state().no_arguments.get()) : make_tuple(arguments);
    const bool has_context = context != nullptr && context != Py_None;
    Ref run_in = has_context ? Ref::borrow(context) : copy_of_context(loop);
    if (!tuple || !run_in) {
        return false;
    }
    if (loop.is_debug()) [[unlikely]] {
        Ref traceback =
            Ref::steal(PyObject_CallMethod(loop.state().support.get(), "extract_stack", nullptr));
        if (!traceback) {
            return false;
        }
        const Ref old = exchange_slot(handle, layout.source_traceback, std::move(traceback));
    }
    fill(handle, layout.callback, Ref::borrow(callback));
    fill(handle, layout.args, std::move(tuple));
    fill(handle, layout.context, std::move(run_in));
    part_of(handle).set_shares_context(!has_context);
    return true;
}

/// What a call needs, owned, as the callback may cancel its own handle.
struct Call {
    Ref callback;
    Ref arguments;
    Ref context;
};

/// The call of a handle, without callback when it was cancelled.
Call call_of(const HandleLayout& layout, PyObject* handle) noexcept {
    const CriticalSection section{handle};
    if (slot_of(handle, layout.cancelled) != Py_False) {
        return {};
    }
    return {Ref::borrow(slot_of(handle, layout.callback)),
            Ref::borrow(slot_of(handle, layout.args)), own_context(handle)};
}

Ref call_in_context(const Call& call) noexcept {
    const InContext inside{call.context.get()};
    if (!inside.is_entered()) {
        return {};
    }
    PyObject* const tuple = call.arguments.get();
    return Ref::steal(PyObject_Vectorcall(call.callback.get(), &PyTuple_GET_ITEM(tuple, 0),
                                          static_cast<std::size_t>(PyTuple_GET_SIZE(tuple)),
                                          nullptr));
}

/// In debug mode, and for handles whose slots somebody has filled with something unusual.
void run_in_python(Loop& loop, PyObject* handle) noexcept {
    const Ref done = Ref::steal(PyObject_CallMethod(loop.state().support.get(),
                                                    loop.is_debug() ? "run_in_debug" : "run", "OO",
                                                    loop.self(), handle));
    if (!done) {
        loop.report_failure({.message = "Exception in a handle"});
    }
}

/// Whether the slots have what the native half can call with.
bool is_usual(PyObject* arguments, PyObject* context) noexcept {
    return arguments != nullptr && context != nullptr && PyTuple_CheckExact(arguments) &&
           PyContext_CheckExact(context);
}

bool call_lock(const Ref& lock, const char* method) noexcept {
    return static_cast<bool>(Ref::steal(PyObject_CallMethod(lock.get(), method, nullptr)));
}

/// Holds the lock of a threadsafe handle, of any other nothing. As long as nobody has asked for the
/// lock there is none: then the handle only says who would have it, see lock_of().
class HandleLock {
  public:
    explicit HandleLock(PyObject* handle) noexcept {
        if (part_of(handle).kind() == HandleKind::threadsafe) [[unlikely]] {
            take(handle);
        }
    }
    HandleLock(const HandleLock&) = delete;
    HandleLock& operator=(const HandleLock&) = delete;
    ~HandleLock() {
        if (taken_of_ != nullptr) [[unlikely]] {
            release();
        }
    }

    /// With an exception set: a signal handler's, that has run while the thread was waiting.
    [[nodiscard]] bool has_failed() const noexcept { return has_failed_; }

  private:
    void take(PyObject* handle) noexcept {
        if (const Ref lock = exchange_runner(handle, PyThread_get_thread_ident())) {
            (void)exchange_runner(handle, 0);
            has_failed_ = !call_lock(lock, "acquire");
        }
        taken_of_ = has_failed_ ? nullptr : handle;
    }

    void release() noexcept {
        const Ref lock = exchange_runner(taken_of_, 0);
        if (lock && !call_lock(lock, "release")) {
            PyErr_WriteUnraisable(taken_of_);
        }
    }

    /// Says who runs the handle, and answers its lock if there is one.
    static Ref exchange_runner(PyObject* handle, unsigned long thread) noexcept {
        HandlePart& part = part_of(handle);
        const CriticalSection section{handle};
        runner_of(part).runner = thread;
        return Ref::borrow(slot_of(handle, part.loop().state().layout.lock));
    }

    PyObject* taken_of_ = nullptr;
    bool has_failed_ = false;
};

/// Has the loop show `handle` as the one that runs, if somebody looks.
class Shown {
  public:
    Shown(Loop& loop, PyObject* handle) noexcept
        : loop_(loop), is_shown_(loop.observation().is_on()) {
        if (is_shown_) [[unlikely]] {
            show(Ref::borrow(handle));
        }
    }
    Shown(const Shown&) = delete;
    Shown& operator=(const Shown&) = delete;
    ~Shown() {
        if (is_shown_) [[unlikely]] {
            show({});
        }
    }

  private:
    void show(Ref handle) noexcept {
        {
            const CriticalSection section{loop_.self()};
            handle = loop_.observation().set_running(std::move(handle));
        }
        handle.reset();
    }

    Loop& loop_;
    bool is_shown_;
};

void run(Loop& loop, PyObject* handle) noexcept {
    const Shown shown{loop, handle};
    const HandleLock lock{handle};
    if (lock.has_failed()) [[unlikely]] {
        loop.report_failure({.message = "Exception in a handle"});
        return;
    }
    const Call call = call_of(loop.state().layout, handle);
    if (!call.callback) {
        return;
    }
    if (!call.context && PyErr_Occurred() != nullptr) [[unlikely]] {
        loop.report_handle_failure(handle);
        return;
    }
    if (loop.is_debug() || !is_usual(call.arguments.get(), call.context.get())) [[unlikely]] {
        run_in_python(loop, handle);
        return;
    }
    if (!call_in_context(call)) [[unlikely]] {
        loop.report_handle_failure(handle);
    }
}

/// True when the caller has the only reference, nobody can come by another one, and it was not
/// cancelled.
bool is_unseen(const HandleLayout& layout, PyObject* handle) noexcept {
    return Py_REFCNT(handle) == 1 && PyObject_GC_IsTracked(handle) == 0 &&
           slot_of(handle, Py_TYPE(handle)->tp_weaklistoffset) == nullptr &&
           slot_of(handle, layout.cancelled) == Py_False;
}

/// The context to run a handle in that is_unseen(): what is shared is copied for the call alone.
Ref take_context(Loop& loop, PyObject* handle) noexcept {
    const LoopState& state = loop.state();
    Ref context = exchange_slot(handle, state.layout.context, Ref{});
    return part_of(handle).shares_context() && Py_REFCNT(context.get()) > 1
               ? loop.contexts().take(state.contexts, context.get())
               : std::move(context);
}

/// Runs a handle that is_unseen(): its slots are emptied, as nobody will look at them, unless the
/// callback fails.
void run_unseen(Loop& loop, PyObject* handle) noexcept {
    const LoopState& state = loop.state();
    Call call{exchange_slot(handle, state.layout.callback, Ref{}),
              exchange_slot(handle, state.layout.args, Ref{}), take_context(loop, handle)};
    if (call.context && call_in_context(call)) [[likely]] {
        loop.contexts().give_back(state.contexts, std::move(call.context));
        return;
    }
    fill(handle, state.layout.callback, std::move(call.callback));
    fill(handle, state.layout.args, std::move(call.arguments));
    fill(handle, state.layout.context, std::move(call.context));
    part_of(handle).set_shares_context(false);  // the exception handler may look at it
    loop.report_handle_failure(handle);
}

/// Runs a handle that the loop has let go.
void run_released(Loop& loop, Ref handle) noexcept {
    LoopState& state = loop.state();
    if (loop.observation().is_on() || !is_unseen(state.layout, handle.get()) ||
        !is_usual(slot_of(handle.get(), state.layout.args),
                  slot_of(handle.get(), state.layout.context))) [[unlikely]] {
        run(loop, handle.get());
        return;
    }
    run_unseen(loop, handle.get());
    if (Py_REFCNT(handle.get()) == 1) [[likely]] {
        state.pool(part_of(handle.get()).kind()).put(handle.release());
    }
}

}  // namespace

Ref make_handle(Loop& loop, PyObject* callback, std::span<PyObject* const> arguments,
                PyObject* context) {
    Ref handle = loop.state().handles.make(loop);
    return handle && initialize(loop, handle.get(), callback, arguments, context)
               ? std::move(handle)
               : Ref{};
}

Ref make_threadsafe_handle(Loop& loop, PyObject* callback, std::span<PyObject* const> arguments,
                           PyObject* context) {
    LoopState& state = loop.state();
    if (!state.threadsafe_handle_type) {
        return make_handle(loop, callback, arguments, context);
    }
    Ref handle = state.threadsafe_handles.make(loop);
    return handle && initialize(loop, handle.get(), callback, arguments, context)
               ? std::move(handle)
               : Ref{};
}

Ref schedule_timer(Loop& loop, PyObject* when, PyObject* callback,
                   std::span<PyObject* const> arguments, PyObject* context) {
    const double seconds = PyFloat_AsDouble(when);
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
        return {};
    }
    LoopState& state = loop.state();
    Ref handle = state.timer_handles.make(loop);
    if (!handle || !initialize(loop, handle.get(), callback, arguments, context)) {
        return {};
    }
    fill(handle.get(), state.layout.when, Ref::borrow(when));
    (void)exchange_slot(handle.get(), state.layout.scheduled, Ref::borrow(Py_True));
    HandlePart& part = part_of(handle.get());
    loop.reactor().timers().start(timer_of(part), to_moment(seconds));
    part.hold();
    return handle;
}

void schedule(Loop& loop, PyObject* handle) noexcept {
    HandlePart& part = part_of(handle);
    if (!part.is_held()) {
        part.hold();
        loop.reactor().defer(part);
    }
}

void schedule_threadsafe(Loop& loop, PyObject* handle) noexcept {
    if (loop.is_own_thread()) {
        schedule(loop, handle);
        return;
    }
    HandlePart& part = part_of(handle);
    const CriticalSection section{loop.self()};  // close() takes back what it finds in there
    if (part.is_held() || loop.is_closed()) {
        return;
    }
    part.hold();
#ifdef Py_GIL_DISABLED
    loop.reactor().post(part);
#else
    loop.reactor().defer(part);  // the GIL keeps the loop's thread out
    loop.reactor().wake();
#endif
}

void run_handle(Loop& loop, PyObject* handle) noexcept { run(loop, handle); }

void cancel_handle(PyObject* handle) noexcept {
    HandlePart& part = part_of(handle);
    Loop& loop = part.loop();
    const HandleLayout& layout = loop.state().layout;
    {
        const CriticalSection section{handle};
        if (slot_of(handle, layout.cancelled) == Py_True) {
            return;
        }
        const Ref old = exchange_slot(handle, layout.cancelled, Ref::borrow(Py_True));
    }
    if (loop.is_debug()) {
        Ref text = Ref::steal(PyObject_Repr(handle));
        if (!text) {
            PyErr_WriteUnraisable(handle);
            text = Ref::none();
        }
        const Ref old = exchange_slot(handle, layout.repr, std::move(text));
    }
    Call dropped;
    {
        const CriticalSection section{handle};
        dropped.callback = exchange_slot(handle, layout.callback, Ref::none());
        dropped.arguments = exchange_slot(handle, layout.args, Ref::none());
    }
    if (part.is_timer() && loop.is_own_thread() && timer_of(part).is_started()) {
        timer_of(part).stop();
        const Ref old = exchange_slot(handle, layout.scheduled, Ref::borrow(Py_False));
        const Ref held = part.let_go();
    }
}

bool is_cancelled(PyObject* handle) noexcept {
    return slot_of(handle, part_of(handle).loop().state().layout.cancelled) == Py_True;
}

// The parts

Ref own_context(PyObject* handle) noexcept {
    HandlePart& part = part_of(handle);
    PyObject*& slot = slot_of(handle, part.loop().state().layout.context);
    if (part.shares_context()) {
        if (Py_REFCNT(slot) > 1) {
            Ref copy = Ref::steal(PyContext_Copy(slot));
            if (!copy) {
                return {};
            }
            const Ref old = Ref::steal(std::exchange(slot, copy.release()));
        }
        part.set_shares_context(false);
    }
    return Ref::borrow(slot);
}

Ref lock_of(PyObject* handle) noexcept {
    HandlePart& part = part_of(handle);
    const LoopState& state = part.loop().state();
    const CriticalSection section{handle};
    if (slot_of(handle, state.layout.lock) == nullptr) {
        Ref made = Ref::steal(PyObject_CallNoArgs(state.lock_type.get()));
        if (const auto runner = runner_of(part).runner; made && runner != 0) {
            // As if that thread had taken it, once.
            const Ref taken = Ref::steal(
                PyObject_CallMethod(made.get(), "_acquire_restore", "((ik))", 1, runner));
            if (!taken) {
                return {};
            }
        }
        fill(handle, state.layout.lock, std::move(made));
    }
    return Ref::borrow(slot_of(handle, state.layout.lock));
}

void HandlePart::hold() noexcept {
    (void)Ref::borrow(handle()).release();
    loop().handles().add(*this);
}

Ref HandlePart::let_go() noexcept {
    const CriticalSection section{loop_slot()};
    if (!is_held()) {
        return {};
    }
    loop().handles().remove(*this);
    return Ref::steal(handle());
}

void HandlePart::on_turn() noexcept {
    Loop& loop = this->loop();
    run_released(loop, let_go());
    loop.note_callback();
}

void TimerPart::on_due() noexcept {
    auto& part = *reinterpret_cast<HandlePart*>(this + 1);
    Loop& loop = part.loop();
    Ref handle = part.let_go();
    const Ref old =
        exchange_slot(handle.get(), loop.state().layout.scheduled, Ref::borrow(Py_False));
    run_released(loop, std::move(handle));
    loop.note_callback();
}

}  // namespace epoll::python
