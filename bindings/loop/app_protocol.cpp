#include "app_protocol.hpp"

#include "loop_state.hpp"

namespace epoll::python {

bool AppProtocol::set(const LoopState& state, PyObject* protocol) {
    state_ = &state;
    reset();
    object_ = Ref::borrow(protocol);
    native_ = native_protocol_of(state, protocol);
    if (native_ != nullptr) {
        return true;
    }
    const int is_buffered = PyObject_IsInstance(protocol, state.buffered_protocol_type.get());
    if (is_buffered <= 0) {
        return is_buffered == 0;
    }
    get_buffer_ = Ref::steal(PyObject_GetAttr(protocol, state.streams.get_buffer.get()));
    if (!get_buffer_ && PyErr_ExceptionMatches(PyExc_AttributeError) != 0) {
        PyErr_Clear();  // the call, when it comes, raises it
    }
    return PyErr_Occurred() == nullptr;
}

void AppProtocol::reset() noexcept {
    native_ = nullptr;
    get_buffer_.reset();
    object_.reset();
}

bool AppProtocol::call(const Ref& name) {
    const Ref object = Ref::borrow(object_.get());
    return static_cast<bool>(call_method(name, object.get()));
}

bool AppProtocol::connection_made(PyObject* transport) {
    if (native_ != nullptr) {
        return native_->on_connection_made(transport);
    }
    const Ref object = Ref::borrow(object_.get());
    return static_cast<bool>(call_method(state_->tls.connection_made, object.get(), transport));
}

bool AppProtocol::data_received(PyObject* bytes) {
    const Ref object = Ref::borrow(object_.get());
    return static_cast<bool>(call_method(state_->streams.data_received, object.get(), bytes));
}

Ref AppProtocol::get_buffer(std::size_t size_hint) {
    const Ref hint = Ref::steal(PyLong_FromSize_t(size_hint));
    const Ref method = Ref::borrow(get_buffer_.get());
    return hint ? Ref::steal(PyObject_CallOneArg(method.get(), hint.get())) : Ref{};
}

bool AppProtocol::buffer_updated(std::size_t count) {
    const Ref object = Ref::borrow(object_.get());
    const Ref number = Ref::steal(PyLong_FromSize_t(count));
    return number && call_method(state_->streams.buffer_updated, object.get(), number.get());
}

int AppProtocol::eof_received() {
    if (native_ != nullptr) {
        return native_->on_eof();
    }
    const Ref object = Ref::borrow(object_.get());
    const Ref answer = call_method(state_->streams.eof_received, object.get());
    return answer ? PyObject_IsTrue(answer.get()) : -1;
}

bool AppProtocol::pause_writing() {
    return native_ != nullptr ? native_->on_pause_writing() : call(state_->streams.pause_writing);
}

bool AppProtocol::resume_writing() {
    return native_ != nullptr ? native_->on_resume_writing() : call(state_->streams.resume_writing);
}

int AppProtocol::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* const held : {&object_, &get_buffer_}) {
        Py_VISIT(held->get());
    }
    return 0;
}

}  // namespace epoll::python
