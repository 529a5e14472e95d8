#include "constants.hpp"

#include <fcntl.h>

#include <epoll/poll/events.hpp>
#include <epoll/poll/poller.hpp>

#include "module_state.hpp"

namespace epoll::python {

static_assert(k_cloexec == O_CLOEXEC);

namespace {

struct Constant {
    const char* name;
    long long value;
};

constexpr Constant k_constants[] = {
    {"EPOLLIN", bits(Events::readable)},
    {"EPOLLPRI", bits(Events::priority)},
    {"EPOLLOUT", bits(Events::writable)},
    {"EPOLLERR", bits(Events::error)},
    {"EPOLLHUP", bits(Events::hang_up)},
    // Of the streams of System V: the kernel reports them as it does EPOLLIN and EPOLLOUT.
    {"EPOLLRDNORM", 0x040},
    {"EPOLLRDBAND", 0x080},
    {"EPOLLWRNORM", 0x100},
    {"EPOLLWRBAND", 0x200},
    {"EPOLLMSG", 0x400},
    {"EPOLLRDHUP", bits(Events::peer_finished)},
    {"EPOLLEXCLUSIVE", bits(Events::exclusive)},
    {"EPOLLWAKEUP", bits(Events::wake_up)},
    {"EPOLLONESHOT", bits(Events::one_shot)},
    {"EPOLLET", bits(Events::edge_triggered)},
    {"EPOLL_CLOEXEC", k_cloexec},
    {"EPOLL_CTL_ADD", static_cast<long long>(kernel::Operation::add)},
    {"EPOLL_CTL_DEL", static_cast<long long>(kernel::Operation::remove)},
    {"EPOLL_CTL_MOD", static_cast<long long>(kernel::Operation::modify)},
};

}  // namespace

bool add_constants(PyObject* module, ModuleState& /*state*/) {
    for (const auto& [name, value] : k_constants) {
        const Ref number = Ref::steal(PyLong_FromLongLong(value));
        if (!number || PyModule_AddObjectRef(module, name, number.get()) < 0) {
            return false;
        }
    }
    return true;
}

}  // namespace epoll::python
