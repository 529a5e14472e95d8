#pragma once

#include <epoll/base/owned_fd.hpp>

#include "epoll_set.hpp"
#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

/// The Python object around an EpollSet: of type Epoll, SelectorBase or a class derived from one.
struct EpollObject {
    PyObject_HEAD
    EpollSet set;

    [[nodiscard]] PyObject* as_python() noexcept { return reinterpret_cast<PyObject*>(this); }
};

/// A new object of `type` around a descriptor, which is closed when that fails.
[[nodiscard]] Ref make_epoll_object(PyTypeObject* type, OwnedFd fd);

/// A new object of `type` around a new epoll descriptor; OSError when the kernel has none.
[[nodiscard]] Ref make_epoll_object(PyTypeObject* type);

// What both types have in common.
int traverse_epoll_object(PyObject* self, visitproc visit, void* arg) noexcept;
int clear_epoll_object(PyObject* self) noexcept;
Ref close_epoll_object(EpollObject& self);
Ref fileno_of_epoll_object(EpollObject& self);
Ref is_epoll_object_closed(EpollObject& self);

}  // namespace epoll::python
