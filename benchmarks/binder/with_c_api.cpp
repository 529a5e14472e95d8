#include "endpoint.hpp"

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>  // PyMemberDef before Python 3.12

#include <climits>
#include <cstddef>
#include <new>
#include <span>

namespace {

struct EndpointObject {
    PyObject_HEAD
    PyObject* handler;
    binder::Endpoint endpoint;
};

/// Continues the layout of asyncio.BaseTransport, whose only slot is `_extra`. bind_transport
/// verifies that, so the type may own the slot: its dealloc does not chain to the Python class.
struct TransportObject {
    PyObject_HEAD
    PyObject* extra;
    binder::Endpoint endpoint;
};

EndpointObject* as_endpoint(PyObject* self) { return reinterpret_cast<EndpointObject*>(self); }
TransportObject* as_transport(PyObject* self) { return reinterpret_cast<TransportObject*>(self); }

/// Returns false with a Python error set.
bool to_int(PyObject* source, int& target) {
    const long value = PyLong_AsLong(source);
    if (value == -1 && PyErr_Occurred() != nullptr) {
        return false;
    }
    if (value < INT_MIN || value > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "does not fit in a C int");
        return false;
    }
    target = static_cast<int>(value);
    return true;
}

bool has_arguments(Py_ssize_t given, Py_ssize_t wanted) {
    if (given != wanted) {
        PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", wanted, given);
    }
    return given == wanted;
}

PyObject* consume_into(binder::Endpoint& endpoint, PyObject* data) {
    if (!PyBytes_Check(data)) {
        return PyErr_Format(PyExc_TypeError, "expected bytes, got %R", data);
    }
    const auto* first = reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(data));
    const auto size = static_cast<std::size_t>(PyBytes_GET_SIZE(data));
    return PyLong_FromUnsignedLongLong(endpoint.consume(std::span{first, size}));
}

// Functions

PyObject* nothing(PyObject*, PyObject*) { Py_RETURN_NONE; }

PyObject* sum(PyObject*, PyObject* const* args, Py_ssize_t count) {
    int first = 0;
    int second = 0;
    int third = 0;
    if (!has_arguments(count, 3) || !to_int(args[0], first) || !to_int(args[1], second) ||
        !to_int(args[2], third)) {
        return nullptr;
    }
    return PyLong_FromLong(binder::sum(first, second, third));
}

PyObject* descriptor(PyObject*, PyObject* source) {
    const int fd = PyObject_AsFileDescriptor(source);
    return fd < 0 ? nullptr : PyLong_FromLong(fd);
}

/// Returns a new (int, int) tuple, or null with a Python error set.
PyObject* make_pair(int first, int second) {
    PyObject* pair = PyTuple_New(2);
    PyObject* left = PyLong_FromLong(first);
    PyObject* right = PyLong_FromLong(second);
    if (pair == nullptr || left == nullptr || right == nullptr) {
        Py_XDECREF(pair);
        Py_XDECREF(left);
        Py_XDECREF(right);
        return nullptr;
    }
    PyTuple_SET_ITEM(pair, 0, left);
    PyTuple_SET_ITEM(pair, 1, right);
    return pair;
}

PyObject* ready_pairs(PyObject*, PyObject*) {
    const auto& pairs = binder::ready_pairs();
    PyObject* list = PyList_New(static_cast<Py_ssize_t>(pairs.size()));
    if (list == nullptr) {
        return nullptr;
    }
    Py_ssize_t index = 0;
    for (const auto& [fd, events] : pairs) {
        PyObject* pair = make_pair(fd, events);
        if (pair == nullptr) {
            Py_DECREF(list);
            return nullptr;
        }
        PyList_SET_ITEM(list, index++, pair);
    }
    return list;
}

// Endpoint

