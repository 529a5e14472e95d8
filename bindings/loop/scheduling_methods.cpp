#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "../errors.hpp"
#include "../method.hpp"
#include "handle.hpp"
#include "loop.hpp"
#include "loop_time.hpp"

// The methods of Loop that make callbacks, futures and tasks.

namespace epoll::python {

namespace {

// What call_soon(), call_later() and their like are called with: `Count` parameters, of which the
// last is the callback, its arguments, and the context as a keyword.

template <std::size_t Count>
struct CallbackArguments {
    std::array<PyObject*, Count> bound{};
    std::span<PyObject* const> rest;
    PyObject* context = nullptr;

    [[nodiscard]] PyObject* callback() const noexcept { return bound.back(); }
};

template <std::size_t Count>
using Names = std::array<const char*, Count>;

constexpr Names<1> k_soon{"callback"};
constexpr Names<2> k_later{"delay", "callback"};
constexpr Names<2> k_at{"when", "callback"};

/// Whether a name, a str, is `text`. Names need not be interned: those that asyncio's C code calls
/// with are not.
bool is_named(PyObject* name, std::string_view text) noexcept {
    return PyUnicode_IS_COMPACT_ASCII(name) &&
           std::string_view{static_cast<const char*>(PyUnicode_DATA(name)),
                            static_cast<std::size_t>(PyUnicode_GET_LENGTH(name))} == text;
}

template <std::size_t Count>
bool bind_keyword(const char* function, const Names<Count>& names, PyObject* name, PyObject* value,
                  CallbackArguments<Count>& call) noexcept {
    if (is_named(name, "context")) {
        call.context = value;
        return true;
    }
    for (std::size_t place = 0; place != Count; ++place) {
        if (is_named(name, names[place])) {
            if (call.bound[place] != nullptr) {
                (void)error(PyExc_TypeError, "%s() got multiple values for argument '%U'", function,
                            name);
                return false;
            }
            call.bound[place] = value;
            return true;
        }
    }
    (void)error(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
    return false;
}

/// What the keywords give besides. Empty with TypeError set.
template <std::size_t Count>
std::optional<CallbackArguments<Count>> bind_keywords(const char* function,
                                                      const Names<Count>& names,
                                                      const CallArguments& arguments,
                                                      CallbackArguments<Count> call) noexcept {
    const Py_ssize_t named = arguments.names == nullptr ? 0 : PyTuple_GET_SIZE(arguments.names);
    for (Py_ssize_t index = 0; index != named; ++index) {
        if (!bind_keyword(function, names, PyTuple_GET_ITEM(arguments.names, index),
                          arguments.values[arguments.positional + index], call)) {
            return std::nullopt;
        }
    }
    for (std::size_t place = 0; place != Count; ++place) {
        if (call.bound[place] == nullptr) {
            (void)error(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'",
                        function, names[place]);
            return std::nullopt;
        }
    }
    return call;
}

/// Inline, as most calls have no keywords, and nothing is to be done for them.
template <std::size_t Count>
[[gnu::always_inline]] inline std::optional<CallbackArguments<Count>> bind_callback(
    const char* function, const Names<Count>& names, const CallArguments& arguments) noexcept {
    CallbackArguments<Count> call;
    const auto given = static_cast<std::size_t>(arguments.positional);
    const std::size_t taken = std::min(given, Count);
    for (std::size_t place = 0; place != taken; ++place) {
        call.bound[place] = arguments.values[place];
    }
    call.rest = {arguments.values + taken, given - taken};
    return taken == Count && arguments.names == nullptr
               ? std::optional{call}
               : bind_keywords(function, names, arguments, call);
}

/// What asyncio checks in debug mode only.
bool is_callable(Loop& loop, PyObject* callback, const char* function) noexcept {
    if (!loop.is_debug()) {
        return true;
    }
    const Ref checked =
        Ref::steal(PyObject_CallMethod(loop.self(), "_check_callback", "Os", callback, function));
    return static_cast<bool>(checked);
}

bool may_schedule(Loop& loop, PyObject* callback, const char* function) noexcept {
    return loop.require_open() && loop.require_thread() && is_callable(loop, callback, function);
}

Ref call_soon(LoopObject& self, const CallArguments& arguments) {
    Loop& loop = *self.loop;
    const auto call = bind_callback("call_soon", k_soon, arguments);
    return call && may_schedule(loop, call->callback(), "call_soon")
               ? loop.call_soon(call->callback(), call->rest, call->context)
               : Ref{};
}

Ref call_soon_threadsafe(LoopObject& self, const CallArguments& arguments) {
    Loop& loop = *self.loop;
    const auto call = bind_callback("call_soon_threadsafe", k_soon, arguments);
    if (!call || !loop.require_open() ||
        !is_callable(loop, call->callback(), "call_soon_threadsafe")) {
        return {};
    }
    Ref handle = make_threadsafe_handle(loop, call->callback(), call->rest, call->context);
    if (handle) {
        schedule_threadsafe(loop, handle.get());
    }
    return handle;
}

Ref call_at_time(Loop& loop, PyObject* when, const CallbackArguments<2>& call) {
    return may_schedule(loop, call.callback(), "call_at")
               ? schedule_timer(loop, when, call.callback(), call.rest, call.context)
               : Ref{};
}

Ref call_at(LoopObject& self, const CallArguments& arguments) {
    const auto call = bind_callback("call_at", k_at, arguments);
    if (!call) {
        return {};
    }
    if (call->bound[0] == Py_None) {
        return error(PyExc_TypeError, "when cannot be None");
    }
    return call_at_time(*self.loop, call->bound[0], *call);
}

Ref now() noexcept { return Ref::steal(PyFloat_FromDouble(to_seconds(Clock::now()))); }

/// loop.time() + delay, an owned reference.
Ref from_now(PyObject* delay) noexcept {
    if (PyFloat_CheckExact(delay)) {
        return Ref::steal(PyFloat_FromDouble(to_seconds(Clock::now()) + PyFloat_AS_DOUBLE(delay)));
    }
    if (PyLong_CheckExact(delay)) {
        const double seconds = PyLong_AsDouble(delay);
        return seconds == -1.0 && PyErr_Occurred() != nullptr
                   ? Ref{}
                   : Ref::steal(PyFloat_FromDouble(to_seconds(Clock::now()) + seconds));
    }
    const Ref present = now();
    return present ? Ref::steal(PyNumber_Add(present.get(), delay)) : Ref{};
}

Ref call_later(LoopObject& self, const CallArguments& arguments) {
    const auto call = bind_callback("call_later", k_later, arguments);
    if (!call) {
        return {};
    }
    PyObject* const delay = call->bound[0];
    if (delay == Py_None) {
        return error(PyExc_TypeError, "delay must not be None");
    }
    const Ref when = from_now(delay);
    return when ? call_at_time(*self.loop, when.get(), *call) : Ref{};
}

bool is_native(const LoopState& state, PyObject* handle) noexcept {
    auto* const type = reinterpret_cast<PyObject*>(Py_TYPE(handle));
    return type == state.handle_type.get() || type == state.timer_handle_type.get() ||
           type == state.threadsafe_handle_type.get();
}

Ref add_callback(LoopObject& self, PyObject* handle) {
    Loop& loop = *self.loop;
    const LoopState& state = loop.state();
    if (is_native(state, handle)) {
        if (!is_cancelled(handle)) {
            schedule(loop, handle);
        }
        return Ref::none();
    }
    const Ref run = Ref::steal(PyObject_GetAttrString(state.support.get(), "run_unless_cancelled"));
    return run && loop.require_open() && loop.call_soon(run.get(), {&handle, 1}, nullptr)
               ? Ref::none()
               : Ref{};
}

Ref time(LoopObject& /*self*/) { return now(); }

/// type(*arguments, **keywords), without the copies that a call of a type makes.
Ref make_object(PyObject* type, PyObject* arguments, PyObject* keywords) noexcept {
    auto* const made_by = reinterpret_cast<PyTypeObject*>(type);
    Ref object = Ref::steal(made_by->tp_new(made_by, arguments, keywords));
    return object && made_by->tp_init(object.get(), arguments, keywords) == 0 ? std::move(object)
                                                                              : Ref{};
}

/// Whether the module has `type` under its name: asyncio asks each time, as a program may have put
/// another one there.
bool is_in_place(const Ref& type, const Ref& module, const Ref& name) noexcept {
    return PyDict_GetItemWithError(PyModule_GetDict(module.get()), name.get()) == type.get();
}

/// `function` of the support module as a method of this loop.
Ref in_python(Loop& loop, const char* function) noexcept {
    const Ref found = Ref::steal(PyObject_GetAttrString(loop.state().support.get(), function));
    return found ? Ref::steal(PyMethod_New(found.get(), loop.self())) : Ref{};
}

Ref make_future(LoopObject& self) {
    Loop& loop = *self.loop;
    const LoopState& state = loop.state();
    if (!is_in_place(state.future_type, state.futures_module, state.future_name)) [[unlikely]] {
        const Ref method = in_python(loop, "create_future");
        return method ? Ref::steal(PyObject_CallNoArgs(method.get())) : Ref{};
    }
    PyObject* const keywords = loop.creation_keywords();
    return keywords != nullptr
               ? make_object(state.future_type.get(), state.no_arguments.get(), keywords)
               : Ref{};
}

/// The keywords of a Task, when the call has none but `name` and `context`; else nothing, and no
/// exception is set unless it is one.
Ref task_keywords(Loop& loop, const CallArguments& arguments) noexcept {
    PyObject* const keywords = loop.creation_keywords();
    const Py_ssize_t named = arguments.names == nullptr ? 0 : PyTuple_GET_SIZE(arguments.names);
    Ref extended;
    for (Py_ssize_t index = 0; index != named && keywords != nullptr; ++index) {
        PyObject* const name = PyTuple_GET_ITEM(arguments.names, index);
        PyObject* const value = arguments.values[arguments.positional + index];
        if (name != loop.state().name_name.get() && name != loop.state().context_name.get()) {
            return {};
        }
        if (value == Py_None) {
            continue;
        }
        if (!extended) {
            extended = Ref::steal(PyDict_Copy(keywords));
        }
        if (!extended || PyDict_SetItem(extended.get(), name, value) < 0) {
            return {};
        }
    }
    return extended ? std::move(extended) : Ref::borrow(keywords);
}

/// As the class of asyncio has it.
Ref create_task_in_python(Loop& loop, const CallArguments& arguments) noexcept {
    const Ref method = in_python(loop, "create_task");
    return method ? Ref::steal(PyObject_Vectorcall(method.get(), arguments.values,
                                                   static_cast<std::size_t>(arguments.positional),
                                                   arguments.names))
                  : Ref{};
}

Ref make_task(LoopObject& self, const CallArguments& arguments) {
    Loop& loop = *self.loop;
    const LoopState& state = loop.state();
    if (arguments.positional == 1 && loop.task_factory() == Py_None &&
        is_in_place(state.task_type, state.tasks_module, state.task_name)) {
        if (!loop.require_open()) {
            return {};
        }
        if (const Ref keywords = task_keywords(loop, arguments)) {
            const Ref positional = Ref::steal(PyTuple_Pack(1, arguments.values[0]));
            return positional ? make_object(state.task_type.get(), positional.get(), keywords.get())
                              : Ref{};
        }
        if (PyErr_Occurred() != nullptr) {
            return {};
        }
    }
    return create_task_in_python(loop, arguments);
}

constexpr const char* k_call_soon_text =
    "call_soon($self, callback, *args, context=None)\n--\n\n"
    "Call callback(*args) in the next turn of the loop; return its asyncio.Handle.\n"
    "\n"
    "What was scheduled first is called first. It runs in context, a contextvars.Context, by\n"
    "default a copy of the current one. Raises RuntimeError when the loop is closed. On the "
    "loop's\n"
    "thread only.";
constexpr const char* k_call_soon_threadsafe_text =
    "call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
    "As call_soon(), from any thread; a loop that waits is woken.";
constexpr const char* k_call_later_text =
    "call_later($self, delay, callback, *args, context=None)\n--\n\n"
    "Call callback(*args) in delay seconds, a real number; return its asyncio.TimerHandle.\n"
    "\n"
    "Never earlier. Callbacks that are due at the same time are called in the order in which they\n"
    "were scheduled. Raises TypeError when delay is no number, else as call_soon().";
constexpr const char* k_call_at_text =
    "call_at($self, when, callback, *args, context=None)\n--\n\n"
    "Call callback(*args) when loop.time() has reached when, in seconds.\n"
    "\n"
    "As call_later().";
constexpr const char* k_add_callback_text =
    "For asyncio's own code: schedule a handle, of any class, that was made before.";
constexpr const char* k_create_future_text =
    "create_future($self)\n--\n\nReturn a new asyncio.Future of this loop.";
constexpr const char* k_time_text =
    "time($self)\n--\n\n"
    "Return the time of the loop in seconds: what time.monotonic() returns.";

}  // namespace

void append_scheduling_methods(std::vector<PyMethodDef>& methods, const char* create_task_text) {
    methods.insert(methods.end(), {make_method<&call_soon>("call_soon", k_call_soon_text),
                                   make_method<&call_soon_threadsafe>("call_soon_threadsafe",
                                                                      k_call_soon_threadsafe_text),
                                   make_method<&call_later>("call_later", k_call_later_text),
                                   make_method<&call_at>("call_at", k_call_at_text),
                                   make_method<&add_callback>("_add_callback", k_add_callback_text),
                                   make_method<&make_future>("create_future", k_create_future_text),
                                   make_method<&make_task>("create_task", create_task_text),
                                   make_method<&time>("time", k_time_text)});
}

}  // namespace epoll::python
