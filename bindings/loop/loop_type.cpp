#include <array>
#include <memory>
#include <vector>

#include "../answers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "loop.hpp"

namespace epoll::python {

namespace {

Ref stop(LoopObject& self) {
    self.loop->stop();
    return Ref::none();
}

Ref is_running(LoopObject& self) { return as_bool(self.loop->is_running()); }
Ref is_closed(LoopObject& self) { return as_bool(self.loop->is_closed()); }
Ref check_closed(LoopObject& self) { return as_none(self.loop->require_open()); }
Ref get_debug(LoopObject& self) { return as_bool(self.loop->is_debug()); }

Ref run(LoopObject& self) { return as_none(self.loop->run()); }
Ref run_once(LoopObject& self) { return as_none(self.loop->run_turn()); }

Ref write_to_self(LoopObject& self) {
    self.loop->wake();
    return Ref::none();
}

Ref close_native(LoopObject& self) {
    if (self.loop->is_driving()) {
        return error(PyExc_RuntimeError, "Cannot close a running event loop");
    }
    self.loop->close();
    return Ref::none();
}

// The attributes that asyncio's own code reads and writes

Ref get_thread(LoopObject& self) {
    const unsigned long thread = self.loop->thread();
    return thread == 0 ? Ref::none() : Ref::steal(PyLong_FromUnsignedLong(thread));
}

bool set_thread(LoopObject& self, PyObject* value) noexcept {
    const unsigned long thread = value == Py_None ? 0 : PyLong_AsUnsignedLong(value);
    if (PyErr_Occurred() != nullptr) {
        return false;
    }
    self.loop->set_thread(thread);
    return true;
}

template <void (Loop::*set)(bool) noexcept>
bool set_flag(LoopObject& self, PyObject* value) noexcept {
    const int is_true = PyObject_IsTrue(value);
    if (is_true >= 0) {
        (self.loop->*set)(is_true != 0);
    }
    return is_true >= 0;
}

Ref get_stopping(LoopObject& self) { return as_bool(self.loop->is_stopping()); }
Ref get_task_factory(LoopObject& self) { return Ref::borrow(self.loop->task_factory()); }

bool set_task_factory(LoopObject& self, PyObject* value) noexcept {
    self.loop->set_task_factory(Ref::borrow(value));
    return true;
}

template <Ref (*get)(LoopObject&), bool (*set)(LoopObject&, PyObject*) noexcept>
PyGetSetDef make_attribute(const char* name) noexcept {
    PyGetSetDef attribute = make_property<get>(name, "As in asyncio.BaseEventLoop.");
    attribute.set = [](PyObject* self, PyObject* value, void*) {
        if (value == nullptr) {
            PyErr_SetString(PyExc_AttributeError, "it cannot be deleted");
            return -1;
        }
        return set(self_of<LoopObject>(self), value) ? 0 : -1;
    };
    return attribute;
}

std::array attributes{
    make_attribute<&get_thread, &set_thread>("_thread_id"),
    make_attribute<&is_closed, &set_flag<&Loop::set_closed>>("_closed"),
    make_attribute<&get_debug, &set_flag<&Loop::set_debug>>("_debug"),
    make_attribute<&get_stopping, &set_flag<&Loop::set_stopping>>("_stopping"),
    make_attribute<&get_task_factory, &set_task_factory>("_task_factory"),
    PyGetSetDef{},
};

PyObject* make_loop(PyTypeObject* type, PyObject* /*arguments*/, PyObject* /*keywords*/) noexcept {
    PyObject* const module = PyType_GetModuleByDef(type, &loop_module_definition);
    if (module == nullptr) {
        return nullptr;
    }
    try {
        auto loop = std::make_unique<Loop>(LoopState::of(module), Ref::borrow(module));
        PyObject* const self = type->tp_alloc(type, 0);
        if (self != nullptr) {
            loop->set_self(self);
            self_of<LoopObject>(self).loop = loop.release();
        }
        return self;
    } catch (...) {
        translate_exception();
        return nullptr;
    }
}

int traverse(PyObject* self, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(self));
    Loop* const loop = self_of<LoopObject>(self).loop;
    return loop != nullptr ? loop->traverse(visit, arg) : 0;
}

int clear(PyObject* self) noexcept {
    if (Loop* const loop = self_of<LoopObject>(self).loop; loop != nullptr) {
        loop->clear();
    }
    return 0;
}

void deallocate(PyObject* self) noexcept {
    const Ref type = Ref::steal(reinterpret_cast<PyObject*>(Py_TYPE(self)));
    PyObject_GC_UnTrack(self);
    delete self_of<LoopObject>(self).loop;
    Py_TYPE(self)->tp_free(self);
}

void append_running_methods(std::vector<PyMethodDef>& methods) {
    methods.insert(
        methods.end(),
        {make_method<&stop>("stop",
                            "stop($self)\n--\n\n"
                            "Make run_forever() return at the end of the present turn.\n"
                            "\n"
                            "Everything that is scheduled already still runs. Before\n"
                            "run_forever(): it makes one turn, without waiting."),
         make_method<&is_running>("is_running",
                                  "is_running($self)\n--\n\n"
                                  "Return whether the loop runs at this moment."),
         make_method<&is_closed>("is_closed",
                                 "is_closed($self)\n--\n\n"
                                 "Return whether close() was called."),
         make_method<&check_closed>("_check_closed", "Raise RuntimeError unless it is open."),
         make_method<&get_debug>("get_debug",
                                 "get_debug($self)\n--\n\n"
                                 "Return whether the loop is in debug mode."),
         make_method<&run>("_run", "Run the reactor until stop(): the middle of run_forever()."),
         make_method<&run_once>("_run_once", "Run the reactor for one turn."),
         make_method<&write_to_self>("_write_to_self", "Wake the loop, from any thread."),
         make_method<&close_native>("_close_native",
                                    "Drop what is scheduled, close the descriptors.")});
}

/// Tells the loops of this interpreter that they are in a child now.
PyObject* after_fork(PyObject* module, PyObject* /*unused*/) noexcept {
    for (Loop& loop : LoopState::of(module).loops) {
        loop.on_fork();
    }
    return Ref::none().release();
}

PyMethodDef after_fork_method{"_after_fork", &after_fork, METH_NOARGS, nullptr};

/// Gives a class derived from Loop descriptors of its own for the methods of Loop that it has by
/// inheritance: the interpreter takes a shorter way to a method of the very class of an object.
PyObject* adopt_methods(PyObject* module, PyObject* type) noexcept {
    auto* const adopter = reinterpret_cast<PyTypeObject*>(type);
    PyObject* const base = LoopState::of(module).loop_type.get();
    if (!PyType_Check(type) ||
        PyType_IsSubtype(adopter, reinterpret_cast<PyTypeObject*>(base)) == 0) {
        return error(PyExc_TypeError, "not a class derived from Loop: %R", type).release();
    }
    for (PyMethodDef& method : LoopState::of(module).loop_methods) {
        if (method.ml_name == nullptr) {
            break;
        }
        const Ref theirs = Ref::steal(PyObject_GetAttrString(type, method.ml_name));
        const Ref ours = Ref::steal(PyObject_GetAttrString(base, method.ml_name));
        if (!theirs || !ours) {
            return nullptr;
        }
        if (theirs.get() == ours.get()) {
            const Ref adopted = Ref::steal(PyDescr_NewMethod(adopter, &method));
            if (!adopted || PyObject_SetAttrString(type, method.ml_name, adopted.get()) < 0) {
                return nullptr;
            }
        }
    }
    return Ref::none().release();
}

PyMethodDef adopt_methods_function{
    "_adopt_methods", &adopt_methods, METH_O,
    "_adopt_methods(type, /)\n--\n\n"
    "Make the methods that a class inherits from Loop its own, which are called faster."};

bool add_function(PyObject* module, PyMethodDef& definition) noexcept {
    const Ref name = Ref::steal(PyModule_GetNameObject(module));
    const Ref made = name ? Ref::steal(PyCFunction_NewEx(&definition, module, name.get())) : Ref{};
    return made && PyModule_AddObjectRef(module, definition.ml_name, made.get()) == 0;
}

bool register_at_fork(PyObject* module) noexcept {
    const Ref os = Ref::steal(PyImport_ImportModule("os"));
    const Ref call = Ref::steal(PyCFunction_NewEx(&after_fork_method, module, nullptr));
    const Ref function =
        os ? Ref::steal(PyObject_GetAttrString(os.get(), "register_at_fork")) : Ref{};
    const Ref keywords =
        call ? Ref::steal(Py_BuildValue("{sO}", "after_in_child", call.get())) : Ref{};
    const Ref none = Ref::steal(PyTuple_New(0));
    return function && keywords && none &&
           Ref::steal(PyObject_Call(function.get(), none.get(), keywords.get()));
}

}  // namespace

