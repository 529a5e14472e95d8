#include "loop_state.hpp"

#include <array>

namespace epoll::python {

namespace {

template <class State>
auto held_by(State& state) noexcept {
    return std::array{&state.loop_type,
                      &state.handle_type,
                      &state.timer_handle_type,
                      &state.threadsafe_handle_type,
                      &state.socket_transport_type,
                      &state.datagram_transport_type,
                      &state.read_pipe_type,
                      &state.write_pipe_type,
                      &state.stream_reader_type,
                      &state.stream_protocol_type,
                      &state.stream_writer_type,
                      &state.read_operation_type,
                      &state.future_type,
                      &state.task_type,
                      &state.futures_module,
                      &state.tasks_module,
                      &state.lock_type,
                      &state.buffered_protocol_type,
                      &state.transport_socket_type,
                      &state.socket_type,
                      &state.cancelled_error,
                      &state.support};
}

}  // namespace

LoopState& LoopState::of(PyObject* module) noexcept {
    return *static_cast<LoopState*>(PyModule_GetState(module));
}

LoopState& LoopState::of_type(PyTypeObject* type) noexcept {
    return of(PyType_GetModuleByDef(type, &loop_module_definition));
}

int LoopState::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* object : held_by(*this)) {
        Py_VISIT(object->get());
    }
    for (const HandlePool* pool : {&handles, &timer_handles, &threadsafe_handles}) {
        if (const int stopped = pool->traverse(visit, arg); stopped != 0) {
            return stopped;
        }
    }
    const int stopped = streams.traverse(visit, arg);
    return stopped != 0 ? stopped : tls.traverse(visit, arg);
}

void LoopState::clear() noexcept {
    handles.close();
    timer_handles.close();
    threadsafe_handles.close();
    for (Ref* object : held_by(*this)) {
        object->reset();
    }
    streams.clear();
    tls.clear();
}

}  // namespace epoll::python
