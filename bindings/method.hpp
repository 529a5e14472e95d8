#pragma once

#include <memory>

#include "arguments.hpp"
#include "errors.hpp"
#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

/// The C++ object of type Self that the PyObject* in a call stands for; ModuleState has its own.
template <class Self>
Self& self_of(PyObject* object) noexcept {
    return *reinterpret_cast<Self*>(object);
}

/// The tp_dealloc of a type of its own heap whose instances are objects of the class Object, kept
/// by the garbage collector. A finalizer is the caller's to run.
template <class Object>
void deallocate_object(PyObject* object) noexcept {
    const Ref type =
        Ref::steal(reinterpret_cast<PyObject*>(Py_TYPE(object)));  // every object has one
    PyObject_GC_UnTrack(object);
    std::destroy_at(&self_of<Object>(object));
    Py_TYPE(object)->tp_free(object);
}

namespace detail {

template <auto Function>
struct Method;

template <class Self, Ref (*Function)(Self&, const CallArguments&)>
struct Method<Function> {
    static constexpr int k_flags = METH_FASTCALL | METH_KEYWORDS;
    static PyObject* call(PyObject* self, PyObject* const* values, Py_ssize_t positional,
                          PyObject* names) noexcept {
        try {
            return Function(self_of<Self>(self), {values, positional, names}).release();
        } catch (...) {
            translate_exception();
            return nullptr;
        }
    }
};

template <class Self, Ref (*Function)(Self&, PyObject*)>
struct Method<Function> {
    static constexpr int k_flags = METH_O;
    static PyObject* call(PyObject* self, PyObject* argument) noexcept {
        try {
            return Function(self_of<Self>(self), argument).release();
        } catch (...) {
            translate_exception();
            return nullptr;
        }
    }
};

template <class Self, Ref (*Function)(Self&)>
struct Method<Function> {
    static constexpr int k_flags = METH_NOARGS;
    static PyObject* call(PyObject* self, PyObject* /*unused*/) noexcept {
        try {
            return Function(self_of<Self>(self)).release();
        } catch (...) {
            translate_exception();
            return nullptr;
        }
    }
};

}  // namespace detail

/// The table entry of a function Ref(Self&), Ref(Self&, PyObject*) or Ref(Self&, CallArguments):
/// its calling convention follows from its type, and C++ exceptions end here.
template <auto Function>
PyMethodDef make_method(const char* name, const char* documentation, int more_flags = 0) noexcept {
    using Method = detail::Method<Function>;
    const auto plain = reinterpret_cast<void (*)()>(&Method::call);
    return {name, reinterpret_cast<PyCFunction>(plain), Method::k_flags | more_flags,
            documentation};
}

/// As make_method, for a read-only attribute.
template <auto Function>
PyGetSetDef make_property(const char* name, const char* documentation) noexcept {
    return {name,
            [](PyObject* self, void*) { return detail::Method<Function>::call(self, nullptr); },
            nullptr, documentation, nullptr};
}

}  // namespace epoll::python