bool add_loop_type(PyObject* module, LoopState& state) {
    state.create_task_text =
        Ref::steal(PyObject_GetAttrString(state.support.get(), "CREATE_TASK_TEXT"));
    const char* const create_task_text =
        state.create_task_text ? PyUnicode_AsUTF8(state.create_task_text.get()) : nullptr;
    if (create_task_text == nullptr) {
        return false;
    }
    append_running_methods(state.loop_methods);
    append_scheduling_methods(state.loop_methods, create_task_text);
    append_watch_methods(state.loop_methods);
    append_socket_methods(state.loop_methods);
    append_transport_methods(state.loop_methods);
    append_pipe_methods(state.loop_methods);
    append_observing_methods(state.loop_methods);
    state.loop_methods.push_back({});
    std::array slots{
        PyType_Slot{Py_tp_doc, const_cast<char*>("The native half of epoll.EventLoop.")},
        PyType_Slot{Py_tp_new, reinterpret_cast<void*>(&make_loop)},
        PyType_Slot{Py_tp_dealloc, reinterpret_cast<void*>(&deallocate)},
        PyType_Slot{Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
        PyType_Slot{Py_tp_clear, reinterpret_cast<void*>(&clear)},
        PyType_Slot{Py_tp_methods, state.loop_methods.data()},
        PyType_Slot{Py_tp_getset, attributes.data()},
        PyType_Slot{0, nullptr},
    };
    PyType_Spec spec{"epoll._loop.Loop", sizeof(LoopObject), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, slots.data()};
    state.loop_type = Ref::steal(PyType_FromModuleAndSpec(module, &spec, nullptr));
    return state.loop_type && register_at_fork(module) &&
           add_function(module, adopt_methods_function) &&
           PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(state.loop_type.get())) == 0;
}

}  // namespace epoll::python
