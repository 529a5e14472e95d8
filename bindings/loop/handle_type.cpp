#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include "../answers.hpp"
#include "../method.hpp"
#include "handle.hpp"
#include "handle_part.hpp"
#include "loop.hpp"

namespace epoll::python {

namespace {

struct HandleObject {
    PyObject_HEAD
    [[nodiscard]] PyObject* as_python() noexcept { return reinterpret_cast<PyObject*>(this); }
};

Ref cancel(HandleObject& self) {
    cancel_handle(self.as_python());
    return Ref::none();
}

Ref cancelled(HandleObject& self) { return as_bool(is_cancelled(self.as_python())); }

Ref when(HandleObject& self) {
    PyObject* const handle = self.as_python();
    return Ref::borrow(slot_of(handle, part_of(handle).loop().state().layout.when));
}

Ref get_context(HandleObject& self) {
    const CriticalSection section{self.as_python()};
    Ref context = own_context(self.as_python());
    return context || PyErr_Occurred() != nullptr ? std::move(context)
                                                  : error(PyExc_AttributeError, "_context");
}

int set_context(PyObject* handle, PyObject* value, void* /*unused*/) noexcept {
    HandlePart& part = part_of(handle);
    const CriticalSection section{handle};
    part.set_shares_context(false);
    const Ref old = exchange_slot(handle, part.loop().state().layout.context, Ref::borrow(value));
    return 0;
}

Ref get_loop(HandleObject& self) { return Ref::borrow(part_of(self.as_python()).loop_slot()); }

Ref get_lock(HandleObject& self) { return lock_of(self.as_python()); }

const PyGetSetDef k_context{"_context", make_property<&get_context>("_context", nullptr).get,
                            &set_context, "The context that the callback runs in.", nullptr};

const PyGetSetDef k_loop = make_property<&get_loop>("_loop", "The loop that it was made for.");

/// In the place of slots of the class: the context may be shared, the loop stays what it is.
std::array attributes{k_context, k_loop, PyGetSetDef{}};

/// This lock is made when it is needed.
std::array threadsafe_attributes{k_context, k_loop,
                                 make_property<&get_lock>("_lock", "Held while the callback runs."),
                                 PyGetSetDef{}};

constexpr const char* k_cancel_text = "cancel($self)\n--\n\nCancel the callback.";
constexpr const char* k_cancelled_text =
    "cancelled($self)\n--\n\nReturn True if the callback was cancelled.";

std::array handle_methods{make_method<&cancel>("cancel", k_cancel_text),
                          make_method<&cancelled>("cancelled", k_cancelled_text), PyMethodDef{}};

std::array timer_methods{make_method<&cancel>("cancel", k_cancel_text),
                         make_method<&cancelled>("cancelled", k_cancelled_text),
                         make_method<&when>("when",
                                            "when($self)\n--\n\n"
                                            "Return when the callback is due, in seconds of "
                                            "loop.time()."),
                         PyMethodDef{}};

/// What the class has takes the lock.
std::array threadsafe_methods{PyMethodDef{}};

constexpr Py_ssize_t k_first_slot = sizeof(PyObject);

/// Calls `visit_slot` for each slot of the Python class `base` in the memory of `handle`.
template <class Visit>
int for_each_slot(PyObject* handle, Visit visit_slot) noexcept {
    const PyTypeObject* const base = Py_TYPE(handle)->tp_base;
    for (Py_ssize_t at = k_first_slot; at < base->tp_basicsize; at += sizeof(PyObject*)) {
        if (at != base->tp_weaklistoffset) {
            if (const int stopped = visit_slot(at); stopped != 0) {
                return stopped;
            }
        }
    }
    return 0;
}

int traverse(PyObject* handle, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(handle));
    return for_each_slot(handle, [&](Py_ssize_t at) {
        Py_VISIT(slot_of(handle, at));
        return 0;
    });
}

int clear(PyObject* handle) noexcept {
    PyObject*& loop = part_of(handle).loop_slot();
    return for_each_slot(handle, [&](Py_ssize_t at) {
        if (&slot_of(handle, at) != &loop) {
            const Ref dropped = exchange_slot(handle, at, Ref{});
        }
        return 0;
    });
}

void deallocate(PyObject* handle) noexcept {
    PyObject_GC_UnTrack(handle);
    if (slot_of(handle, Py_TYPE(handle)->tp_weaklistoffset) != nullptr) {
        PyObject_ClearWeakRefs(handle);
    }
    HandlePart& part = part_of(handle);
    part.loop().state().pool(part.kind()).put(handle);
}

template <class Methods, class Attributes>
std::array<PyType_Slot, 6> slots_with(Methods& methods, Attributes& properties) noexcept {
    return {{{Py_tp_dealloc, reinterpret_cast<void*>(&deallocate)},
             {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
             {Py_tp_clear, reinterpret_cast<void*>(&clear)},
             {Py_tp_methods, methods.data()},
             {Py_tp_getset, properties.data()},
             {0, nullptr}}};
}

static_assert(alignof(HandlePart) <= alignof(PyObject*) &&
              alignof(TimerPart) <= alignof(PyObject*));

/// A type derived from `base`, a Python class whose instances consist of slots, with `room` more.
Ref derive(PyObject* module, PyObject* base, const char* name, std::size_t room,
           std::span<PyType_Slot> slots) noexcept {
    const auto* const parent = reinterpret_cast<PyTypeObject*>(base);
    if (parent->tp_dictoffset != 0 || parent->tp_itemsize != 0) {
        return error(PyExc_ImportError, "%R has a dictionary: this asyncio is not CPython's", base);
    }
    const std::size_t size = static_cast<std::size_t>(parent->tp_basicsize) + room;
    PyType_Spec spec{name, static_cast<int>(size), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                     slots.data()};
    return Ref::steal(PyType_FromModuleAndSpec(module, &spec, base));
}

/// The offset of a slot of the class; false with ImportError set when it has none of that name.
bool find_slot(PyObject* type, const char* name, Py_ssize_t& offset) noexcept {
    const Ref member = Ref::steal(PyObject_GetAttrString(type, name));
    if (!member || !Py_IS_TYPE(member.get(), &PyMemberDescr_Type)) {
        (void)error(PyExc_ImportError, "%R has no slot %s: this asyncio is not CPython's", type,
                    name);
        return false;
    }
    offset = reinterpret_cast<PyMemberDescrObject*>(member.get())->d_member->offset;
    return true;
}

bool find_slots(PyObject* type, HandleLayout& layout) noexcept {
    return find_slot(type, "_callback", layout.callback) && find_slot(type, "_args", layout.args) &&
           find_slot(type, "_cancelled", layout.cancelled) &&
           find_slot(type, "_loop", layout.loop) &&
           find_slot(type, "_source_traceback", layout.source_traceback) &&
           find_slot(type, "_repr", layout.repr) && find_slot(type, "_context", layout.context) &&
           find_slot(type, "_when", layout.when) && find_slot(type, "_scheduled", layout.scheduled);
}

/// From Python 3.14 on: what call_soon_threadsafe() answers.
bool add_threadsafe_type(PyObject* module, LoopState& state) noexcept {
    const Ref events = Ref::steal(PyImport_ImportModule("asyncio.events"));
    if (!events || PyObject_HasAttrString(events.get(), "_ThreadSafeHandle") == 0) {
        return static_cast<bool>(events);
    }
    const Ref base = Ref::steal(PyObject_GetAttrString(events.get(), "_ThreadSafeHandle"));
    if (!base || !find_slot(base.get(), "_lock", state.layout.lock)) {
        return false;
    }
    auto slots = slots_with(threadsafe_methods, threadsafe_attributes);
    state.threadsafe_handle_type = derive(module, base.get(), "epoll._loop.ThreadSafeHandle",
                                          sizeof(RunnerPart) + sizeof(HandlePart), slots);
    if (!state.threadsafe_handle_type) {
        return false;
    }
    auto* const type = reinterpret_cast<PyTypeObject*>(state.threadsafe_handle_type.get());
    state.threadsafe_handles.open(type, HandleKind::threadsafe, state.layout);
    return PyModule_AddType(module, type) == 0;
}

}  // namespace

bool add_handle_types(PyObject* module, LoopState& state) {
    const Ref asyncio = Ref::steal(PyImport_ImportModule("asyncio"));
    const Ref handle =
        asyncio ? Ref::steal(PyObject_GetAttrString(asyncio.get(), "Handle")) : Ref{};
    const Ref timer_handle =
        handle ? Ref::steal(PyObject_GetAttrString(asyncio.get(), "TimerHandle")) : Ref{};
    if (!timer_handle || !find_slots(timer_handle.get(), state.layout)) {
        return false;
    }
    if (!state.contexts.find()) {
        return false;
    }
    auto handle_slots = slots_with(handle_methods, attributes);
    state.handle_type =
        derive(module, handle.get(), "epoll._loop.Handle", sizeof(HandlePart), handle_slots);
    auto timer_slots = slots_with(timer_methods, attributes);
    state.timer_handle_type = derive(module, timer_handle.get(), "epoll._loop.TimerHandle",
                                     sizeof(TimerPart) + sizeof(HandlePart), timer_slots);
    if (!state.handle_type || !state.timer_handle_type) {
        return false;
    }
    auto* const plain = reinterpret_cast<PyTypeObject*>(state.handle_type.get());
    auto* const timed = reinterpret_cast<PyTypeObject*>(state.timer_handle_type.get());
    state.handles.open(plain, HandleKind::plain, state.layout);
    state.timer_handles.open(timed, HandleKind::timer, state.layout);
    return PyModule_AddType(module, plain) == 0 && PyModule_AddType(module, timed) == 0 &&
           add_threadsafe_type(module, state);
}

}  // namespace epoll::python
