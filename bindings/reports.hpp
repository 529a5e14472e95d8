#pragma once

#include <span>

#include <epoll/poll/poller.hpp>

#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

/// (first, second) as a new tuple; empty when one of them is.
[[nodiscard]] Ref make_pair(Ref first, Ref second) noexcept;

/// (fd, events) as select.epoll.poll() reports it.
[[nodiscard]] Ref make_report(int fd, Events events) noexcept;

/// A list of what `make_item(report)` answers: a Ref, or an empty one without an exception for a
/// report to be left out. To be called in the critical section of the object that make_item looks
/// into.
template <class MakeItem>
[[nodiscard]] Ref make_report_list(std::span<const Ready> reports, MakeItem make_item) {
    Ref list = Ref::steal(PyList_New(static_cast<Py_ssize_t>(reports.size())));
    if (!list) {
        return {};
    }
    Py_ssize_t filled = 0;
    for (const Ready& report : reports) {
        Ref item = make_item(report);
        if (item) {
            PyList_SET_ITEM(list.get(), filled++, item.release());
        } else if (PyErr_Occurred() != nullptr) {
            return {};
        }
    }
    const Py_ssize_t size = PyList_GET_SIZE(list.get());
    if (filled < size && PyList_SetSlice(list.get(), filled, size, nullptr) < 0) {
        return {};
    }
    return list;
}

}  // namespace epoll::python
