#include "reports.hpp"

namespace epoll::python {

Ref make_pair(Ref first, Ref second) noexcept {
    if (!first || !second) {
        return {};
    }
    Ref pair = Ref::steal(PyTuple_New(2));
    if (pair) {
        PyTuple_SET_ITEM(pair.get(), 0, first.release());
        PyTuple_SET_ITEM(pair.get(), 1, second.release());
    }
    return pair;
}

Ref make_report(int fd, Events events) noexcept {
    return make_pair(Ref::steal(PyLong_FromLong(fd)),
                     Ref::steal(PyLong_FromUnsignedLong(bits(events))));
}

}  // namespace epoll::python
