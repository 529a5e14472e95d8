#include "socket_operations.hpp"

#include <new>
#include <utility>

#include "../answers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "loop_state.hpp"

namespace epoll::python {

namespace {

struct OperationObject {
    PyObject_HEAD
    SocketOperation operation;
};

}  // namespace

SocketOperation& operation_of(PyObject* coroutine) noexcept {
    return reinterpret_cast<OperationObject*>(coroutine)->operation;
}

Outcome Outcome::failed(int error) noexcept {
    if (error == EAGAIN || error == EWOULDBLOCK) {
        return blocked();
    }
    return {os_error(error), false};
}

PySendResult SocketOperation::send(PyObject* value, PyObject** result) {
    switch (state_) {
        case State::created:
            if (value != Py_None) {
                (void)python::error(PyExc_TypeError,
                                    "can't send non-None value to a just-started coroutine");
                return PYGEN_ERROR;
            }
            if (loop_.is_debug() && !require_non_blocking()) {
                finish();
                return PYGEN_ERROR;
            }
            return step(result);
        case State::waiting: {
            state_ = State::running;  // whatever runs inside leaves the iterator alone
            const PySendResult answer = PyIter_Send(iterator_.get(), value, result);
            if (answer == PYGEN_NEXT) {
                state_ = State::waiting;
                return answer;
            }
            if (answer == PYGEN_ERROR) {
                finish();
                return answer;
            }
            Ref::steal(std::exchange(*result, nullptr)).reset();
            stop_waiting();
            return step(result);
        }
        case State::running:
            (void)python::error(PyExc_ValueError, "coroutine already executing");
            return PYGEN_ERROR;
        case State::finished: break;
    }
    (void)python::error(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return PYGEN_ERROR;
}

PySendResult SocketOperation::step(PyObject** result) {
    state_ = State::running;
    const int fd = descriptor();
    Outcome outcome = PyErr_Occurred() == nullptr ? call_.attempt(*this, fd) : Outcome{};
    if (outcome.would_block) {
        return begin_waiting(fd, result);
    }
    finish();
    *result = outcome.value.release();
    return *result != nullptr ? PYGEN_RETURN : PYGEN_ERROR;
}

PySendResult SocketOperation::begin_waiting(int fd, PyObject** result) {
    future_ = Ref::steal(
        PyObject_CallMethodNoArgs(loop_object_.get(), loop_.state().sockets.create_future.get()));
    const PyAsyncMethods* const methods = future_ ? Py_TYPE(future_.get())->tp_as_async : nullptr;
    if (methods != nullptr && methods->am_await != nullptr) {
        iterator_ = Ref::steal(methods->am_await(future_.get()));
    } else if (future_) {
        (void)python::error(PyExc_TypeError, "create_future() must return a future, not %.200s",
                            Py_TYPE(future_.get())->tp_name);
    }
    if (iterator_ && loop_.watches().wait(call_.direction, fd, socket_.get(), self_, *this)) {
        waits_for_ = fd;
        const PySendResult answer = PyIter_Send(iterator_.get(), Py_None, result);
        if (answer == PYGEN_NEXT) {
            state_ = State::waiting;
            return answer;
        }
        if (answer == PYGEN_RETURN) {  // it is done already: a future of somebody else
            Ref::steal(std::exchange(*result, nullptr)).reset();
            (void)python::error(PyExc_RuntimeError, "create_future() returned a future in use");
        }
    }
    finish();
    return PYGEN_ERROR;
}

void SocketOperation::on_fd_ready() noexcept {
    waits_for_ = -1;
    if (state_ != State::waiting || has_done_future()) {
        return;  // cancelled, and the task has not run since
    }
    if (call_.works_when_ready) {
        const int fd = descriptor();
        if (PyErr_Occurred() == nullptr && call_.attempt(*this, fd).would_block &&
            loop_.watches().wait(call_.direction, fd, socket_.get(), self_, *this)) {
            waits_for_ = fd;
            return;
        }
        if (PyErr_Occurred() != nullptr && !loop_.leaves_run()) {
            PyErr_Clear();  // the next try says it again, to the task
        }
    }
    if (!Ref::steal(PyObject_CallMethodOneArg(future_.get(), loop_.state().sockets.set_result.get(),
                                              Py_None))) {
        loop_.report_failure({"Exception in a socket operation"});
    }
}

bool SocketOperation::has_done_future() noexcept {
    const Ref is_done =
        Ref::steal(PyObject_CallMethodNoArgs(future_.get(), loop_.state().sockets.done.get()));
    if (!is_done) {
        loop_.report_failure({"Exception in a socket operation"});
    }
    return is_done.get() == Py_True;
}

int SocketOperation::descriptor() const {
    const Ref number =
        Ref::steal(PyObject_CallMethodNoArgs(socket_.get(), loop_.state().sockets.fileno.get()));
    return number ? static_cast<int>(PyLong_AsLong(number.get())) : -1;
}

bool SocketOperation::require_non_blocking() const {
    const Ref timeout = Ref::steal(PyObject_CallMethod(socket_.get(), "gettimeout", nullptr));
    if (!timeout) {
        return false;
    }
    if (timeout.get() == Py_None || PyObject_IsTrue(timeout.get()) != 0) {
        (void)python::error(PyExc_ValueError, "the socket must be non-blocking");
        return false;
    }
    return true;
}

Ref SocketOperation::raise(PyObject* type, PyObject* value, PyObject* traceback) {
    if (state_ == State::finished) {
        return python::error(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    }
    if (state_ == State::running) {
        return python::error(PyExc_ValueError, "coroutine already executing");
    }
    if (!PyExceptionInstance_Check(type) && !PyExceptionClass_Check(type)) {
        return python::error(PyExc_TypeError,
                             "exceptions must be classes or instances deriving from "
                             "BaseException, not %.200s",
                             Py_TYPE(type)->tp_name);
    }
    finish();
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject(PyExceptionInstance_Class(type), type);
    } else {
        PyErr_SetObject(type, value);
    }
    if (traceback != nullptr && PyTraceBack_Check(traceback)) {
        const Ref exception = take_exception();
        (void)PyException_SetTraceback(exception.get(), traceback);
        set_exception(Ref::borrow(exception.get()));
    }
    return {};
}

bool SocketOperation::close() noexcept {
    if (state_ == State::running) {
        (void)python::error(PyExc_ValueError, "coroutine already executing");
        return false;
    }
    finish();
    return true;
}

void SocketOperation::stop_waiting() noexcept {
    if (waits_for_ >= 0) {
        loop_.watches().stop_waiting(call_.direction, std::exchange(waits_for_, -1), *this);
    }
    iterator_.reset();
    future_.reset();
}

void SocketOperation::finish() noexcept {
    state_ = State::finished;
    stop_waiting();
    view.reset();
    object.reset();
}

void SocketOperation::warn_unless_awaited() noexcept {
    if (state_ != State::created) {
        return;
    }
    const ExceptionKept kept;
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine 'Loop.%s' was never awaited",
                         call_.name) < 0) {
        PyErr_WriteUnraisable(self_);
    }
}

