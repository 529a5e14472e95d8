#include "stream_state.hpp"

#include <array>
#include <initializer_list>
#include <utility>

#include "../errors.hpp"
#include "loop_state.hpp"

namespace epoll::python {

namespace {

struct Named {
    Ref* place;
    const char* name;
};

auto method_names(StreamState& state) noexcept {
    return std::array{Named{&state.add_done_callback, "add_done_callback"},
                      Named{&state.buffer_updated, "buffer_updated"},
                      Named{&state.call_exception_handler, "call_exception_handler"},
                      Named{&state.cancelled, "cancelled"},
                      Named{&state.close, "close"},
                      Named{&state.connection_lost, "connection_lost"},
                      Named{&state.create_future, "create_future"},
                      Named{&state.create_task, "create_task"},
                      Named{&state.data_received, "data_received"},
                      Named{&state.done, "done"},
                      Named{&state.eof_received, "eof_received"},
                      Named{&state.exception, "exception"},
                      Named{&state.get_buffer, "get_buffer"},
                      Named{&state.get_debug, "get_debug"},
                      Named{&state.get_extra_info, "get_extra_info"},
                      Named{&state.is_closing, "is_closing"},
                      Named{&state.pause_reading, "pause_reading"},
                      Named{&state.pause_writing, "pause_writing"},
                      Named{&state.resume_reading, "resume_reading"},
                      Named{&state.resume_writing, "resume_writing"},
                      Named{&state.set_exception, "set_exception"},
                      Named{&state.set_result, "set_result"},
                      Named{&state.write, "write"},
                      Named{&state.writelines, "writelines"}};
}

template <class State>
auto borrowed_from_asyncio(State& state) noexcept {
    return std::array{&state.extract_stack,   &state.incomplete_read_error,
                      &state.is_coroutine,    &state.limit_overrun_error,
                      &state.connection_made, &state.writer_finalizer};
}

/// object.a.b for the path {"a", "b"}.
Ref look_up(PyObject* object, std::initializer_list<const char*> path) noexcept {
    Ref found = Ref::borrow(object);
    for (const char* const name : path) {
        found = Ref::steal(PyObject_GetAttrString(found.get(), name));
        if (!found) {
            break;
        }
    }
    return found;
}

/// Whether the code of asyncio's function names `text`, as an attribute or a constant, itself or in
/// a function that it defines (`depth` levels of them): how a version is recognised whatever its
/// number is, since such changes come with patch releases.
template <int depth>
Answer mentions(PyObject* code, const char* text) noexcept {
    const Ref wanted = Ref::steal(PyUnicode_FromString(text));
    const Ref names = look_up(code, {"co_names"});
    const Ref constants = look_up(code, {"co_consts"});
    if (!wanted || !names || !constants) {
        return Answer::failed;
    }
    for (const Ref* const place : {&names, &constants}) {
        const int found = PySequence_Contains(place->get(), wanted.get());
        if (found != 0) {
            return found < 0 ? Answer::failed : Answer::yes;
        }
    }
    if constexpr (depth > 0) {
        for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(constants.get()); ++index) {
            PyObject* const constant = PyTuple_GET_ITEM(constants.get(), index);
            if (PyCode_Check(constant)) {
                const Answer inside = mentions<depth - 1>(constant, text);
                if (inside != Answer::no) {
                    return inside;
                }
            }
        }
    }
    return Answer::no;
}

bool learn_version(StreamState& state) noexcept {
    const Ref code = look_up(state.connection_made.get(), {"__code__"});
    if (!code) {
        return false;
    }
    const Answer writer = mentions<0>(code.get(), "_stream_writer");
    const Answer caught = mentions<0>(code.get(), "Unhandled exception in client_connected_cb");
    const Answer cancelled = mentions<1>(code.get(), "cancelled");
    if (writer == Answer::failed || caught == Answer::failed || cancelled == Answer::failed) {
        return false;
    }
    state.keeps_writer = writer == Answer::yes;
    state.catches_callback = caught == Answer::yes;
    state.closes_when_cancelled = cancelled == Answer::yes;
    return true;
}

}  // namespace

