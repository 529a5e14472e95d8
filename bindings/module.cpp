// epoll._core: the table of contents. What each part is stands in its own file.

#include "module.hpp"

#include "low_level.hpp"
#include "module_state.hpp"

namespace epoll::python {

PyModuleDef module_definition =
    define_module<ModuleState, &add_constants, &add_epoll_type, &add_event_batch_types,
                  &add_selector_base_type, &add_connection_type, &add_server_type>(
        "epoll._core", "The compiled half of the package epoll. Import the names from epoll.",
        low_level_functions());

}  // namespace epoll::python

PyMODINIT_FUNC PyInit__core() { return PyModuleDef_Init(&epoll::python::module_definition); }
