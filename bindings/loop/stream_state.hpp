#pragma once

#include "../answers.hpp"
#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

struct LoopState;

/// What the streams and their transports need of asyncio, looked up once: names that they call, and
/// how the streams of the running version differ from those of others. Part of LoopState.
struct StreamState {
    // Names of methods, interned.
    Ref add_done_callback, buffer_updated, call_exception_handler, cancelled, close,
        connection_lost, create_future, create_task, data_received, done, eof_received, exception,
        get_buffer, get_debug, get_extra_info, is_closing, pause_reading, pause_writing,
        resume_reading, resume_writing, set_exception, set_result, write, writelines;

    // Of asyncio.
    Ref extract_stack;          ///< format_helpers.extract_stack
    Ref incomplete_read_error;  ///< IncompleteReadError
    Ref is_coroutine;           ///< coroutines.iscoroutine
    Ref limit_overrun_error;    ///< LimitOverrunError
    Ref connection_made;        ///< StreamReaderProtocol.connection_made
    Ref writer_finalizer;       ///< StreamWriter.__del__; empty where it has none

    bool keeps_writer = false;  ///< a server's protocol keeps its writer until the connection ends
    bool catches_callback =
        false;  ///< an exception of a plain client_connected_cb is reported at once
    bool closes_when_cancelled = false;  ///< a cancelled client_connected_cb closes its transport

    [[nodiscard]] bool fill() noexcept;
    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;
};

// Calls by interned name; a null object is None, which has no such method. Empty with an exception
// set.
[[nodiscard]] Ref call_method(const Ref& name, PyObject* object) noexcept;
[[nodiscard]] Ref call_method(const Ref& name, PyObject* object, PyObject* argument) noexcept;

/// bool(object.name()); nothing with an exception set.
enum class Answer : signed char { failed = -1, no = 0, yes = 1 };
[[nodiscard]] Answer ask(const Ref& name, PyObject* object) noexcept;

/// A line of asyncio's logger, of debug mode: logger.debug(text, object). False with an exception
/// set.
[[nodiscard]] bool log_debug(const LoopState& state, const char* text, PyObject* object) noexcept;

/// loop.create_future(), of any loop.
[[nodiscard]] Ref create_future(const LoopState& state, PyObject* loop) noexcept;

/// Sets the result of `future` to None, or its exception (null: none), unless it was cancelled.
[[nodiscard]] bool resolve_unless_cancelled(const LoopState& state, PyObject* future,
                                            PyObject* exception) noexcept;

/// `raise exception`, for an object that should be one.
void raise(PyObject* exception) noexcept;

/// `loop`, or, when that is null or None, the current one.
[[nodiscard]] Ref loop_or_current(PyObject* loop) noexcept;

/// Makes the type epoll._loop.<name> and adds it to `module`: class name(native, asyncio.name), so
/// that what the native type has not is asyncio's, and isinstance holds.
[[nodiscard]] Ref derive_type(PyObject* module, const char* name, PyType_Spec& native) noexcept;

/// An attribute of asyncio's that is a Ref of ours, empty for None.
template <class Object, Ref Object::* Field>
PyGetSetDef object_attribute(const char* name) noexcept {
    return {name,
            [](PyObject* self, void*) noexcept -> PyObject* {
                return or_none((reinterpret_cast<Object*>(self)->*Field).get()).release();
            },
            [](PyObject* self, PyObject* value, void*) noexcept {
                reinterpret_cast<Object*>(self)->*Field =
                    value == nullptr || Py_IsNone(value) ? Ref{} : Ref::borrow(value);
                return 0;
            },
            nullptr, nullptr};
}

/// The same for a bool.
template <class Object, bool Object::* Field>
PyGetSetDef flag_attribute(const char* name) noexcept {
    return {name,
            [](PyObject* self, void*) noexcept -> PyObject* {
                return PyBool_FromLong(reinterpret_cast<Object*>(self)->*Field);
            },
            [](PyObject* self, PyObject* value, void*) noexcept {
                const int is_true = value == nullptr ? 0 : PyObject_IsTrue(value);
                if (is_true >= 0) {
                    reinterpret_cast<Object*>(self)->*Field = is_true != 0;
                }
                return is_true < 0 ? -1 : 0;
            },
            nullptr, nullptr};
}

}  // namespace epoll::python