bool StreamState::fill() noexcept {
    for (const Named& method : method_names(*this)) {
        *method.place = Ref::steal(PyUnicode_InternFromString(method.name));
        if (!*method.place) {
            return false;
        }
    }
    const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
    if (!asyncio) {
        return false;
    }
    PyObject* const from = asyncio.get();
    extract_stack = look_up(from, {"format_helpers", "extract_stack"});
    incomplete_read_error = look_up(from, {"IncompleteReadError"});
    is_coroutine = look_up(from, {"coroutines", "iscoroutine"});
    limit_overrun_error = look_up(from, {"LimitOverrunError"});
    connection_made = look_up(from, {"StreamReaderProtocol", "connection_made"});
    if (!extract_stack || !incomplete_read_error || !is_coroutine || !limit_overrun_error ||
        !connection_made) {
        return false;
    }
    writer_finalizer = look_up(from, {"StreamWriter", "__del__"});
    if (!writer_finalizer) {
        PyErr_Clear();
    }
    return learn_version(*this);
}

int StreamState::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const object : borrowed_from_asyncio(*this)) {
        Py_VISIT(object->get());
    }
    return 0;
}

void StreamState::clear() noexcept {
    for (Ref* const object : borrowed_from_asyncio(*this)) {
        object->reset();
    }
}

Ref call_method(const Ref& name, PyObject* object) noexcept {
    return Ref::steal(PyObject_CallMethodNoArgs(object == nullptr ? Py_None : object, name.get()));
}

Ref call_method(const Ref& name, PyObject* object, PyObject* argument) noexcept {
    return Ref::steal(
        PyObject_CallMethodOneArg(object == nullptr ? Py_None : object, name.get(), argument));
}

Answer ask(const Ref& name, PyObject* object) noexcept {
    const Ref answer = call_method(name, object);
    return static_cast<Answer>(answer ? PyObject_IsTrue(answer.get()) : -1);
}

bool log_debug(const LoopState& state, const char* text, PyObject* object) noexcept {
    const Ref logger = Ref::steal(PyObject_GetAttrString(state.support.get(), "logger"));
    return logger && Ref::steal(PyObject_CallMethod(logger.get(), "debug", "sO", text, object));
}

Ref create_future(const LoopState& state, PyObject* loop) noexcept {
    return call_method(state.streams.create_future, loop);
}

bool resolve_unless_cancelled(const LoopState& state, PyObject* future,
                              PyObject* exception) noexcept {
    const StreamState& names = state.streams;
    switch (ask(names.cancelled, future)) {
        case Answer::failed: return false;
        case Answer::yes: return true;
        case Answer::no: break;
    }
    const Ref done = exception == nullptr ? call_method(names.set_result, future, Py_None)
                                          : call_method(names.set_exception, future, exception);
    return static_cast<bool>(done);
}

void raise(PyObject* exception) noexcept {
    if (PyExceptionInstance_Check(exception)) {
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception)), exception);
    } else if (PyExceptionClass_Check(exception)) {
        PyErr_SetNone(exception);
    } else {
        (void)error(PyExc_TypeError, "exceptions must derive from BaseException");
    }
}

Ref loop_or_current(PyObject* loop) noexcept {
    if (loop != nullptr && !Py_IsNone(loop)) {
        return Ref::borrow(loop);
    }
    const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
    return asyncio ? Ref::steal(PyObject_CallMethod(asyncio.get(), "get_event_loop", nullptr))
                   : Ref{};
}

Ref derive_type(PyObject* module, const char* name, PyType_Spec& native) noexcept {
    const Ref base = Ref::steal(PyType_FromModuleAndSpec(module, &native, nullptr));
    const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
    if (!base || !asyncio) {
        return {};
    }
    const Ref original = look_up(asyncio.get(), {name});
    const Ref documentation = original ? look_up(original.get(), {"__doc__"}) : Ref{};
    const Ref body = documentation ? Ref::steal(Py_BuildValue("{sssO}", "__module__", "epoll._loop",
                                                              "__doc__", documentation.get()))
                                   : Ref{};
    if (!body) {
        return {};
    }
    Ref type = Ref::steal(PyObject_CallFunction(reinterpret_cast<PyObject*>(&PyType_Type), "s(OO)O",
                                                name, base.get(), original.get(), body.get()));
    return type && PyModule_AddObjectRef(module, name, type.get()) == 0 ? std::move(type) : Ref{};
}

}  // namespace epoll::python
