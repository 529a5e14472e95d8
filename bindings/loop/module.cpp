// epoll._loop: the table of contents. What each part is stands in its own file.

#include <array>
#include <new>

#include "../errors.hpp"
#include "loop.hpp"
#include "loop_state.hpp"

namespace epoll::python {

namespace {

constexpr std::array k_parts{&add_asyncio_names,
                             &add_handle_types,
                             &add_loop_type,
                             &add_socket_transport_type,
                             &add_tls_transport_type,
                             &add_datagram_transport_type,
                             &add_pipe_types,
                             &add_stream_types,
                             &add_socket_operation_type};

int execute(PyObject* module) noexcept {
    try {
        LoopState& state = *::new (PyModule_GetState(module)) LoopState{};
        for (const auto add : k_parts) {
            if (!add(module, state)) {
                return -1;
            }
        }
        return 0;
    } catch (...) {
        translate_exception();
        return -1;
    }
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(&execute)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

}  // namespace

PyModuleDef loop_module_definition = {
    PyModuleDef_HEAD_INIT,
    "epoll._loop",
    "The native half of the event loop. Import the names from epoll.",
    sizeof(LoopState),
    nullptr,
    slots,
    [](PyObject* module, visitproc visit, void* arg) {
        return LoopState::of(module).traverse(visit, arg);
    },
    [](PyObject* module) {
        LoopState::of(module).clear();
        return 0;
    },
    [](void* module) { LoopState::of(static_cast<PyObject*>(module)).~LoopState(); },
};

}  // namespace epoll::python

PyMODINIT_FUNC PyInit__loop() { return PyModuleDef_Init(&epoll::python::loop_module_definition); }
