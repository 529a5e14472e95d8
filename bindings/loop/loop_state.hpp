#pragma once

#include <mutex>
#include <vector>

#include <epoll/base/intrusive_list.hpp>

#include "../python.hpp"
#include "../ref.hpp"
#include "context_cache.hpp"
#include "handle_pool.hpp"
#include "socket_state.hpp"
#include "stream_state.hpp"
#include "tls_state.hpp"

namespace epoll::python {

class Loop;
struct LiveTag;

/// Where asyncio.Handle and asyncio.TimerHandle keep their slots: offsets in bytes, asked of the
/// classes themselves when the module is imported, as they are Python code and not a C struct.
struct HandleLayout {
    Py_ssize_t callback, args, cancelled, loop, source_traceback, repr, context;
    Py_ssize_t when, scheduled;  ///< of TimerHandle only
    Py_ssize_t lock;             ///< of _ThreadSafeHandle only
};

/// Everything that would be static elsewhere in the module epoll._loop: each interpreter that
/// imports it has its own. What is borrowed from asyncio is looked up once, at import.
struct LoopState {
    // Ours.
    Ref loop_type;
    Ref handle_type;
    Ref timer_handle_type;
    Ref threadsafe_handle_type;  ///< empty where asyncio has no such class: before 3.14
    Ref socket_transport_type;
    Ref datagram_transport_type;
    Ref read_pipe_type;
    Ref write_pipe_type;
    Ref stream_reader_type;
    Ref stream_protocol_type;
    Ref stream_writer_type;
    Ref read_operation_type;  ///< what the coroutines of the native reader are

    // asyncio's, and the standard library's.
    Ref future_type;             ///< asyncio.Future, the compiled one
    Ref task_type;               ///< asyncio.Task, the compiled one
    Ref futures_module;          ///< asyncio.futures, where a program may replace Future
    Ref tasks_module;            ///< asyncio.tasks, where a program may replace Task
    Ref lock_type;               ///< threading's RLock, the compiled one
    Ref buffered_protocol_type;  ///< asyncio.BufferedProtocol
    Ref transport_socket_type;   ///< asyncio.trsock.TransportSocket
    Ref socket_type;             ///< socket.socket
    Ref cancelled_error;         ///< asyncio.CancelledError
    Ref support;                 ///< the module epoll._loop_support: the cold half, in Python

    // Made once.
    Ref context_name;  ///< "context", interned, as the names of keyword arguments are
    Ref name_name;     ///< "name"
    Ref loop_name;     ///< "loop"
    Ref future_name;   ///< "Future"
    Ref task_name;     ///< "Task"
    Ref no_arguments;  ///< ()
    Ref datagram_received_name;
    Ref error_received_name;

    HandleLayout layout{};
    ContextLayout contexts;
    SocketState sockets;
    StreamState streams;
    TlsState tls;

    /// What follows uses the types: it is declared, and thus destroyed, in this order.
    HandlePool handles;
    HandlePool timer_handles;
    HandlePool threadsafe_handles;

    /// For the child of a fork.
    std::mutex loops_mutex;
    IntrusiveList<Loop, LiveTag> loops;  ///< guarded by loops_mutex

    /// The docstring of create_task(), a str: its signature is another one in each Python.
    Ref create_task_text;

    /// Method tables must outlive their types.
    std::vector<PyMethodDef> loop_methods;

    [[nodiscard]] HandlePool& pool(HandleKind kind) noexcept {
        switch (kind) {
            case HandleKind::timer: return timer_handles;
            case HandleKind::threadsafe: return threadsafe_handles;
            case HandleKind::plain: break;
        }
        return handles;
    }

    /// The state of a module object of ours.
    [[nodiscard]] static LoopState& of(PyObject* module) noexcept;

    /// The state of the module that made `type`, or a base class of it.
    [[nodiscard]] static LoopState& of_type(PyTypeObject* type) noexcept;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;
};

/// What PyInit__loop hands to the interpreter; it also identifies the module.
extern PyModuleDef loop_module_definition;

// What the module consists of, in this order. Each function makes its types and keeps them in the
// state; false with an exception set when that fails.
bool add_asyncio_names(PyObject* module, LoopState& state);
bool add_handle_types(PyObject* module, LoopState& state);
bool add_loop_type(PyObject* module, LoopState& state);
bool add_socket_transport_type(PyObject* module, LoopState& state);
bool add_tls_transport_type(PyObject* module, LoopState& state);
bool add_datagram_transport_type(PyObject* module, LoopState& state);
bool add_pipe_types(PyObject* module, LoopState& state);
bool add_stream_types(PyObject* module, LoopState& state);
bool add_socket_operation_type(PyObject* module, LoopState& state);

// The methods of Loop are written in several files; each appends its own.
void append_scheduling_methods(std::vector<PyMethodDef>& methods,
                               const char* create_task_text);      ///< call_soon, call_at …
void append_watch_methods(std::vector<PyMethodDef>& methods);      ///< add_reader …
void append_socket_methods(std::vector<PyMethodDef>& methods);     ///< sock_recv …
void append_transport_methods(std::vector<PyMethodDef>& methods);  ///< transports and accepting
void append_pipe_methods(std::vector<PyMethodDef>& methods);       ///< transports of pipes
void append_observing_methods(std::vector<PyMethodDef>& methods);  ///< what a loop shows of itself

}  // namespace epoll::python
