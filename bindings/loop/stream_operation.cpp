#include "stream_operation.hpp"

#include <cstring>
#include <new>
#include <utility>

#include "../answers.hpp"
#include "../errors.hpp"
#include "../method.hpp"

namespace epoll::python {

namespace {

StreamOperation& operation_of(PyObject* object) noexcept {
    return self_of<StreamOperation>(object);
}

void finish(StreamOperation& self) noexcept {
    self.stage = OperationStage::finished;
    self.argument.reset();
    self.collected.reset();
    self.owner.reset();
}

void end_wait(StreamOperation& self) noexcept {
    if (self.awaited) {
        self.awaited.reset();
        self.kind->on_wait_ended(self);
    }
}

Progress step(StreamOperation& self, Ref& result) noexcept {
    try {
        return self.kind->step(self, result);
    } catch (...) {
        translate_exception();
        return Progress::failed;
    }
}

/// Looks whether what is awaited is through. True: the steps may go on. False: `outcome` is set.
bool continue_wait(StreamOperation& self, PySendResult& outcome, PyObject** result) noexcept {
    outcome = PyIter_Send(self.awaited.get(), Py_None, result);
    if (outcome == PYGEN_NEXT) {
        self.stage = OperationStage::suspended;
        return false;
    }
    end_wait(self);
    if (outcome == PYGEN_ERROR) {
        finish(self);
        return false;
    }
    const Ref none = Ref::steal(*result);
    return true;
}

PySendResult run(StreamOperation& self, PyObject** result) noexcept {
    const Ref alive = Ref::borrow(self.as_python());
    self.stage = OperationStage::running;
    for (;;) {
        PySendResult outcome{};
        if (self.awaited && !continue_wait(self, outcome, result)) {
            return outcome;
        }
        Ref value;
        switch (step(self, value)) {
            case Progress::waits: break;
            case Progress::yields:
                self.stage = OperationStage::suspended;
                *result = Ref::none().release();
                return PYGEN_NEXT;
            case Progress::returned:
                finish(self);
                *result = value.release();
                return PYGEN_RETURN;
            case Progress::failed:
                finish(self);
                *result = nullptr;
                return PYGEN_ERROR;
        }
    }
}

/// False with asyncio's exception set when nothing can be sent or thrown in.
bool require_resumable(const StreamOperation& self) noexcept {
    if (self.stage == OperationStage::running) {
        (void)error(PyExc_ValueError, "coroutine already executing");
        return false;
    }
    if (self.stage == OperationStage::finished) {
        (void)error(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return false;
    }
    return true;
}

PySendResult send_slot(PyObject* object, PyObject* value, PyObject** result) noexcept {
    StreamOperation& self = operation_of(object);
    *result = nullptr;
    if (!require_resumable(self)) {
        return PYGEN_ERROR;
    }
    if (self.stage == OperationStage::created && !Py_IsNone(value)) {
        (void)error(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
        return PYGEN_ERROR;
    }
    return run(self, result);
}

/// StopIteration(value), whatever `value` is.
void raise_stop_iteration(PyObject* value) noexcept {
    if (PyTuple_Check(value) || PyExceptionInstance_Check(value)) {
        const Ref stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, value));
        if (stop) {
            PyErr_SetObject(PyExc_StopIteration, stop.get());
        }
    } else {
        PyErr_SetObject(PyExc_StopIteration, value);
    }
}

PyObject* next_slot(PyObject* object) noexcept {
    PyObject* result = nullptr;
    if (send_slot(object, Py_None, &result) == PYGEN_RETURN) {
        const Ref value = Ref::steal(std::exchange(result, nullptr));
        if (!Py_IsNone(value.get())) {  // no exception at all stands for None
            raise_stop_iteration(value.get());
        }
    }
    return result;
}

PyObject* send(PyObject* object, PyObject* value) noexcept {
    PyObject* result = nullptr;
    if (send_slot(object, value, &result) == PYGEN_RETURN) {
        const Ref returned = Ref::steal(std::exchange(result, nullptr));
        raise_stop_iteration(returned.get());
    }
    return result;
}

/// Sets the exception that generator.throw(type, value, traceback) would raise.
void raise_thrown(PyObject* type, PyObject* value, PyObject* traceback) noexcept {
    const bool has_value = value != nullptr && !Py_IsNone(value);
    if (PyExceptionInstance_Check(type)) {
        if (has_value) {
            (void)error(PyExc_TypeError, "instance exception may not have a separate value");
            return;
        }
        if (traceback != nullptr && PyException_SetTraceback(type, traceback) < 0) {
            return;
        }
        raise(type);
    } else if (PyExceptionClass_Check(type)) {
        PyErr_SetObject(type, has_value ? value : nullptr);
    } else {
        (void)error(PyExc_TypeError,
                    "exceptions must be classes or instances deriving from BaseException, not %s",
                    Py_TYPE(type)->tp_name);
    }
}

constexpr Signature<3> k_throw{"throw",
                               {"type", "value", "traceback"},
                               {Parameter::required, Parameter::optional, Parameter::optional}};

Ref throw_in(StreamOperation& self, const CallArguments& arguments) {
    const auto bound = k_throw.bind(arguments);
    if (!bound || !require_resumable(self)) {
        return {};
    }
    const auto [type, value, traceback] = *bound;
    const Ref alive = Ref::borrow(self.as_python());
    self.stage = OperationStage::running;
    end_wait(self);
    finish(self);
    raise_thrown(type, value, traceback);
    return {};
}

void close_quietly(StreamOperation& self) noexcept {
    const Ref alive = Ref::borrow(self.as_python());
    self.stage = OperationStage::running;
    end_wait(self);
    finish(self);
}

Ref close(StreamOperation& self) {
    if (self.stage == OperationStage::running) {
        return error(PyExc_ValueError, "coroutine already executing");
    }
    close_quietly(self);
    return Ref::none();
}

PyObject* await_slot(PyObject* object) noexcept {
    if (operation_of(object).stage == OperationStage::suspended) {
        return error(PyExc_RuntimeError, "coroutine is being awaited already").release();
    }
    return Ref::borrow(object).release();
}

PyObject* describe(PyObject* object) noexcept {
    return PyUnicode_FromFormat("<coroutine object %s at %p>", operation_of(object).kind->name,
                                static_cast<void*>(object));
}

Ref qualified_name(StreamOperation& self) {
    return Ref::steal(PyUnicode_FromString(self.kind->name));
}

Ref name(StreamOperation& self) {
    return Ref::steal(PyUnicode_FromString(std::strrchr(self.kind->name, '.') + 1));
}

Ref is_running(StreamOperation& self) { return as_bool(self.stage == OperationStage::running); }

Ref frame(StreamOperation& /*self*/) { return Ref::none(); }

Ref is_suspended(StreamOperation& self) { return as_bool(self.stage == OperationStage::suspended); }

Ref coroutine_state(StreamOperation& self) {
    return as_coroutine_state(self.stage == OperationStage::created,
                              self.stage == OperationStage::running,
                              self.stage == OperationStage::suspended);
}

Ref awaited(StreamOperation& self) { return or_none(self.awaited.get()); }

void finalize(PyObject* object) noexcept {
    StreamOperation& self = operation_of(object);
    if (self.stage == OperationStage::finished) {
        return;
    }
    const ExceptionKept kept;
    if (self.stage == OperationStage::created &&
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited",
                         self.kind->name) < 0) {
        PyErr_WriteUnraisable(object);
    }
    close_quietly(self);
}

int traverse(PyObject* object, visitproc visit, void* arg) noexcept {
    StreamOperation& self = operation_of(object);
    Py_VISIT(Py_TYPE(object));
    for (const Ref* const held : {&self.owner, &self.awaited, &self.argument, &self.collected}) {
        Py_VISIT(held->get());
    }
    return 0;
}

int clear(PyObject* object) noexcept {
    close_quietly(operation_of(object));
    return 0;
}

void deallocate(PyObject* object) noexcept {
    StreamOperation& self = operation_of(object);
    if (self.stage != OperationStage::finished && PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;
    }
    const Ref type =
        Ref::steal(reinterpret_cast<PyObject*>(Py_TYPE(object)));  // every object has one
    PyObject_GC_UnTrack(object);
    self.~StreamOperation();
    PyObject_GC_Del(object);
}

PyMethodDef methods[] = {
    {"send", &send, METH_O,
     "send($self, value, /)\n--\n\nGo on, to the next wait or the end, as a coroutine does."},
    make_method<throw_in>("throw",
                          "throw($self, type, value=None, traceback=None, /)\n--\n\n"
                          "Raise an exception where it waits, which ends it."),
    make_method<close>("close", "close($self, /)\n--\n\nEnd it where it waits."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    make_property<name>("__name__", "The name of the method that it is a call of."),
    make_property<qualified_name>("__qualname__", "The same with the class."),
    make_property<is_running>("cr_running", "True while it runs."),
    make_property<is_suspended>("cr_suspended", "True while it waits."),
    make_property<coroutine_state>("cr_state", "What inspect.getcoroutinestate() says of it."),
    make_property<awaited>("cr_await", "What it waits for, or None."),
    make_property<frame>("cr_frame", "None: it has no Python code."),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("A call of a coroutine method of a stream.")},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate)},
    {Py_tp_finalize, reinterpret_cast<void*>(&finalize)},
    {Py_tp_repr, reinterpret_cast<void*>(&describe)},
    {Py_tp_iter, reinterpret_cast<void*>(&PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(&next_slot)},
    {Py_am_await, reinterpret_cast<void*>(&await_slot)},
    {Py_am_send, reinterpret_cast<void*>(&send_slot)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"epoll._loop.StreamOperation", sizeof(StreamOperation), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

Ref make_operation(LoopState& state, const OperationKind& kind, PyObject* owner,
                   PyObject* argument) noexcept {
    auto* const type = reinterpret_cast<PyTypeObject*>(state.read_operation_type.get());
    auto* const self = PyObject_GC_New(StreamOperation, type);
    if (self == nullptr) {
        return {};
    }
    self->state = &state;
    self->kind = &kind;
    ::new (&self->owner) Ref{Ref::borrow(owner)};
    ::new (&self->awaited) Ref{};
    ::new (&self->argument) Ref{Ref::borrow(argument)};
    ::new (&self->collected) Ref{};
    self->wanted = 0;
    self->offset = 0;
    self->phase = 0;
    self->stage = OperationStage::created;
    PyObject_GC_Track(self);
    return Ref::steal(self->as_python());
}

Progress wait_for(StreamOperation& operation, PyObject* future) noexcept {
    const PyAsyncMethods* const async = Py_TYPE(future)->tp_as_async;
    if (async == nullptr || async->am_await == nullptr) {
        (void)error(PyExc_TypeError, "object %s can't be used in 'await' expression",
                    Py_TYPE(future)->tp_name);
        return Progress::failed;
    }
    operation.awaited = Ref::steal(async->am_await(future));
    return operation.awaited ? Progress::waits : Progress::failed;
}

bool add_operation_type(PyObject* module, LoopState& state) {
    state.read_operation_type = Ref::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
    const Ref abstract = Ref::steal(PyImport_ImportModule("collections.abc"));
    if (!state.read_operation_type || !abstract) {
        return false;
    }
    const Ref coroutine = Ref::steal(PyObject_GetAttrString(abstract.get(), "Coroutine"));
    const Ref registered = coroutine
                               ? Ref::steal(PyObject_CallMethod(coroutine.get(), "register", "O",
                                                                state.read_operation_type.get()))
                               : Ref{};
    return static_cast<bool>(registered);
}

}  // namespace epoll::python
