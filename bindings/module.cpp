// epoll._core: the table of contents. What each part is stands in its own file.

#include <array>
#include <new>

#include "errors.hpp"
#include "low_level.hpp"
#include "module_state.hpp"

namespace epoll::python {

namespace {

constexpr std::array k_parts{&add_constants,          &add_epoll_type,      &add_event_batch_types,
                             &add_selector_base_type, &add_connection_type, &add_server_type};

int execute(PyObject* module) noexcept {
    try {
        ModuleState& state = *::new (PyModule_GetState(module)) ModuleState{};
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

PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    "epoll._core",
    "The compiled half of the package epoll. Import the names from epoll.",
    sizeof(ModuleState),
    low_level_functions(),
    slots,
    [](PyObject* module, visitproc visit, void* arg) {
        return ModuleState::of(module).traverse(visit, arg);
    },
    [](PyObject* module) {
        ModuleState::of(module).clear();
        return 0;
    },
    [](void* module) { ModuleState::of(static_cast<PyObject*>(module)).~ModuleState(); },
};

}  // namespace epoll::python

PyMODINIT_FUNC PyInit__core() { return PyModuleDef_Init(&epoll::python::module_definition); }