int SocketOperation::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const held :
         {&loop_object_, &socket_, &future_, &iterator_, &object, &address_as_given}) {
        Py_VISIT(held->get());
    }
    if (view) {
        Py_VISIT(view->exporter());
    }
    return 0;
}

void SocketOperation::clear() noexcept {
    // The loop and the socket stay: until it dies, anybody may still call its methods.
    finish();
    address_as_given.reset();
}

namespace {

PySendResult am_send(PyObject* self, PyObject* value, PyObject** result) noexcept {
    *result = nullptr;
    try {
        return operation_of(self).send(value, result);
    } catch (...) {
        translate_exception();
        return PYGEN_ERROR;
    }
}

/// send() as a method, or next(): what is returned travels in StopIteration.
PyObject* send_value(PyObject* self, PyObject* value) noexcept {
    PyObject* result = nullptr;
    switch (am_send(self, value, &result)) {
        case PYGEN_NEXT: return result;
        case PYGEN_RETURN: {
            const Ref returned = Ref::steal(result);
            // An instance, as a tuple would be taken for its arguments.
            const Ref stop = Ref::steal(PyObject_CallOneArg(PyExc_StopIteration, returned.get()));
            if (stop) {
                PyErr_SetObject(PyExc_StopIteration, stop.get());
            }
            return nullptr;
        }
        case PYGEN_ERROR: break;
    }
    return nullptr;
}

PyObject* iterate_next(PyObject* self) noexcept { return send_value(self, Py_None); }

PyObject* await_self(PyObject* self) noexcept { return Ref::borrow(self).release(); }

Ref send(OperationObject& self, PyObject* value) {
    return Ref::steal(send_value(reinterpret_cast<PyObject*>(&self), value));
}

Ref throw_into(OperationObject& self, const CallArguments& arguments) {
    static constexpr Signature<3> k_signature{
        "throw",
        {"typ", "val", "tb"},
        {Parameter::required, Parameter::optional, Parameter::optional}};
    const auto bound = k_signature.bind(arguments);
    return bound ? self.operation.raise((*bound)[0], (*bound)[1], (*bound)[2]) : Ref{};
}

Ref close(OperationObject& self) { return as_none(self.operation.close()); }

Ref name(OperationObject& self) { return Ref::steal(PyUnicode_FromString(self.operation.name())); }

Ref qualified_name(OperationObject& self) {
    return Ref::steal(PyUnicode_FromFormat("Loop.%s", self.operation.name()));
}

Ref awaited(OperationObject& self) { return or_none(self.operation.future()); }

Ref frame(OperationObject& /*self*/) { return Ref::none(); }

Ref is_running(OperationObject& self) { return as_bool(self.operation.is_running()); }

Ref is_suspended(OperationObject& self) { return as_bool(self.operation.is_suspended()); }

Ref coroutine_state(OperationObject& self) {
    const SocketOperation& operation = self.operation;
    return as_coroutine_state(operation.is_created(), operation.is_running(),
                              operation.is_suspended());
}

PyObject* describe(PyObject* self) noexcept {
    return PyUnicode_FromFormat("<coroutine object Loop.%s at %p>", operation_of(self).name(),
                                self);
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(self));
    return operation_of(self).traverse(visit, arg);
}

