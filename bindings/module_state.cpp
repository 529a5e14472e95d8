#include "module_state.hpp"

#include <array>

namespace epoll::python {

ModuleState& ModuleState::of(PyObject* module) noexcept {
    return *static_cast<ModuleState*>(PyModule_GetState(module));
}

ModuleState& ModuleState::of_type(PyTypeObject* type) noexcept {
    return of(PyType_GetModuleByDef(type, &module_definition));
}

int ModuleState::traverse(visitproc visit, void* arg) const noexcept {
    for (const Ref* type : {&epoll_type, &event_batch_type, &event_batch_iterator_type,
                            &selector_base_type, &busy_poll_type, &connection_type, &server_type}) {
        Py_VISIT(type->get());
    }
    return 0;
}

void ModuleState::clear() noexcept {
    for (Ref* type : {&epoll_type, &event_batch_type, &event_batch_iterator_type,
                      &selector_base_type, &busy_poll_type, &connection_type, &server_type}) {
        type->reset();
    }
}

Ref make_type(PyObject* module, PyType_Spec& spec, PyObject* base) {
    return Ref::steal(PyType_FromModuleAndSpec(module, &spec, base));
}

}  // namespace epoll::python
