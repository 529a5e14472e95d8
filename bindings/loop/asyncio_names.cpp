#include <initializer_list>

#include "loop_state.hpp"

namespace epoll::python {

namespace {

struct Name {
    Ref& place;
    const char* name;
};

bool take(const char* module_name, std::initializer_list<Name> names) noexcept {
    const Ref module = Ref::steal(PyImport_ImportModule(module_name));
    if (!module) {
        return false;
    }
    for (const Name& wanted : names) {
        wanted.place = Ref::steal(PyObject_GetAttrString(module.get(), wanted.name));
        if (!wanted.place) {
            return false;
        }
    }
    return true;
}

bool intern(std::initializer_list<Name> names) noexcept {
    for (const Name& wanted : names) {
        wanted.place = Ref::steal(PyUnicode_InternFromString(wanted.name));
        if (!wanted.place) {
            return false;
        }
    }
    return true;
}

}  // namespace

bool add_asyncio_names(PyObject* /*module*/, LoopState& state) {
    state.support = Ref::steal(PyImport_ImportModule("epoll._loop_support"));
    state.futures_module = Ref::steal(PyImport_ImportModule("asyncio.futures"));
    state.tasks_module = Ref::steal(PyImport_ImportModule("asyncio.tasks"));
    state.no_arguments = Ref::steal(PyTuple_New(0));
    return state.support && state.futures_module && state.tasks_module && state.no_arguments &&
           take("asyncio", {{state.future_type, "Future"},
                            {state.task_type, "Task"},
                            {state.buffered_protocol_type, "BufferedProtocol"},
                            {state.cancelled_error, "CancelledError"}}) &&
           take("asyncio.trsock", {{state.transport_socket_type, "TransportSocket"}}) &&
           take("socket", {{state.socket_type, "socket"}}) &&
           take("_thread", {{state.lock_type, "RLock"}}) &&
           intern({{state.context_name, "context"},
                   {state.name_name, "name"},
                   {state.loop_name, "loop"},
                   {state.future_name, "Future"},
                   {state.task_name, "Task"},
                   {state.datagram_received_name, "datagram_received"},
                   {state.error_received_name, "error_received"}});
}

}  // namespace epoll::python