int clear(PyObject* self) noexcept {
    operation_of(self).clear();
    return 0;
}

void finalize(PyObject* self) noexcept { operation_of(self).warn_unless_awaited(); }

void deallocate(PyObject* self) noexcept {
    if (PyObject_CallFinalizerFromDealloc(self) < 0) {
        return;  // a warning filter has brought it back to life
    }
    deallocate_object<OperationObject>(self);
}

PyMethodDef methods[] = {
    make_method<send>("send", "send($self, value, /)\n--\n\nStart or resume the operation."),
    make_method<throw_into>("throw",
                            "throw($self, typ, val=None, tb=None, /)\n--\n\n"
                            "End the operation with an exception; nothing more happens."),
    make_method<close>("close", "close($self, /)\n--\n\nEnd the operation; nothing more happens."),
    {},
};

PyGetSetDef properties[] = {
    make_property<name>("__name__", "The name of the method that made it."),
    make_property<qualified_name>("__qualname__", "The same with its class."),
    // What walks along the chain of those who await asks for all of these.
    make_property<awaited>("cr_await", "The future that it waits for, or None."),
    make_property<frame>("cr_frame", "None: it has no Python code."),
    make_property<is_running>("cr_running", "Whether it is in a try, or asks its future."),
    make_property<is_suspended>("cr_suspended", "Whether it waits."),
    make_property<coroutine_state>("cr_state", "What inspect.getcoroutinestate() says of it."),
    {},
};

PyType_Slot slots[] = {
    {Py_am_await, reinterpret_cast<void*>(&await_self)},
    {Py_am_send, reinterpret_cast<void*>(&am_send)},
    {Py_tp_iternext, reinterpret_cast<void*>(&iterate_next)},
    {Py_tp_repr, reinterpret_cast<void*>(&describe)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_finalize, reinterpret_cast<void*>(&finalize)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate)},
    {0, nullptr},
};

PyType_Spec specification = {
    "epoll._loop.SocketOperation",
    sizeof(OperationObject),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
        Py_TPFLAGS_IMMUTABLETYPE,
    slots,
};

}  // namespace

Ref make_operation(Loop& loop, PyObject* socket, const SocketCall& call) {
    auto* const type = reinterpret_cast<PyTypeObject*>(loop.state().sockets.operation_type.get());
    Ref self = Ref::steal(reinterpret_cast<PyObject*>(PyObject_GC_New(OperationObject, type)));
    if (self) {
        new (&operation_of(self.get())) SocketOperation(self.get(), loop, socket, call);
        PyObject_GC_Track(self.get());
    }
    return self;
}

int SocketState::traverse(visitproc visit, void* arg) const noexcept {
    Py_VISIT(operation_type.get());
    Py_VISIT(family.get());
    Py_VISIT(kind.get());
    Py_VISIT(protocol.get());
    return 0;
}

void SocketState::clear() noexcept { *this = SocketState{}; }

bool add_socket_operation_type(PyObject* module, LoopState& state) {
    const auto intern = [](Ref& name, const char* text) {
        name = Ref::steal(PyUnicode_InternFromString(text));
        return static_cast<bool>(name);
    };
    auto* const base = reinterpret_cast<PyTypeObject*>(state.socket_type.get())->tp_base;
    const auto take_attribute = [base](Ref& attribute, const char* text) {
        attribute = Ref::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(base), text));
        return static_cast<bool>(attribute);
    };
    SocketState& sockets = state.sockets;
    sockets.operation_type = Ref::steal(PyType_FromModuleAndSpec(module, &specification, nullptr));
    return sockets.operation_type && intern(sockets.create_future, "create_future") &&
           intern(sockets.done, "done") && intern(sockets.set_result, "set_result") &&
           intern(sockets.fileno, "fileno") && take_attribute(sockets.family, "family") &&
           take_attribute(sockets.kind, "type") && take_attribute(sockets.protocol, "proto");
}

}  // namespace epoll::python
