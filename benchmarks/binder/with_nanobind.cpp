#include "endpoint.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <utility>

namespace nb = nanobind;

namespace {

/// An Endpoint with the callable that is told its news.
struct Notifier {
    Notifier(int fd, int events) noexcept : endpoint{fd, events} {}

    binder::Endpoint endpoint;
    nb::object handler;
};

/// Never instantiated: the type with which bind_transport tries a Python class as base.
struct Transport {};

std::uint64_t consume(Notifier& self, const nb::bytes& data) {
    const auto* first = static_cast<const std::byte*>(data.data());
    return self.endpoint.consume(std::span{first, data.size()});
}

void set_handler(Notifier& self, nb::callable handler) { self.handler = std::move(handler); }

void notify(Notifier& self, int events) {
    const auto handler = nb::borrow<nb::callable>(self.handler);  // may be replaced by the call
    if (!handler.is_valid()) {
        throw std::runtime_error{"no handler"};
    }
    handler(events);
}

int descriptor(nb::handle source) {
    const int fd = PyObject_AsFileDescriptor(source.ptr());
    if (fd < 0) {
        throw nb::python_error();
    }
    return fd;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (nb::inst_ready(self)) {
        Py_VISIT(nb::inst_ptr<Notifier>(self)->handler.ptr());
    }
    return 0;
}

int clear(PyObject* self) {
    if (nb::inst_ready(self)) {
        nb::inst_ptr<Notifier>(self)->handler.reset();
    }
    return 0;
}

const PyType_Slot k_collected[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(clear)},
    {0, nullptr},
};

}  // namespace

NB_MODULE(with_nanobind, module) {
    module.def("nothing", [] {});
    module.def("sum", &binder::sum);
    module.def("descriptor", &descriptor);
    module.def("ready_pairs", &binder::ready_pairs);
    module.def("bind_transport", [](nb::handle scope, nb::handle base) {
        return nb::class_<Transport>(scope, "Transport", base);
    });
    nb::class_<Notifier>(module, "Endpoint", nb::type_slots(k_collected))
        .def(nb::init<int, int>())
        .def("fileno", [](const Notifier& self) { return self.endpoint.fd(); })
        .def("consume", &consume)
        .def("set_handler", &set_handler)
        .def("notify", &notify);
}
