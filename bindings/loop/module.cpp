// epoll._loop: the table of contents. What each part is stands in its own file.

#include "../module.hpp"

#include "loop.hpp"
#include "loop_state.hpp"

namespace epoll::python {

PyModuleDef loop_module_definition =
    define_module<LoopState, &add_asyncio_names, &add_handle_types, &add_loop_type,
                  &add_socket_transport_type, &add_tls_transport_type, &add_datagram_transport_type,
                  &add_pipe_types, &add_stream_types, &add_socket_operation_type>(
        "epoll._loop", "The native half of the event loop. Import the names from epoll.", nullptr);

}  // namespace epoll::python

PyMODINIT_FUNC PyInit__loop() { return PyModuleDef_Init(&epoll::python::loop_module_definition); }
