#pragma once

#include <array>
#include <cstddef>
#include <new>
#include <utility>

#include "../method.hpp"
#include "loop.hpp"
#include "transport_head.hpp"

namespace epoll::python {

/// The slots and the members of a type, all but those that are its own.
template <class Object>
struct TransportSlots {
    using Head = TransportHead<Object::k_hidden_slots>;
    static inline PyMemberDef members[] = {
        {"__dictoffset__", Py_T_PYSSIZET, offsetof(Head, attributes), Py_READONLY, nullptr},
        {"__weaklistoffset__", Py_T_PYSSIZET, offsetof(Head, weak_references), Py_READONLY,
         nullptr},
        {nullptr, 0, 0, 0, nullptr},
    };

    static int traverse(PyObject* object, visitproc visit, void* arg) noexcept {
        Object& self = self_of<Object>(object);
        Py_VISIT(Py_TYPE(object));
        for (PyObject* const held : self.slots) {
            Py_VISIT(held);
        }
        Py_VISIT(self.attributes);
        return self.transport.traverse(visit, arg);
    }

    static int clear(PyObject* object) noexcept {
        Object& self = self_of<Object>(object);
        self.transport.clear();
        for (PyObject*& held : self.slots) {
            Ref::steal(std::exchange(held, nullptr)).reset();
        }
        Ref::steal(std::exchange(self.attributes, nullptr)).reset();
        return 0;
    }

    static void finalize(PyObject* object) noexcept {
        self_of<Object>(object).transport.finalize();
    }

    static void deallocate(PyObject* object) noexcept {
        if (PyObject_CallFinalizerFromDealloc(object) < 0) {
            return;  // somebody has it again
        }
        PyObject_GC_UnTrack(object);
        if (self_of<Object>(object).weak_references != nullptr) {
            PyObject_ClearWeakRefs(object);
        }
        (void)clear(object);
        deallocate_object<Object>(object);
    }
};

/// What a type is made of besides its slots. The tables must outlive it.
struct TransportType {
    const char* name;  ///< "epoll._loop.<name>"
    const char* text;
    PyMethodDef* methods;
    PyGetSetDef* properties;  ///< with attributes_property()
    reprfunc describe;        ///< null: that of the base
};

/// Makes a type of transports and adds it to `module`. Its objects are of the class Object: a
/// TransportHead, followed by `transport`, the C++ half, which is made of the Loop and the object
/// itself. `bases` is a transport_base(), or a tuple with one. Empty with an exception set, also
/// when `bases` is.
template <class Object>
[[nodiscard]] Ref make_transport_type(PyObject* module, const TransportType& type,
                                      const Ref& bases) {
    if (!bases) {
        return {};
    }
    using Slots = TransportSlots<Object>;
    constexpr PyType_Slot k_end{0, nullptr};
    std::array slots{
        PyType_Slot{Py_tp_doc, const_cast<char*>(type.text)},
        PyType_Slot{Py_tp_traverse, reinterpret_cast<void*>(&Slots::traverse)},
        PyType_Slot{Py_tp_clear, reinterpret_cast<void*>(&Slots::clear)},
        PyType_Slot{Py_tp_finalize, reinterpret_cast<void*>(&Slots::finalize)},
        PyType_Slot{Py_tp_dealloc, reinterpret_cast<void*>(&Slots::deallocate)},
        PyType_Slot{Py_tp_methods, type.methods},
        PyType_Slot{Py_tp_getset, type.properties},
        PyType_Slot{Py_tp_members, Slots::members},
        type.describe == nullptr ? k_end
                                 : PyType_Slot{Py_tp_repr, reinterpret_cast<void*>(type.describe)},
        k_end,
    };
    PyType_Spec spec{type.name, sizeof(Object), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                     slots.data()};
    Ref made = Ref::steal(PyType_FromModuleAndSpec(module, &spec, bases.get()));
    return made && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(made.get())) == 0
               ? std::move(made)
               : Ref{};
}

/// A new object of such a type.
template <class Object>
[[nodiscard]] Ref allocate_object(const Ref& type, Loop& loop) {
    auto* const transport_type = reinterpret_cast<PyTypeObject*>(type.get());
    Ref object = Ref::steal(transport_type->tp_alloc(transport_type, 0));
    if (object) {
        auto& transport = self_of<Object>(object.get()).transport;
        ::new (&transport) decltype(Object::transport)(loop, object.get());
    }
    return object;
}

}  // namespace epoll::python
