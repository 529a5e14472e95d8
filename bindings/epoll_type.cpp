#include <limits>

#include "answers.hpp"
#include "constants.hpp"
#include "convert.hpp"
#include "epoll_object.hpp"
#include "epoll_type_text.hpp"
#include "event_batch.hpp"
#include "gil.hpp"
#include "module_state.hpp"
#include "reports.hpp"

namespace epoll::python {

namespace {

constexpr Events k_default_events = Events::readable | Events::priority | Events::writable;

constexpr Signature<3> k_register{"register",
                                  {"fd", "eventmask", "data"},
                                  {Parameter::required, Parameter::optional, Parameter::optional}};
constexpr Signature<3> k_modify{"modify",
                                {"fd", "eventmask", "data"},
                                {Parameter::required, Parameter::required, Parameter::optional}};
constexpr Signature<1> k_unregister{"unregister", {"fd"}, {Parameter::required}};
constexpr Signature<2> k_poll{
    "poll", {"timeout", "maxevents"}, {Parameter::optional, Parameter::optional}};
constexpr Signature<2> k_wait{
    "wait", {"timeout_ns", "maxevents"}, {Parameter::optional, Parameter::optional}};
constexpr Signature<2> k_wait_into{
    "wait_into", {"batch", "timeout_ns"}, {Parameter::required, Parameter::optional}};
constexpr Signature<3> k_set_busy_poll{
    "set_busy_poll",
    {"usecs", "budget", "prefer"},
    {Parameter::keyword_only, Parameter::keyword_only, Parameter::keyword_only}};

PyObject* make(PyTypeObject* type, PyObject* positional, PyObject* named) noexcept {
    static constexpr const char* k_names[] = {"sizehint", "flags", nullptr};
    int size_hint = -1;
    int flags = 0;
    if (PyArg_ParseTupleAndKeywords(positional, named, "|ii:Epoll", const_cast<char**>(k_names),
                                    &size_hint, &flags) == 0) {
        return nullptr;
    }
    if (size_hint != -1 && size_hint <= 0) {
        return error(PyExc_ValueError, "negative sizehint").release();
    }
    if (flags != 0 && flags != k_cloexec) {
        return error(PyExc_OSError, "invalid flags").release();
    }
    return make_epoll_object(type).release();
}

PyObject* from_fd(PyObject* type, PyObject* number) noexcept {
    const auto fd = to_int(number);
    if (!fd) {
        return nullptr;
    }
    if (*fd < 0) {
        return error(PyExc_ValueError, "file descriptor cannot be a negative integer (%d)", *fd)
            .release();
    }
    return make_epoll_object(reinterpret_cast<PyTypeObject*>(type), OwnedFd{*fd}).release();
}

/// What is attached for `object`: None and nothing at all are the same.
Ref attachment(PyObject* object) noexcept {
    return object == Py_None ? Ref{} : Ref::borrow(object);
}

Ref register_fd(EpollObject& self, const CallArguments& call) {
    const auto bound = k_register.bind(call);
    const auto fd = bound ? to_fd((*bound)[0]) : std::nullopt;
    if (!fd) {
        return {};
    }
    const auto events = (*bound)[1] == nullptr ? k_default_events : to_events((*bound)[1]);
    if (!events) {
        return {};
    }
    Registration dropped;  // after the critical section
    const CriticalSection inside{self.as_python()};
    auto outcome = self.set.add(*fd, *events, attachment((*bound)[2]));
    dropped = std::move(outcome.dropped);
    return as_none(outcome.done);
}

Ref modify_fd(EpollObject& self, const CallArguments& call) {
    const auto bound = k_modify.bind(call);
    const auto fd = bound ? to_fd((*bound)[0]) : std::nullopt;
    const auto events = fd ? to_events((*bound)[1]) : std::nullopt;
    if (!events) {
        return {};
    }
    PyObject* const object = (*bound)[2];
    std::optional<Ref> data;
    if (object != nullptr && object != Py_Ellipsis) {
        data = attachment(object);
    }
    Registration dropped;  // after the critical section
    const CriticalSection inside{self.as_python()};
    auto outcome = self.set.modify(*fd, *events, std::move(data));
    dropped = std::move(outcome.dropped);
    return as_none(outcome.done);
}

Ref unregister_fd(EpollObject& self, const CallArguments& call) {
    const auto bound = k_unregister.bind(call);
    const auto fd = bound ? to_fd((*bound)[0]) : std::nullopt;
    if (!fd) {
        return {};
    }
    Registration dropped;  // after the critical section
    const CriticalSection inside{self.as_python()};
    auto outcome = self.set.remove(*fd);
    dropped = std::move(outcome.dropped);
    return as_none(outcome.done);
}

/// (fd, events) of a report: the tuple of last time, when it says the same.
Ref report_by_fd(EpollSet& set, const Ready& report) noexcept {
    Registration* known = set.registrations().find(report.token);
    if (known != nullptr && known->by_fd.pair && known->by_fd.events == report.events) {
        return Ref::borrow(known->by_fd.pair.get());
    }
    Ref pair = make_report(fd_of(report.token), report.events);
    known = set.registrations().find(report.token);  // making it may have run any code
    if (pair && known != nullptr) {
        known->by_fd = {report.events, Ref::borrow(pair.get())};
    }
    return pair;
}

/// (data, events) of a report, likewise.
Ref report_by_data(EpollSet& set, const Ready& report) noexcept {
    Registration* known = set.registrations().find(report.token);
    if (known == nullptr || !known->data) {
        return report_by_fd(set, report);
    }
    if (known->by_data.pair && known->by_data.events == report.events) {
        return Ref::borrow(known->by_data.pair.get());
    }
    const Ref data = Ref::borrow(known->data.get());
    Ref pair = make_pair(Ref::borrow(data.get()),
                         Ref::steal(PyLong_FromUnsignedLong(bits(report.events))));
    known = set.registrations().find(report.token);
    if (pair && known != nullptr && known->data.get() == data.get()) {
        known->by_data = {report.events, Ref::borrow(pair.get())};
    }
    return pair;
}

using MakeReport = Ref (*)(EpollSet&, const Ready&) noexcept;

template <MakeReport make_item>
Ref wait_for_list(EpollObject& self, std::optional<Timeout> timeout, PyObject* maxevents) {
    const auto most = timeout ? to_maxevents(maxevents) : std::nullopt;
    if (!most) {
        return {};
    }
    const WaitBuffer::Lease lease{self.set.buffer(), *most};
    const auto reports = self.set.wait(self.as_python(), lease.room(), *timeout);
    if (!reports) {
        return {};
    }
    const CriticalSection inside{self.as_python()};
    return make_report_list(*reports,
                            [&self](const Ready& report) { return make_item(self.set, report); });
}

Ref poll(EpollObject& self, const CallArguments& call) {
    const auto bound = k_poll.bind(call);
    return bound ? wait_for_list<report_by_fd>(self, to_timeout_seconds((*bound)[0]), (*bound)[1])
                 : Ref{};
}

Ref wait(EpollObject& self, const CallArguments& call) {
    const auto bound = k_wait.bind(call);
    return bound ? wait_for_list<report_by_data>(self, to_timeout_nanoseconds((*bound)[0]),
                                                 (*bound)[1])
                 : Ref{};
}

Ref wait_into(EpollObject& self, const CallArguments& call) {
    const auto bound = k_wait_into.bind(call);
    const auto timeout = bound ? to_timeout_nanoseconds((*bound)[1]) : std::nullopt;
    if (!timeout) {
        return {};
    }
    auto* const type = reinterpret_cast<PyTypeObject*>(
        ModuleState::of_type(Py_TYPE(self.as_python())).event_batch_type.get());
    if (!PyObject_TypeCheck((*bound)[0], type)) {
        return error(PyExc_TypeError, "wait_into() argument 'batch' must be EventBatch, not %.200s",
                     Py_TYPE((*bound)[0])->tp_name);
    }
    BatchFilling filling;
    if (!filling.begin(self_of<EventBatchObject>((*bound)[0]))) {
        return {};
    }
    const auto reports = self.set.wait(self.as_python(), filling.room(), *timeout);
    if (!reports) {
        return {};
    }
    const CriticalSection inside{self.as_python()};
    for (std::size_t index = 0; index < reports->size(); ++index) {
        const Ready report = (*reports)[index];
        Ref pair = report_by_fd(self.set, report);
        if (!pair) {
            return {};
        }
        filling.put(index, std::move(pair));
        const Registration* const known = self.set.registrations().find(report.token);
        if (known != nullptr && known->data) {
            Ref object_pair = report_by_data(self.set, report);
            if (!object_pair) {
                return {};
            }
            filling.attach(index, std::move(object_pair));
        }
    }
    filling.finish(reports->size());
    return as_number(reports->size());
}

Ref registrations(EpollObject& self) {
    Ref all = Ref::steal(PyDict_New());
    const CriticalSection inside{self.as_python()};
    // Making an object may run any code, which may change the table: so no iterating, but asking.
    for (int fd = 0; all && fd < self.set.registrations().bound(); ++fd) {
        const Registration* const known = self.set.registrations().find(fd);
        if (known == nullptr) {
            continue;
        }
        Ref data = known->data ? Ref::borrow(known->data.get()) : Ref::none();
        const std::uint32_t events = bits(known->events);
        const Ref key = Ref::steal(PyLong_FromLong(fd));
        const Ref value = make_pair(Ref::steal(PyLong_FromUnsignedLong(events)), std::move(data));
        if (!key || !value || PyDict_SetItem(all.get(), key.get(), value.get()) < 0) {
            return {};
        }
    }
    return all;
}

Ref busy_poll(EpollObject& self) {
    BusyPoll parameters{};
    {
        const CriticalSection inside{self.as_python()};
        if (!self.set.require_open()) {
            return {};
        }
        const int failure = kernel::get_busy_poll(self.set.fd(), parameters);
        if (failure != 0) {
            return os_error(failure);
        }
    }
    auto* const type = reinterpret_cast<PyTypeObject*>(
        ModuleState::of_type(Py_TYPE(self.as_python())).busy_poll_type.get());
    Ref usecs = Ref::steal(PyLong_FromUnsignedLong(parameters.microseconds));
    Ref budget = Ref::steal(PyLong_FromUnsignedLong(parameters.packets_budget));
    Ref answer = usecs && budget ? Ref::steal(PyStructSequence_New(type)) : Ref{};
    if (answer) {
        PyStructSequence_SetItem(answer.get(), 0, usecs.release());
        PyStructSequence_SetItem(answer.get(), 1, budget.release());
        PyStructSequence_SetItem(answer.get(), 2, PyBool_FromLong(parameters.prefer ? 1 : 0));
    }
    return answer;
}

Ref set_busy_poll(EpollObject& self, const CallArguments& call) {
    const auto bound = k_set_busy_poll.bind(call);
    if (!bound) {
        return {};
    }
    const auto [usecs, budget, prefer] = *bound;
    BusyPoll parameters{0, 0, false};
    if (usecs != nullptr) {
        const auto number = to_unsigned(usecs, std::numeric_limits<std::int32_t>::max());
        if (!number) {
            return {};
        }
        parameters.microseconds = *number;
    }
    if (budget != nullptr) {
        const auto number = to_unsigned(budget, std::numeric_limits<std::uint16_t>::max());
        if (!number) {
            return {};
        }
        parameters.packets_budget = static_cast<std::uint16_t>(*number);
    }
    if (prefer != nullptr) {
        const int truth = PyObject_IsTrue(prefer);
        if (truth < 0) {
            return {};
        }
        parameters.prefer = truth != 0;
    }
    const CriticalSection inside{self.as_python()};
    if (!self.set.require_open()) {
        return {};
    }
    const int failure = kernel::set_busy_poll(self.set.fd(), parameters);
    return failure == 0 ? Ref::none() : os_error(failure);
}

Ref enter(EpollObject& self) {
    const CriticalSection inside{self.as_python()};
    return self.set.require_open() ? Ref::borrow(self.as_python()) : Ref{};
}

/// Takes the three arguments of a with statement, or fewer, as select.epoll does.
Ref exit(EpollObject& self, const CallArguments& call) {
    static constexpr Signature<3> k_exit{
        "__exit__", {"", "", ""}, {Parameter::optional, Parameter::optional, Parameter::optional}};
    return k_exit.bind(call) ? Ref::steal(PyObject_CallMethod(self.as_python(), "close", nullptr))
                             : Ref{};
}

Py_ssize_t length(PyObject* self) noexcept {
    const CriticalSection inside{self};
    return static_cast<Py_ssize_t>(self_of<EpollObject>(self).set.registrations().size());
}

int contains(PyObject* self, PyObject* member) noexcept {
    const auto fd = to_fd(member);
    if (!fd) {
        return -1;
    }
    const CriticalSection inside{self};
    return self_of<EpollObject>(self).set.registrations().find(*fd) != nullptr ? 1 : 0;
}

PyObject* describe(PyObject* self) noexcept {
    const CriticalSection inside{self};
    EpollSet& set = self_of<EpollObject>(self).set;
    const char* const name = Py_TYPE(self)->tp_name;
    return set.is_closed() ? PyUnicode_FromFormat("<%s closed>", name)
                           : PyUnicode_FromFormat("<%s fd=%d registered=%zu>", name, set.fd(),
                                                  set.registrations().size());
}

/// An Epoll is true when it is empty, too: only select.epoll's users know that it had no length.
int is_true(PyObject* /*self*/) noexcept { return 1; }

PyMethodDef methods[] = {
    {"fromfd", &from_fd, METH_O | METH_CLASS, k_from_fd_text},
    make_method<register_fd>("register", k_register_text),
    make_method<modify_fd>("modify", k_modify_text),
    make_method<unregister_fd>("unregister", k_unregister_text),
    make_method<poll>("poll", k_poll_text),
    make_method<wait>("wait", k_wait_text),
    make_method<wait_into>("wait_into", k_wait_into_text),
    make_method<registrations>("registrations", k_registrations_text),
    make_method<busy_poll>("busy_poll", k_busy_poll_text),
    make_method<set_busy_poll>("set_busy_poll", k_set_busy_poll_text),
    make_method<close_epoll_object>("close", k_close_text),
    make_method<fileno_of_epoll_object>("fileno", k_fileno_text),
    make_method<enter>("__enter__", k_enter_text),
    make_method<exit>("__exit__", k_exit_text),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    make_property<is_epoll_object_closed>("closed", "True after close(); never raises."),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>(k_epoll_text)},
    {Py_tp_new, reinterpret_cast<void*>(&make)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse_epoll_object)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear_epoll_object)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<EpollObject>)},
    {Py_tp_repr, reinterpret_cast<void*>(&describe)},
    {Py_sq_length, reinterpret_cast<void*>(&length)},
    {Py_sq_contains, reinterpret_cast<void*>(&contains)},
    {Py_nb_bool, reinterpret_cast<void*>(&is_true)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {
    "epoll.Epoll", sizeof(EpollObject), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    slots};

PyStructSequence_Field busy_poll_fields[] = {
    {"usecs", "how long to poll the device before sleeping, in microseconds; 0 is off"},
    {"budget", "how many packets one poll may take"},
    {"prefer", "whether the device's interrupts stay off while polling"},
    {nullptr, nullptr},
};

PyStructSequence_Desc busy_poll_description = {
    "epoll.BusyPoll", "The parameters of busy polling; what Epoll.busy_poll() returns.",
    busy_poll_fields, 3};

}  // namespace

bool add_epoll_type(PyObject* module, ModuleState& state) {
    state.epoll_type = make_type(module, spec, nullptr);
    state.busy_poll_type =
        Ref::steal(reinterpret_cast<PyObject*>(PyStructSequence_NewType(&busy_poll_description)));
    return state.epoll_type && state.busy_poll_type &&
           PyModule_AddObjectRef(module, "Epoll", state.epoll_type.get()) == 0 &&
           PyModule_AddObjectRef(module, "BusyPoll", state.busy_poll_type.get()) == 0;
}

}  // namespace epoll::python
