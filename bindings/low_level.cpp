#include "low_level.hpp"

#include <epoll/base/owned_fd.hpp>
#include <epoll/poll/poller.hpp>

#include "constants.hpp"
#include "convert.hpp"
#include "interruptible_wait.hpp"
#include "method.hpp"
#include "module_state.hpp"
#include "registration_table.hpp"
#include "reports.hpp"

namespace epoll::python {

namespace {

constexpr Signature<1> k_create{"create", {"flags"}, {Parameter::optional}};
constexpr Signature<4> k_ctl{
    "ctl",
    {"epfd", "fd", "op", "events"},
    {Parameter::required, Parameter::required, Parameter::required, Parameter::optional}};
constexpr Signature<3> k_wait{"wait",
                              {"epfd", "maxevents", "timeout_ms"},
                              {Parameter::required, Parameter::optional, Parameter::optional}};

Ref create(ModuleState& /*state*/, const CallArguments& call) {
    const auto bound = k_create.bind(call);
    if (!bound) {
        return {};
    }
    const auto [flags] = *bound;
    if (flags != nullptr) {
        const auto number = to_int(flags);
        if (!number) {
            return {};
        }
        if ((*number & ~k_cloexec) != 0) {
            return os_error(EINVAL);  // the answer of epoll_create1(2)
        }
    }
    const IoResult created = kernel::create();
    if (!created.ok()) {
        return os_error(created.error);
    }
    OwnedFd fd{static_cast<int>(created.count)};
    Ref number = Ref::steal(PyLong_FromLong(fd.get()));
    if (number) {
        (void)fd.release();
    }
    return number;
}

Ref ctl(ModuleState& /*state*/, const CallArguments& call) {
    const auto bound = k_ctl.bind(call);
    if (!bound) {
        return {};
    }
    const auto epoll_fd = to_fd((*bound)[0]);
    const auto fd = epoll_fd ? to_fd((*bound)[1]) : std::nullopt;
    const auto operation = fd ? to_int((*bound)[2]) : std::nullopt;
    if (!operation) {
        return {};
    }
    const auto events = (*bound)[3] == nullptr ? Events::none : to_events((*bound)[3]);
    if (!events) {
        return {};
    }
    const int failure =
        kernel::control(*epoll_fd, kernel::Operation{*operation}, *fd, *events, make_token(*fd, 0));
    return failure == 0 ? Ref::none() : os_error(failure);
}

Ref wait(ModuleState& state, const CallArguments& call) {
    const auto bound = k_wait.bind(call);
    if (!bound) {
        return {};
    }
    const auto epoll_fd = to_fd((*bound)[0]);
    const auto maxevents = epoll_fd ? to_maxevents((*bound)[1]) : std::nullopt;
    const auto timeout = maxevents ? to_timeout_milliseconds((*bound)[2]) : std::nullopt;
    if (!timeout) {
        return {};
    }
    const WaitBuffer::Lease lease{state.buffer, *maxevents};
    auto count = take_ready(*epoll_fd, lease.room());
    if (count && *count == 0 && !timeout->is_none()) {
        count = wait_interruptibly(*epoll_fd, lease.room(), *timeout);
    }
    if (!count) {
        return {};
    }
    return make_report_list(lease.room().first(*count), [](const Ready& report) {
        return make_report(fd_of(report.token), report.events);
    });
}

Ref close(ModuleState& /*state*/, PyObject* number) {
    const auto fd = to_int(number);
    if (!fd) {
        return {};
    }
    if (*fd < 0) {
        return os_error(EBADF);
    }
    const int failure = OwnedFd{*fd}.close();
    return failure == 0 ? Ref::none() : os_error(failure);
}

constexpr const char* k_create_text =
    "create(flags=0)\n--\n\n"
    "Open an epoll instance and return its file descriptor, which close() must close.\n"
    "\n"
    "The descriptor is always close-on-exec (PEP 446); the only flag there is,\n"
    "EPOLL_CLOEXEC, may be given as well. Any thread may use the descriptor.\n"
    "\n"
    "Raises OSError: EINVAL for another flag, EMFILE or ENFILE when the process or the\n"
    "system has no descriptor left, ENOMEM. See epoll_create1(2).";

constexpr const char* k_ctl_text =
    "ctl(epfd, fd, op, events=0)\n--\n\n"
    "Add, change or remove the registration of fd in the epoll instance epfd.\n"
    "\n"
    "op is EPOLL_CTL_ADD, EPOLL_CTL_MOD or EPOLL_CTL_DEL; events is a mask of EPOLL*\n"
    "bits, 0 to 2**32 - 1, and ignored by EPOLL_CTL_DEL. A file object (anything with\n"
    "fileno()) may stand for either descriptor. Any thread may call this, also while\n"
    "another one waits.\n"
    "\n"
    "Remove a descriptor before you close it: the kernel watches the open file, which a\n"
    "dup() or a forked child may keep open.\n"
    "\n"
    "Raises OSError: FileExistsError (EEXIST), FileNotFoundError (ENOENT),\n"
    "PermissionError (EPERM, the file cannot be watched: a regular file or a directory),\n"
    "EBADF, EINVAL, ELOOP, ENOSPC, ENOMEM; OverflowError for a mask out of range.\n"
    "See epoll_ctl(2).";

constexpr const char* k_wait_text =
    "wait(epfd, maxevents=-1, timeout_ms=-1)\n--\n\n"
    "Wait for events and return a list of (fd, events) tuples of ints.\n"
    "\n"
    "maxevents bounds the list; -1 is FD_SETSIZE - 1. timeout_ms is in milliseconds: 0\n"
    "returns at once what is ready, a negative number or None waits without end. The\n"
    "list is empty when the time is over. Other threads run while it sleeps. A signal\n"
    "does not end the wait, unless its handler raises (PEP 475).\n"
    "\n"
    "Raises OSError: EBADF, or EINVAL when epfd is no epoll instance or maxevents too\n"
    "large for the kernel; ValueError for maxevents of 0 or below -1; MemoryError.\n"
    "See epoll_wait(2).";

constexpr const char* k_close_text =
    "close(epfd, /)\n--\n\n"
    "Close a file descriptor of create().\n"
    "\n"
    "Only an int is taken: objects that own their descriptor close it themselves. No\n"
    "thread may be waiting on the descriptor; it would not wake up.\n"
    "\n"
    "Raises OSError: EBADF. See close(2).";

}  // namespace

PyMethodDef* low_level_functions() noexcept {
    static PyMethodDef functions[] = {
        make_method<create>("create", k_create_text),
        make_method<ctl>("ctl", k_ctl_text),
        make_method<wait>("wait", k_wait_text),
        make_method<close>("close", k_close_text),
        {nullptr, nullptr, 0, nullptr},
    };
    return functions;
}

}  // namespace epoll::python
