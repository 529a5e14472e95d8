#include "epoll_object.hpp"

#include <new>
#include <utility>

#include "answers.hpp"
#include "errors.hpp"
#include "gil.hpp"

namespace epoll::python {

Ref make_epoll_object(PyTypeObject* type, OwnedFd fd) {
    Ref object = Ref::steal(type->tp_alloc(type, 0));
    if (object) {
        ::new (&reinterpret_cast<EpollObject*>(object.get())->set) EpollSet{std::move(fd)};
    }
    return object;
}

Ref make_epoll_object(PyTypeObject* type) {
    const IoResult created = kernel::create();
    if (!created.ok()) {
        return os_error(created.error);
    }
    return make_epoll_object(type, OwnedFd{static_cast<int>(created.count)});
}

int traverse_epoll_object(PyObject* self, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(self));
    int stopped = 0;
    reinterpret_cast<EpollObject*>(self)->set.registrations().for_each(
        [&](int /*fd*/, const Registration& registration) {
            for (PyObject* held : {registration.data.get(), registration.by_fd.pair.get(),
                                   registration.by_data.pair.get()}) {
                if (stopped == 0 && held != nullptr) {
                    stopped = visit(held, arg);
                }
            }
            return stopped == 0;
        });
    return stopped;
}

int clear_epoll_object(PyObject* self) noexcept {
    const RegistrationTable dropped = std::exchange(
        reinterpret_cast<EpollObject*>(self)->set.registrations(), RegistrationTable{});
    return 0;
}

Ref close_epoll_object(EpollObject& self) {
    std::optional<RegistrationTable> dropped;  // after the critical section
    const CriticalSection inside{self.as_python()};
    dropped = self.set.close();
    return as_none(dropped.has_value());
}

Ref fileno_of_epoll_object(EpollObject& self) {
    const CriticalSection inside{self.as_python()};
    return self.set.require_open() ? Ref::steal(PyLong_FromLong(self.set.fd())) : Ref{};
}

Ref is_epoll_object_closed(EpollObject& self) {
    const CriticalSection inside{self.as_python()};
    return as_bool(self.set.is_closed());
}

}  // namespace epoll::python
