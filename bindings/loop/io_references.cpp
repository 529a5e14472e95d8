#include "io_references.hpp"

#include "../ref.hpp"

namespace epoll::python {

bool change_io_references(PyObject* socket, long change) noexcept {
    const Ref count = Ref::steal(PyObject_GetAttrString(socket, "_io_refs"));
    const long value = count ? PyLong_AsLong(count.get()) : -1;
    const Ref changed = value >= 0 ? Ref::steal(PyLong_FromLong(value + change)) : Ref{};
    if (changed && PyObject_SetAttrString(socket, "_io_refs", changed.get()) == 0) {
        return true;
    }
    PyErr_Clear();
    return false;
}

}  // namespace epoll::python
