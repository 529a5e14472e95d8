#include <algorithm>

#include "answers.hpp"
#include "convert.hpp"
#include "epoll_object.hpp"
#include "gil.hpp"
#include "module_state.hpp"
#include "reports.hpp"

// The hot half of epoll.EpollSelector; selectors.BaseSelector's rules are kept in Python. What is
// attached to a descriptor here is its SelectorKey.

namespace epoll::python {

namespace {

constexpr long k_event_read = 1;   // selectors.EVENT_READ
constexpr long k_event_write = 2;  // selectors.EVENT_WRITE

constexpr Events k_rearming = Events::edge_triggered | Events::one_shot;

PyObject* make(PyTypeObject* type, PyObject* /*positional*/, PyObject* /*named*/) noexcept {
    return make_epoll_object(type).release();
}

/// The selectors' view of a report: whatever is not about reading makes writable and the reverse,
/// as far as it was asked for. So an error or a hang-up ends both.
long selector_mask(Events reported, Events wanted) noexcept {
    long mask = 0;
    if (has_any(reported, ~Events::readable) && has_any(wanted, Events::writable)) {
        mask |= k_event_write;
    }
    if (has_any(reported, ~Events::writable) && has_any(wanted, Events::readable)) {
        mask |= k_event_read;
    }
    return mask;
}

/// (key, mask) of a report: the tuple of last time, when it says the same. Empty, without an
/// exception, when the registration is gone.
Ref report_by_key(EpollSet& set, const Ready& report) noexcept {
    Registration* known = set.registrations().find(report.token);
    if (known == nullptr) {
        return {};
    }
    if (known->by_data.pair && known->by_data.events == report.events) {
        return Ref::borrow(known->by_data.pair.get());
    }
    const Ref key = Ref::borrow(known->data.get());
    const long mask = selector_mask(report.events, known->events);
    Ref pair = make_pair(Ref::borrow(key.get()), Ref::steal(PyLong_FromLong(mask)));
    known = set.registrations().find(report.token);  // making it may have run any code
    if (pair && known != nullptr && known->data.get() == key.get()) {
        known->by_data = {report.events, Ref::borrow(pair.get())};
    }
    return pair;
}

std::size_t size_of(EpollObject& self) noexcept {
    const CriticalSection inside{self.as_python()};
    return self.set.registrations().size();
}

constexpr Signature<1> k_select{"select", {"timeout"}, {Parameter::optional}};

Ref select(EpollObject& self, const CallArguments& call) {
    const auto bound = k_select.bind(call);
    const auto timeout = bound ? to_selector_timeout((*bound)[0]) : std::nullopt;
    if (!timeout) {
        return {};
    }
    const WaitBuffer::Lease lease{self.set.buffer(), std::max<std::size_t>(size_of(self), 1)};
    const auto reports = self.set.wait(self.as_python(), lease.room(), *timeout);
    if (!reports) {
        return {};
    }
    const CriticalSection inside{self.as_python()};
    return make_report_list(
        *reports, [&self](const Ready& report) { return report_by_key(self.set, report); });
}

constexpr Signature<3> k_add{"_add",
                             {"fd", "events", "key"},
                             {Parameter::required, Parameter::required, Parameter::required}};
constexpr Signature<3> k_change{"_change",
                                {"fd", "events", "key"},
                                {Parameter::required, Parameter::required, Parameter::required}};

Ref add(EpollObject& self, const CallArguments& call) {
    const auto bound = k_add.bind(call);
    const auto fd = bound ? to_fd((*bound)[0]) : std::nullopt;
    const auto events = fd ? to_events((*bound)[1]) : std::nullopt;
    if (!events) {
        return {};
    }
    Registration dropped;  // after the critical section
    const CriticalSection inside{self.as_python()};
    auto outcome = self.set.add(*fd, *events, Ref::borrow((*bound)[2]));
    dropped = std::move(outcome.dropped);
    return as_none(outcome.done);
}

/// What it takes to have `fd` watched for `events`: nothing, a MOD, or, because the kernel modifies
/// no exclusive registration, a DEL and an ADD.
EpollSet::Outcome change_events(EpollSet& set, int fd, Events events, Ref key) {
    const Registration* const known = set.registrations().find(fd);
    if (known != nullptr && known->events == events && !has_any(events, k_rearming)) {
        return set.attach(fd, std::move(key));
    }
    if (known == nullptr || !has_any(known->events | events, Events::exclusive)) {
        return set.modify(fd, events, std::move(key));
    }
    EpollSet::Outcome removed = set.remove(fd);
    if (!removed.done) {
        return removed;
    }
    const EpollSet::Outcome added = set.add(fd, events, std::move(key));
    return {added.done, std::move(removed.dropped)};
}

Ref change(EpollObject& self, const CallArguments& call) {
    const auto bound = k_change.bind(call);
    const auto fd = bound ? to_fd((*bound)[0]) : std::nullopt;
    const auto events = fd ? to_events((*bound)[1]) : std::nullopt;
    if (!events) {
        return {};
    }
    Registration dropped;  // after the critical section
    const CriticalSection inside{self.as_python()};
    auto outcome = change_events(self.set, *fd, *events, Ref::borrow((*bound)[2]));
    dropped = std::move(outcome.dropped);
    return as_none(outcome.done);
}

Ref remove(EpollObject& self, PyObject* number) {
    const auto fd = to_fd(number);
    if (!fd) {
        return {};
    }
    Registration dropped;  // after the critical section
    const CriticalSection inside{self.as_python()};
    auto outcome = self.set.remove(*fd);
    dropped = std::move(outcome.dropped);
    return as_none(outcome.done);
}

constexpr const char* k_type_text =
    "The compiled half of epoll.EpollSelector: an epoll instance that reports selector keys.";

constexpr const char* k_select_text =
    "select($self, /, timeout=None)\n--\n\n"
    "Wait for events and return a list of (SelectorKey, events) tuples.\n"
    "\n"
    "timeout is in seconds, a real number, rounded up to nanoseconds; None waits without\n"
    "end, 0 and negative numbers return at once what is ready. events is EVENT_READ,\n"
    "EVENT_WRITE or both: an error or a hang-up counts as all that was asked for. The\n"
    "list is empty when the time is over. Tuples that say the same may be the same object.\n"
    "\n"
    "Other threads run while it sleeps. A signal does not end the wait, unless its\n"
    "handler raises (PEP 475).\n"
    "\n"
    "Raises ValueError when closed, also by another thread during the wait, and for NaN;\n"
    "OverflowError for a timeout beyond 292 years; TypeError; MemoryError; OSError.";

constexpr const char* k_add_text =
    "_add($self, /, fd, events, key)\n--\n\nEPOLL_CTL_ADD; select() will report the key.";

constexpr const char* k_change_text =
    "_change($self, /, fd, events, key)\n--\n\n"
    "Watch for other events, by EPOLL_CTL_MOD, by EPOLL_CTL_DEL and EPOLL_CTL_ADD where an\n"
    "exclusive registration is concerned, or by nothing at all when they are the same.";

constexpr const char* k_remove_text =
    "_remove($self, fd, /)\n--\n\nEPOLL_CTL_DEL; the key is dropped even when that fails.";

constexpr const char* k_close_text =
    "close($self, /)\n--\n\n"
    "Close the epoll instance; threads that wait on it wake up with ValueError.";

constexpr const char* k_fileno_text =
    "fileno($self, /)\n--\n\n"
    "Return the descriptor of the epoll instance. ValueError when closed.";

PyMethodDef methods[] = {
    make_method<select>("select", k_select_text),
    make_method<add>("_add", k_add_text),
    make_method<change>("_change", k_change_text),
    make_method<remove>("_remove", k_remove_text),
    make_method<close_epoll_object>("close", k_close_text),
    make_method<fileno_of_epoll_object>("fileno", k_fileno_text),
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(k_type_text)},
    {Py_tp_new, reinterpret_cast<void*>(&make)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse_epoll_object)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear_epoll_object)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<EpollObject>)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {
    "epoll._core.SelectorBase", sizeof(EpollObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    slots};

}  // namespace

bool add_selector_base_type(PyObject* module, ModuleState& state) {
    state.selector_base_type = make_type(module, spec, nullptr);
    return state.selector_base_type &&
           PyModule_AddObjectRef(module, "SelectorBase", state.selector_base_type.get()) == 0;
}

}  // namespace epoll::python