PyObject* make_endpoint(PyTypeObject* type, PyObject* fd_source, PyObject* events_source) {
    int fd = 0;
    int events = 0;
    if (!to_int(fd_source, fd) || !to_int(events_source, events)) {
        return nullptr;
    }
    PyObject* self = type->tp_alloc(type, 0);
    if (self != nullptr) {
        new (&as_endpoint(self)->endpoint) binder::Endpoint{fd, events};
    }
    return self;
}

/// Serves subclasses written in Python; the type itself is called through vectorcall.
PyObject* endpoint_new(PyTypeObject* type, PyObject* args, PyObject* keywords) {
    if (keywords != nullptr && PyDict_Size(keywords) != 0) {
        PyErr_SetString(PyExc_TypeError, "Endpoint takes no keyword arguments");
        return nullptr;
    }
    return has_arguments(PyTuple_GET_SIZE(args), 2)
               ? make_endpoint(type, PyTuple_GET_ITEM(args, 0), PyTuple_GET_ITEM(args, 1))
               : nullptr;
}

PyObject* endpoint_call_type(PyObject* type, PyObject* const* args, std::size_t flags,
                             PyObject* keywords) {
    if (keywords != nullptr && PyTuple_GET_SIZE(keywords) != 0) {
        PyErr_SetString(PyExc_TypeError, "Endpoint takes no keyword arguments");
        return nullptr;
    }
    return has_arguments(PyVectorcall_NARGS(flags), 2)
               ? make_endpoint(reinterpret_cast<PyTypeObject*>(type), args[0], args[1])
               : nullptr;
}

int endpoint_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(as_endpoint(self)->handler);
    return 0;
}

int endpoint_clear(PyObject* self) {
    Py_CLEAR(as_endpoint(self)->handler);
    return 0;
}

