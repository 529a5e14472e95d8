// What a loop shows of itself: to statistics(), to watchdogs, and to who ends it.

#include <cstdint>
#include <span>
#include <vector>

#include "../errors.hpp"
#include "../method.hpp"
#include "loop.hpp"
#include "transports.hpp"

namespace epoll::python {

namespace {

Ref to_tuple(std::span<const std::uint64_t> numbers) noexcept {
    Ref tuple = Ref::steal(PyTuple_New(static_cast<Py_ssize_t>(numbers.size())));
    Py_ssize_t place = 0;
    for (const std::uint64_t number : numbers) {
        PyObject* const item = tuple ? PyLong_FromUnsignedLongLong(number) : nullptr;
        if (item == nullptr) {
            return {};
        }
        PyTuple_SET_ITEM(tuple.get(), place++, item);
    }
    return tuple;
}

Ref to_tuple(const HistogramCounts& counts) noexcept {
    const Ref buckets = to_tuple(std::span{counts.buckets});
    return buckets ? Ref::steal(Py_BuildValue("OK", buckets.get(),
                                              static_cast<unsigned long long>(counts.sum)))
                   : Ref{};
}

/// The names are those of epoll.LoopStatistics. What is closed is read before what was opened, so
/// that their difference, taken while another thread counts, is never less than nothing.
Ref statistics(LoopObject& self) {
    using Number = unsigned long long;
    Reactor& reactor = self.loop->reactor();
    const ReactorStatistics now = reactor.statistics();
    const Traffic& traffic = reactor.traffic();
    const Number closed = traffic.connections_closed.value();
    const Number opened = traffic.connections_opened.value();
    const Ref lag = to_tuple(now.lateness);
    const Ref run_time = lag ? to_tuple(now.stretches) : Ref{};
    if (!run_time) {
        return {};
    }
    return Ref::steal(Py_BuildValue(
        "{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:O,s:O}",  //
        "turns", Number{now.turns}, "waits", Number{now.waits}, "events", Number{now.events},
        "epoll_ctl_calls", Number{now.changes}, "timers_fired", Number{now.timers}, "callbacks_run",
        Number{now.deferred + now.dispatched + now.timers}, "waiting_ns", Number{now.waiting},
        "running_ns", Number{now.running}, "ready", Number{now.ready}, "most_ready",
        Number{now.most_ready}, "descriptors_watched", Number{now.watched}, "connections_closed",
        closed, "connections_opened", opened, "connections_accepted",
        Number{traffic.connections_accepted.value()}, "accept_errors",
        Number{traffic.accept_errors.value()}, "bytes_received",
        Number{traffic.bytes_received.value()}, "bytes_sent", Number{traffic.bytes_sent.value()},
        "timer_lag", lag.get(), "run_time", run_time.get()));
}

Ref progress(LoopObject& self) {
    const auto number = self.loop->progress();
    return number ? Ref::steal(PyLong_FromUnsignedLongLong(*number)) : Ref::none();
}

Ref running_handle(LoopObject& self) {
    const CriticalSection section{self.as_python()};
    Ref handle = self.loop->observation().running();
    return handle ? std::move(handle) : Ref::none();
}

Ref add_watcher(LoopObject& self) {
    self.loop->observation().add_watcher();
    return Ref::none();
}

Ref remove_watcher(LoopObject& self) {
    self.loop->observation().remove_watcher();
    return Ref::none();
}

Ref open_transports(LoopObject& self) { return self.loop->transports().list(); }

}  // namespace

void append_observing_methods(std::vector<PyMethodDef>& methods) {
    methods.insert(
        methods.end(),
        {make_method<statistics>("_statistics",
                                 "Return what epoll.LoopStatistics is made of. Any thread."),
         make_method<progress>("_progress",
                               "Return a number that changes with all that the loop does; None\n"
                               "while it waits, or does not run. Any thread."),
         make_method<running_handle>("_running_handle",
                                     "Return the handle that runs, while somebody watches; else\n"
                                     "None. Any thread."),
         make_method<add_watcher>("_add_watcher", "Have _running_handle() answer. Any thread."),
         make_method<remove_watcher>("_remove_watcher", "Take one _add_watcher() back."),
         make_method<open_transports>("_open_transports",
                                      "Return a list of the transports that have not ended.")});
}

}  // namespace epoll::python
