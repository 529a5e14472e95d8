#pragma once

#include "method.hpp"
#include "python.hpp"
#include "ref.hpp"
#include "wait_buffer.hpp"

namespace epoll::python {

/// Everything that would be static elsewhere: each interpreter that imports the module has its own.
struct ModuleState {
    Ref epoll_type;
    Ref event_batch_type;
    Ref event_batch_iterator_type;
    Ref selector_base_type;
    Ref busy_poll_type;
    Ref connection_type;
    Ref server_type;
    WaitBuffer buffer;  ///< of the function wait()

    /// The state of a module object of ours.
    [[nodiscard]] static ModuleState& of(PyObject* module) noexcept;

    /// The state of the module that made `type`, or a base class of it.
    [[nodiscard]] static ModuleState& of_type(PyTypeObject* type) noexcept;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;
};

template <>
inline ModuleState& self_of<ModuleState>(PyObject* object) noexcept {
    return ModuleState::of(object);
}

/// What PyInit__core hands to the interpreter; it also identifies the module.
extern PyModuleDef module_definition;

// What the module consists of. Each function makes its types, keeps them in the state and adds the
// public ones to the module; false with an exception set when that fails.
bool add_constants(PyObject* module, ModuleState& state);
bool add_epoll_type(PyObject* module, ModuleState& state);
bool add_event_batch_types(PyObject* module, ModuleState& state);
bool add_selector_base_type(PyObject* module, ModuleState& state);
bool add_connection_type(PyObject* module, ModuleState& state);
bool add_server_type(PyObject* module, ModuleState& state);

/// Makes a heap type of `module` from `spec`, deriving from `base` (borrowed) unless that is null.
[[nodiscard]] Ref make_type(PyObject* module, PyType_Spec& spec, PyObject* base);

}  // namespace epoll::python