void endpoint_dealloc(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    endpoint_clear(self);
    as_endpoint(self)->endpoint.~Endpoint();
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject* endpoint_fileno(PyObject* self, PyObject*) {
    return PyLong_FromLong(as_endpoint(self)->endpoint.fd());
}

PyObject* endpoint_consume(PyObject* self, PyObject* data) {
    return consume_into(as_endpoint(self)->endpoint, data);
}

PyObject* endpoint_set_handler(PyObject* self, PyObject* handler) {
    if (!PyCallable_Check(handler)) {
        return PyErr_Format(PyExc_TypeError, "expected a callable, got %R", handler);
    }
    Py_XSETREF(as_endpoint(self)->handler, Py_NewRef(handler));
    Py_RETURN_NONE;
}

PyObject* endpoint_notify(PyObject* self, PyObject* events_source) {
    int events = 0;
    if (!to_int(events_source, events)) {
        return nullptr;
    }
    if (as_endpoint(self)->handler == nullptr) {
        PyErr_SetString(PyExc_RuntimeError, "no handler");
        return nullptr;
    }
    PyObject* argument = PyLong_FromLong(events);
    if (argument == nullptr) {
        return nullptr;
    }
    PyObject* handler = Py_NewRef(as_endpoint(self)->handler);  // may be replaced by the call
    PyObject* result = PyObject_CallOneArg(handler, argument);
    Py_DECREF(handler);
    Py_DECREF(argument);
    if (result == nullptr) {
        return nullptr;
    }
    Py_DECREF(result);
    Py_RETURN_NONE;
}

PyMethodDef k_endpoint_methods[] = {
    {"fileno", endpoint_fileno, METH_NOARGS, nullptr},
    {"consume", endpoint_consume, METH_O, nullptr},
    {"set_handler", endpoint_set_handler, METH_O, nullptr},
    {"notify", endpoint_notify, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot k_endpoint_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(endpoint_new)},
    {Py_tp_traverse, reinterpret_cast<void*>(endpoint_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(endpoint_clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(endpoint_dealloc)},
    {Py_tp_methods, k_endpoint_methods},
    {0, nullptr},
};

PyType_Spec k_endpoint_spec = {"with_c_api.Endpoint", sizeof(EndpointObject), 0,
                               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
                               k_endpoint_slots};

// Transport: a C++ object inside a subclass of a class written in Python

PyObject* transport_new(PyTypeObject* type, PyObject*, PyObject*) {
    PyObject* self = type->tp_alloc(type, 0);
    if (self != nullptr) {
        new (&as_transport(self)->endpoint) binder::Endpoint{0, 0};
    }
    return self;
}

int transport_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(as_transport(self)->extra);
    return 0;
}

int transport_clear(PyObject* self) {
    Py_CLEAR(as_transport(self)->extra);
    return 0;
}

void transport_dealloc(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    transport_clear(self);
    as_transport(self)->endpoint.~Endpoint();
    type->tp_free(self);
    Py_DECREF(type);
}

PyObject* transport_write(PyObject* self, PyObject* data) {
    return consume_into(as_transport(self)->endpoint, data);
}

PyMethodDef k_transport_methods[] = {
    {"write", transport_write, METH_O, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot k_transport_slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(transport_new)},
    {Py_tp_traverse, reinterpret_cast<void*>(transport_traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(transport_clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(transport_dealloc)},
    {Py_tp_methods, k_transport_methods},
    {0, nullptr},
};

PyType_Spec k_transport_spec = {"with_c_api.Transport", sizeof(TransportObject), 0,
                                Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
                                k_transport_slots};

/// True if instances of `base` are exactly what precedes the endpoint in TransportObject.
bool has_transport_layout(PyTypeObject* base) {
    PyObject* slot = PyObject_GetAttrString(reinterpret_cast<PyObject*>(base), "_extra");
    if (slot == nullptr) {
        PyErr_Clear();
        return false;
    }
    const bool same = base->tp_basicsize == offsetof(TransportObject, endpoint) &&
                      Py_IS_TYPE(slot, &PyMemberDescr_Type) &&
                      reinterpret_cast<PyMemberDescrObject*>(slot)->d_member->offset ==
                          offsetof(TransportObject, extra);
    Py_DECREF(slot);
    return same;
}

/// Adds Transport(base) to `module`; returns it, or null with a Python error set.
PyObject* bind_transport(PyObject*, PyObject* const* args, Py_ssize_t count) {
    if (!has_arguments(count, 2)) {
        return nullptr;
    }
    if (!PyType_Check(args[1]) || !has_transport_layout(reinterpret_cast<PyTypeObject*>(args[1]))) {
        PyErr_SetString(PyExc_TypeError, "the base does not have the layout of asyncio.Transport");
        return nullptr;
    }
    PyObject* type = PyType_FromModuleAndSpec(args[0], &k_transport_spec, args[1]);
    if (type == nullptr || PyModule_AddType(args[0], reinterpret_cast<PyTypeObject*>(type)) == 0) {
        return type;
    }
    Py_DECREF(type);
    return nullptr;
}

// Module

PyMethodDef k_functions[] = {
    {"nothing", nothing, METH_NOARGS, nullptr},
    {"sum", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(sum)), METH_FASTCALL,
     nullptr},
    {"descriptor", descriptor, METH_O, nullptr},
    {"ready_pairs", ready_pairs, METH_NOARGS, nullptr},
    {"bind_transport", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(bind_transport)),
     METH_FASTCALL, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

int execute(PyObject* module) {
    PyObject* type = PyType_FromModuleAndSpec(module, &k_endpoint_spec, nullptr);
    if (type == nullptr) {
        return -1;
    }
    auto* endpoint_type = reinterpret_cast<PyTypeObject*>(type);
    endpoint_type->tp_vectorcall = endpoint_call_type;
    const int status = PyModule_AddType(module, endpoint_type);
    Py_DECREF(type);
    return status;
}

PyModuleDef_Slot k_slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(execute)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef k_module = {PyModuleDef_HEAD_INIT,
                        "with_c_api",
                        nullptr,
                        0,
                        k_functions,
                        k_slots,
                        nullptr,
                        nullptr,
                        nullptr};

}  // namespace

PyMODINIT_FUNC PyInit_with_c_api() { return PyModuleDef_Init(&k_module); }
