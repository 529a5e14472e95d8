#include "stream_protocol.hpp"

#include <utility>

#include "../errors.hpp"
#include "loop.hpp"
#include "stream_reader.hpp"
#include "stream_writer.hpp"
#include "tls_transport.hpp"

namespace epoll::python {

namespace {

/// What a weak reference refers to; empty, without an exception, when that is gone.
Ref strong(PyObject* weak) noexcept {
#if PY_VERSION_HEX >= 0x030D0000
    PyObject* object = nullptr;
    (void)PyWeakref_GetRef(weak, &object);
    return Ref::steal(object);
#else
    PyObject* const object = PyWeakref_GET_OBJECT(weak);  // the GIL keeps it for the moment
    return Py_IsNone(object) ? Ref{} : Ref::borrow(object);
#endif
}

/// A call of call_exception_handler() with asyncio's entries.
bool report_unhandled(const StreamState& names, PyObject* loop, PyObject* exception,
                      PyObject* transport) noexcept {
    const Ref context = Ref::steal(Py_BuildValue("{sssOsO}", "message",
                                                 "Unhandled exception in client_connected_cb",
                                                 "exception", exception, "transport", transport));
    return context && call_method(names.call_exception_handler, loop, context.get());
}

/// What is done when the task of a client_connected_cb is: `self` is (module, loop, transport).
PyObject* on_task_done(PyObject* self, PyObject* task) noexcept {
    const StreamState& names = LoopState::of(PyTuple_GET_ITEM(self, 0)).streams;
    PyObject* const loop = PyTuple_GET_ITEM(self, 1);
    PyObject* const transport = PyTuple_GET_ITEM(self, 2);
    const Answer cancelled = names.closes_when_cancelled ? ask(names.cancelled, task) : Answer::no;
    if (cancelled == Answer::failed) {
        return nullptr;
    }
    if (cancelled == Answer::no) {
        const Ref exception = call_method(names.exception, task);
        if (!exception || Py_IsNone(exception.get())) {
            return exception ? Ref::none().release() : nullptr;
        }
        if (!report_unhandled(names, loop, exception.get(), transport)) {
            return nullptr;
        }
    }
    return call_method(names.close, transport) ? Ref::none().release() : nullptr;
}

PyMethodDef task_done = {"client_connected_cb_done", &on_task_done, METH_O, nullptr};

}  // namespace

bool StreamProtocol::start(PyObject* reader, PyObject* given_callback, PyObject* loop_) noexcept {
    loop = loop_or_current(loop_);
    if (!loop) {
        return false;
    }
    weak_reader_.reset();
    source_traceback.reset();
    if (reader != nullptr) {
        weak_reader_ = Ref::steal(PyWeakref_NewRef(reader, nullptr));
        if (!weak_reader_) {
            return false;
        }
        source_traceback = Ref::borrow(reader_of(reader).source_traceback.get());
    }
    callback = Ref::borrow(given_callback);
    strong_reader = Ref::borrow(callback ? reader : nullptr);
    return true;
}

Ref StreamProtocol::reader() const noexcept {
    return weak_reader_ ? strong(weak_reader_.get()) : Ref{};
}

bool StreamProtocol::set_weak_reader(PyObject* reference) noexcept {
    const Ref given =
        reference != nullptr && PyWeakref_CheckRef(reference) ? strong(reference) : Ref{};
    if (reference != nullptr && (!given || !is_one_of(state_.stream_reader_type, given.get()))) {
        (void)error(PyExc_TypeError, "_stream_reader_wr must refer to an epoll StreamReader");
        return false;
    }
    weak_reader_ = Ref::borrow(reference);
    return true;
}

bool StreamProtocol::on_connection_made(PyObject* made) {
    const StreamState& names = state_.streams;
    if (rejects_connection) {  // rare, and asyncio's own method says it
        return static_cast<bool>(Ref::steal(
            PyObject_CallFunctionObjArgs(names.connection_made.get(), self_, made, nullptr)));
    }
    transport = Ref::borrow(made);
    const Ref to_reader = reader();
    if (to_reader && !set_transport(reader_of(to_reader.get()), made)) {
        return false;
    }
    const Ref name = Ref::steal(PyUnicode_FromString("sslcontext"));
    const Ref tls = name ? call_method(names.get_extra_info, made, name.get()) : Ref{};
    if (!tls) {
        return false;
    }
    is_over_tls = !Py_IsNone(tls.get());
    if (callback) {
        if (!call_back(to_reader.get())) {
            return false;
        }
        strong_reader.reset();
    }
    return true;
}

bool StreamProtocol::call_back(PyObject* to_reader) {
    const Ref to_writer = make_writer(state_, transport.get(), self_, to_reader, loop.get());
    if (!to_writer) {
        return false;
    }
    if (state_.streams.keeps_writer) {
        writer = Ref::borrow(to_writer.get());
    }
    const Ref function = Ref::borrow(callback.get());
    const Ref answer = Ref::steal(PyObject_CallFunctionObjArgs(
        function.get(), to_reader == nullptr ? Py_None : to_reader, to_writer.get(), nullptr));
    if (!answer) {
        return state_.streams.catches_callback && PyErr_ExceptionMatches(PyExc_Exception) != 0 &&
               report_callback();
    }
    if (!PyCoro_CheckExact(answer.get())) {
        const Ref is_coroutine =
            Ref::steal(PyObject_CallOneArg(state_.streams.is_coroutine.get(), answer.get()));
        const int is_true = is_coroutine ? PyObject_IsTrue(is_coroutine.get()) : -1;
        if (is_true <= 0) {
            return is_true == 0;
        }
    }
    return start_task(answer.get());
}

/// The callback is a coroutine: it runs as a task, to which the protocol holds a reference.
bool StreamProtocol::start_task(PyObject* coroutine) {
    const Ref for_transport = Ref::borrow(transport.get());
    task = call_method(state_.streams.create_task, loop.get(), coroutine);
    const Ref module = Ref::borrow(PyType_GetModuleByDef(Py_TYPE(self_), &loop_module_definition));
    const Ref context =
        task ? Ref::steal(PyTuple_Pack(3, module.get(), loop.get(),
                                       for_transport ? for_transport.get() : Py_None))
             : Ref{};
    const Ref done = context ? Ref::steal(PyCFunction_New(&task_done, context.get())) : Ref{};
    const Ref for_task = Ref::borrow(task.get());  // it may have ended the connection already
    return done && call_method(state_.streams.add_done_callback, for_task.get(), done.get());
}

/// A plain callback has raised, in a Python version that reports it and closes the connection.
bool StreamProtocol::report_callback() const noexcept {
    const Ref exception = take_exception();
    const Ref made = Ref::borrow(transport ? transport.get() : Py_None);
    return report_unhandled(state_.streams, loop.get(), exception.get(), made.get()) &&
           call_method(state_.streams.close, made.get());
}

std::span<std::byte> StreamProtocol::receive_buffer() {
    const Ref to_reader = reader();
    if (to_reader) {
#ifdef Py_GIL_DISABLED
        receiving_ = Ref::borrow(to_reader.get());
#endif
        return receive_room(reader_of(to_reader.get()));
    }
    if (!loop || !is_one_of(state_.loop_type, loop.get())) {
        (void)error(PyExc_RuntimeError, "the protocol belongs to another loop than its transport");
        return {};
    }
    return loop_of(loop.get()).read_buffer();  // nobody is there to read it
}

bool StreamProtocol::on_data(std::size_t count) {
    const Ref to_reader = reader();
#ifdef Py_GIL_DISABLED
    const Ref received = std::move(receiving_);
#endif
    return !to_reader || feed_received(reader_of(to_reader.get()), count);
}

void StreamProtocol::on_nothing_received() noexcept { receiving_.reset(); }

bool StreamProtocol::on_bytes(std::span<const std::byte> bytes) const {
    const Ref to_reader = reader();
    return !to_reader || feed_data(reader_of(to_reader.get()), bytes);
}

int StreamProtocol::on_eof() {
    const Ref to_reader = reader();
    if (to_reader && !feed_eof(reader_of(to_reader.get()))) {
        return -1;
    }
    return is_over_tls ? 0 : 1;  // TLS has no half-close
}

bool StreamProtocol::on_pause_writing() {
    if (is_paused) {
        (void)error(PyExc_AssertionError, "pause_writing() while paused");
        return false;
    }
    is_paused = true;
    return log("%r pauses writing");
}

bool StreamProtocol::on_resume_writing() {
    if (!is_paused) {
        (void)error(PyExc_AssertionError, "resume_writing() while not paused");
        return false;
    }
    is_paused = false;
    return log("%r resumes writing") && wake_drains(nullptr);
}

bool StreamProtocol::on_connection_lost(PyObject* exception) {
    PyObject* const failure = Py_IsNone(exception) ? nullptr : exception;
    if (!end_reader(failure)) {
        return false;
    }
    lost_exception_ = Ref::borrow(failure);
    connection_lost = true;
    const bool is_told = resolve_closed() && (!is_paused || wake_drains(failure));
    weak_reader_.reset();
    writer.reset();
    task.reset();
    transport.reset();
    return is_told;
}

bool StreamProtocol::end_reader(PyObject* exception) const noexcept {
    const Ref to_reader = reader();
    if (!to_reader) {
        return true;
    }
    StreamReaderObject& ended = reader_of(to_reader.get());
    return exception == nullptr ? feed_eof(ended) : set_exception(ended, exception);
}

Ref StreamProtocol::closed() {
    if (!closed_) {
        closed_ = create_future(state_, loop.get());
        if (!closed_ || (connection_lost && !resolve_closed())) {
            return {};
        }
    }
    return Ref::borrow(closed_.get());
}

bool StreamProtocol::resolve_closed() noexcept {
    if (!closed_) {
        return true;
    }
    const Ref future = Ref::borrow(closed_.get());
    switch (ask(state_.streams.done, future.get())) {
        case Answer::failed: return false;
        case Answer::yes: return true;
        case Answer::no: break;
    }
    return resolve_unless_cancelled(state_, future.get(), lost_exception_.get());
}

void StreamProtocol::forget_failure() noexcept {
    if (!closed_ || !lost_exception_) {
        return;
    }
    const ExceptionKept kept;
    const Ref future = Ref::borrow(closed_.get());
    if (ask(state_.streams.cancelled, future.get()) == Answer::no) {
        const Ref failure = call_method(state_.streams.exception, future.get());
    }
    PyErr_Clear();
}

Ref StreamProtocol::drain_waiters() noexcept {
    if (!drain_waiters_) {
        drain_waiters_ = Ref::steal(PyList_New(0));
    }
    return Ref::borrow(drain_waiters_.get());
}

bool StreamProtocol::wake_drains(PyObject* exception) noexcept {
    if (!drain_waiters_) {
        return true;
    }
    const Ref waiters = Ref::steal(PySequence_Tuple(drain_waiters_.get()));
    for (Py_ssize_t index = 0; waiters && index < PyTuple_GET_SIZE(waiters.get()); ++index) {
        PyObject* const waiter = PyTuple_GET_ITEM(waiters.get(), index);
        const Answer is_done = ask(state_.streams.done, waiter);
        if (is_done == Answer::failed ||
            (is_done == Answer::no && !resolve_unless_cancelled(state_, waiter, exception))) {
            return false;
        }
    }
    return static_cast<bool>(waiters);
}

/// Debug mode logs when writing is paused and resumed.
bool StreamProtocol::log(const char* what) noexcept {
    const Answer is_debug = ask(state_.streams.get_debug, loop.get());
    if (is_debug != Answer::yes) {
        return is_debug == Answer::no;
    }
    return log_debug(state_, what, self_);
}

int StreamProtocol::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const object :
         {&loop, &weak_reader_, &strong_reader, &transport, &callback, &task, &writer,
          &source_traceback, &closed_, &drain_waiters_, &lost_exception_, &receiving_}) {
        Py_VISIT(object->get());
    }
    return 0;
}

void StreamProtocol::clear() noexcept {
    for (Ref* const object :
         {&weak_reader_, &strong_reader, &transport, &callback, &task, &writer, &source_traceback,
          &closed_, &drain_waiters_, &lost_exception_, &receiving_, &loop}) {
        object->reset();
    }
}

NativeProtocol* native_protocol_of(const LoopState& state, PyObject* protocol) noexcept {
    if (Py_IS_TYPE(protocol, reinterpret_cast<PyTypeObject*>(state.tls.transport_type.get()))) {
        return &tls_transport_of(protocol);
    }
    return Py_IS_TYPE(protocol, reinterpret_cast<PyTypeObject*>(state.stream_protocol_type.get()))
               ? &protocol_of(protocol)
               : nullptr;
}

}  // namespace epoll::python
