#pragma once

#include <new>

#include "errors.hpp"
#include "python.hpp"

namespace epoll::python {

/// What happens when a module is executed: its state, a State, is made, then its parts in their
/// order; one that answers false has set an exception.
template <class State, bool (*... parts)(PyObject*, State&)>
struct ModuleSlots {
    static int execute(PyObject* module) noexcept {
        try {
            State& state = *::new (PyModule_GetState(module)) State{};
            return (parts(module, state) && ...) ? 0 : -1;
        } catch (...) {
            translate_exception();
            return -1;
        }
    }

    static inline PyModuleDef_Slot table[] = {
        {Py_mod_exec, reinterpret_cast<void*>(&execute)},
#if PY_VERSION_HEX >= 0x030C0000
        {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
        {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
        {0, nullptr},
    };
};

/// The definition of a module with that state and those parts.
template <class State, bool (*... parts)(PyObject*, State&)>
PyModuleDef define_module(const char* name, const char* text, PyMethodDef* functions) noexcept {
    return {
        PyModuleDef_HEAD_INIT,
        name,
        text,
        sizeof(State),
        functions,
        ModuleSlots<State, parts...>::table,
        [](PyObject* module, visitproc visit, void* arg) {
            return State::of(module).traverse(visit, arg);
        },
        [](PyObject* module) {
            State::of(module).clear();
            return 0;
        },
        [](void* module) { State::of(static_cast<PyObject*>(module)).~State(); },
    };
}

}  // namespace epoll::python
