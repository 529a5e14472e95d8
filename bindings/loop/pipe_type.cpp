#include <array>
#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "../answers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "loop_state.hpp"
#include "named_argument.hpp"
#include "pipe_transport.hpp"
#include "transport_head.hpp"

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#endif

namespace epoll::python {

namespace {

using ReadObject = ReadPipeObject;
using WriteObject = WritePipeObject;

#if PY_VERSION_HEX < 0x030C0000
constexpr int k_offset_type = T_PYSSIZET;
constexpr int k_read_only = READONLY;
#else
constexpr int k_offset_type = Py_T_PYSSIZET;
constexpr int k_read_only = Py_READONLY;
#endif

// What both types have

template <class Object>
Ref set_protocol(Object& self, PyObject* protocol) {
    self.transport.set_protocol(protocol);
    return Ref::none();
}

template <class Object>
Ref get_protocol(Object& self) {
    return or_none(self.transport.protocol());
}

template <class Object>
Ref is_closing(Object& self) {
    return as_bool(self.transport.is_closing());
}

template <class Object>
Ref close(Object& self) {
    self.transport.close();
    return Ref::none();
}

template <class Object>
Ref loop(Object& self) {
    return or_none(self.transport.loop_object());
}

template <class Object>
Ref pipe(Object& self) {
    return or_none(self.transport.pipe());
}

/// `transport._pipe = None`: what programs do that want the pipe for themselves.
template <class Object>
int set_pipe(PyObject* object, PyObject* value, void* /*unused*/) noexcept {
    if (value != Py_None) {
        (void)error(PyExc_AttributeError, "_pipe can only be set to None");
        return -1;
    }
    self_of<Object>(object).transport.disown();
    return 0;
}

template <class Object>
PyGetSetDef make_pipe_property() noexcept {
    PyGetSetDef property =
        make_property<pipe<Object>>("_pipe", "The pipe object; None after the end.");
    property.set = &set_pipe<Object>;
    return property;
}

template <class Object>
Ref descriptor(Object& self) {
    return Ref::steal(PyLong_FromLong(self.transport.fd()));
}

template <class Object>
const char* state_of(const Object& self) noexcept {
    const char* const closing = self.transport.is_closing() ? " closing" : "";
    return self.transport.is_lost() ? " closed" : closing;
}

template <class Object>
const char* polling_of(const Object& self) noexcept {
    if (self.transport.is_lost()) {
        return "closed";
    }
    if (self.transport.is_abandoned()) {
        return "open";
    }
    return self.transport.is_polling() ? "polling" : "idle";
}

template <class Object>
int traverse(PyObject* object, visitproc visit, void* arg) noexcept {
    Object& self = self_of<Object>(object);
    Py_VISIT(Py_TYPE(object));
    for (PyObject* const held : self.extra) {
        Py_VISIT(held);
    }
    Py_VISIT(self.attributes);
    return self.transport.traverse(visit, arg);
}

template <class Object>
int clear(PyObject* object) noexcept {
    Object& self = self_of<Object>(object);
    self.transport.clear();
    for (PyObject*& held : self.extra) {
        Ref::steal(std::exchange(held, nullptr)).reset();
    }
    Ref::steal(std::exchange(self.attributes, nullptr)).reset();
    return 0;
}

template <class Object>
void finalize(PyObject* object) noexcept {
    self_of<Object>(object).transport.finalize();
}

template <class Object>
void deallocate(PyObject* object) noexcept {
    if (PyObject_CallFinalizerFromDealloc(object) < 0) {
        return;  // somebody has it again
    }
    const Ref type = Ref::steal(reinterpret_cast<PyObject*>(Py_TYPE(object)));
    PyObject_GC_UnTrack(object);
    Object& self = self_of<Object>(object);
    if (self.weak_references != nullptr) {
        PyObject_ClearWeakRefs(object);
    }
    (void)clear<Object>(object);
    std::destroy_at(&self.transport);
    Py_TYPE(object)->tp_free(object);
}

constexpr Signature<1> k_set_protocol = named_argument("set_protocol", "protocol");

template <class Object>
PyMethodDef make_set_protocol() noexcept {
    return make_method<by_name<Object, set_protocol<Object>, k_set_protocol>>(
        "set_protocol",
        "set_protocol($self, /, protocol)\n--\n\nHand the pipe to another protocol.");
}

template <class Object>
PyMethodDef make_get_protocol() noexcept {
    return make_method<get_protocol<Object>>(
        "get_protocol", "get_protocol($self, /)\n--\n\nReturn the protocol; None after the end.");
}

template <class Object>
PyMethodDef make_is_closing() noexcept {
    return make_method<is_closing<Object>>("is_closing",
                                           "is_closing($self, /)\n--\n\n"
                                           "Return whether the transport is closing or closed.");
}

template <class Object>
std::array<PyGetSetDef, 8> make_properties(PyGetSetDef more) noexcept {
    return {
        make_property<loop<Object>>("_loop", "The event loop; None after the end."),
        make_property<get_protocol<Object>>("_protocol", "The protocol; None after the end."),
        make_pipe_property<Object>(),
        make_property<descriptor<Object>>("_fileno", "The descriptor, also after the end."),
        make_property<is_closing<Object>>("_closing", "As is_closing()."),
        more,
        PyGetSetDef{"__dict__", &PyObject_GenericGetDict, &PyObject_GenericSetDict, nullptr,
                    nullptr},
        PyGetSetDef{},
    };
}

// Reading

Ref is_reading(ReadObject& self) { return as_bool(self.transport.is_reading()); }
Ref is_paused(ReadObject& self) { return as_bool(self.transport.is_paused()); }

Ref pause_reading(ReadObject& self) {
    self.transport.pause_reading();
    return Ref::none();
}

Ref resume_reading(ReadObject& self) {
    self.transport.resume_reading();
    return Ref::none();
}

PyObject* describe_reader(PyObject* object) noexcept {
    const ReadObject& self = self_of<ReadObject>(object);
    return PyUnicode_FromFormat("<ReadPipeTransport%s fd=%d %s>", state_of(self),
                                self.transport.fd(), polling_of(self));
}

PyMethodDef reader_methods[] = {
    make_set_protocol<ReadObject>(),
    make_get_protocol<ReadObject>(),
    make_is_closing<ReadObject>(),
    make_method<close<ReadObject>>("close",
                                   "close($self, /)\n--\n\nRead no more and close the pipe."),
    make_method<is_reading>("is_reading",
                            "is_reading($self, /)\n--\n\nReturn whether new data is delivered."),
    make_method<pause_reading>("pause_reading",
                               "pause_reading($self, /)\n--\n\n"
                               "Deliver no data until resume_reading()."),
    make_method<resume_reading>("resume_reading",
                                "resume_reading($self, /)\n--\n\nDeliver data again."),
    {nullptr, nullptr, 0, nullptr},
};

std::array reader_properties = make_properties<ReadObject>(
    make_property<is_paused>("_paused", "pause_reading() was called last."));

// Writing

Ref write(WriteObject& self, PyObject* data) { return as_none(self.transport.write(data)); }
Ref can_write_eof(WriteObject&) { return as_bool(true); }
Ref is_protocol_paused(WriteObject& self) { return as_bool(self.transport.is_protocol_paused()); }

Ref abort(WriteObject& self) {
    self.transport.force_close(Py_None);
    return Ref::none();
}

Ref get_write_buffer_size(WriteObject& self) { return as_number(self.transport.unwritten()); }

Ref get_write_buffer_limits(WriteObject& self) {
    return Ref::steal(Py_BuildValue("(nn)", static_cast<Py_ssize_t>(self.transport.low_water()),
                                    static_cast<Py_ssize_t>(self.transport.high_water())));
}

Ref set_write_buffer_limits(WriteObject& self, const CallArguments& arguments) {
    const auto limits = bind_write_limits(arguments);
    return limits ? as_none(self.transport.set_limits(limits->high, limits->low)) : Ref{};
}

PyObject* describe_writer(PyObject* object) noexcept {
    const WriteObject& self = self_of<WriteObject>(object);
    if (self.transport.is_lost()) {
        return PyUnicode_FromFormat("<WritePipeTransport closed fd=%d closed>",
                                    self.transport.fd());
    }
    return PyUnicode_FromFormat("<WritePipeTransport%s fd=%d %s bufsize=%zu>", state_of(self),
                                self.transport.fd(), polling_of(self), self.transport.unwritten());
}

constexpr Signature<1> k_write = named_argument("write", "data");

PyMethodDef writer_methods[] = {
    make_set_protocol<WriteObject>(),
    make_get_protocol<WriteObject>(),
    make_is_closing<WriteObject>(),
    make_method<by_name<WriteObject, write, k_write>>(
        "write", "write($self, /, data)\n--\n\nWrite bytes; never blocks."),
    make_method<close<WriteObject>>("close",
                                    "close($self, /)\n--\n\n"
                                    "Write what is unwritten, then close the pipe."),
    make_method<close<WriteObject>>("write_eof",
                                    "write_eof($self, /)\n--\n\nAs close(): a pipe has no "
                                    "other way to tell the end."),
    make_method<can_write_eof>("can_write_eof", "can_write_eof($self, /)\n--\n\nReturn True."),
    make_method<abort>("abort", "abort($self, /)\n--\n\nClose at once; what is unwritten is lost."),
    make_method<get_write_buffer_size>("get_write_buffer_size",
                                       "get_write_buffer_size($self, /)\n--\n\n"
                                       "Return how many bytes the kernel has not taken yet."),
    make_method<get_write_buffer_limits>("get_write_buffer_limits",
                                         "get_write_buffer_limits($self, /)\n--\n\n"
                                         "Return (low, high), in bytes."),
    make_method<set_write_buffer_limits>(
        "set_write_buffer_limits",
        "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
        "Set when pause_writing() and resume_writing() are called, in bytes unwritten."),
    {nullptr, nullptr, 0, nullptr},
};

std::array writer_properties = make_properties<WriteObject>(
    make_property<is_protocol_paused>("_protocol_paused", "pause_writing() was called last."));

// The types

template <class Object>
using HeadOf = PipeHead<Object::k_hidden_slots>;

template <class Object>
PyMemberDef members[] = {
    {"__dictoffset__", k_offset_type, offsetof(HeadOf<Object>, attributes), k_read_only, nullptr},
    {"__weaklistoffset__", k_offset_type, offsetof(HeadOf<Object>, weak_references), k_read_only,
     nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

/// True if instances of `base` are exactly what precedes our part in an Object.
template <class Object>
bool has_expected_layout(PyObject* base) noexcept {
    using Head = HeadOf<Object>;
    const Ref slot = Ref::steal(PyObject_GetAttrString(base, "_extra"));
    if (slot && Py_IS_TYPE(slot.get(), &PyMemberDescr_Type) &&
        reinterpret_cast<PyTypeObject*>(base)->tp_basicsize == offsetof(Head, attributes) &&
        reinterpret_cast<PyMemberDescrObject*>(slot.get())->d_member->offset ==
            offsetof(Head, extra)) {
        return true;
    }
    (void)error(PyExc_ImportError, "%R has an unknown layout: this asyncio is not CPython's", base);
    return false;
}

/// What one of the types is made of; `name` is "epoll._loop.<name>".
struct PipeType {
    const char* name;
    const char* base;
    const char* text;
    PyMethodDef* methods;
    PyGetSetDef* properties;
    reprfunc describe;
};

template <class Object>
Ref make_type(PyObject* module, const PipeType& type) {
    const Ref transports = Ref::steal(PyImport_ImportModule("asyncio.transports"));
    const Ref base =
        transports ? Ref::steal(PyObject_GetAttrString(transports.get(), type.base)) : Ref{};
    if (!base || !has_expected_layout<Object>(base.get())) {
        return {};
    }
    std::array slots{
        PyType_Slot{Py_tp_doc, const_cast<char*>(type.text)},
        PyType_Slot{Py_tp_traverse, reinterpret_cast<void*>(&traverse<Object>)},
        PyType_Slot{Py_tp_clear, reinterpret_cast<void*>(&clear<Object>)},
        PyType_Slot{Py_tp_finalize, reinterpret_cast<void*>(&finalize<Object>)},
        PyType_Slot{Py_tp_dealloc, reinterpret_cast<void*>(&deallocate<Object>)},
        PyType_Slot{Py_tp_repr, reinterpret_cast<void*>(type.describe)},
        PyType_Slot{Py_tp_methods, type.methods},
        PyType_Slot{Py_tp_getset, type.properties},
        PyType_Slot{Py_tp_members, members<Object>},
        PyType_Slot{0, nullptr},
    };
    PyType_Spec spec{type.name, sizeof(Object), 0,
                     Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                     slots.data()};
    Ref made = Ref::steal(PyType_FromModuleAndSpec(module, &spec, base.get()));
    return made && PyModule_AddType(module, reinterpret_cast<PyTypeObject*>(made.get())) == 0
               ? std::move(made)
               : Ref{};
}

// The methods of Loop

template <class Object>
Ref make_pipe(Loop& loop, const Ref& type, const PipeParts& parts) {
    auto* const pipe_type = reinterpret_cast<PyTypeObject*>(type.get());
    Ref object = Ref::steal(pipe_type->tp_alloc(pipe_type, 0));
    if (!object) {
        return {};
    }
    Object& self = self_of<Object>(object.get());
    ::new (&self.transport) decltype(self.transport)(loop, object.get());
    return self.transport.start(parts) ? std::move(object) : Ref{};
}

template <class Object, Ref LoopState::* type>
Ref make_pipe_transport(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<4> k_signature{
        "_make_pipe_transport",
        {"pipe", "protocol", "waiter", "extra"},
        {Parameter::required, Parameter::required, Parameter::optional, Parameter::optional},
    };
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto& [pipe, protocol, waiter, extra] = *bound;
    return make_pipe<Object>(*self.loop, self.loop->state().*type, {pipe, protocol, waiter, extra});
}

}  // namespace

bool add_pipe_types(PyObject* module, LoopState& state) {
    state.read_pipe_type = make_type<ReadObject>(
        module, {"epoll._loop.ReadPipeTransport", "ReadTransport",
                 "The reading end of a pipe, as asyncio.ReadTransport describes it.\n"
                 "\n"
                 "Belongs to the loop's thread.",
                 reader_methods, reader_properties.data(), &describe_reader});
    state.write_pipe_type = make_type<WriteObject>(
        module, {"epoll._loop.WritePipeTransport", "_FlowControlMixin",
                 "The writing end of a pipe, as asyncio.WriteTransport describes it.\n"
                 "\n"
                 "Belongs to the loop's thread.",
                 writer_methods, writer_properties.data(), &describe_writer});
    return state.read_pipe_type && state.write_pipe_type;
}

void append_pipe_methods(std::vector<PyMethodDef>& methods) {
    methods.push_back(make_method<make_pipe_transport<ReadObject, &LoopState::read_pipe_type>>(
        "_make_read_pipe_transport",
        "_make_read_pipe_transport($self, /, pipe, protocol, waiter=None, extra=None)\n--\n\n"
        "Make the transport of the reading end of a pipe object, which it closes at its end."));
    methods.push_back(make_method<make_pipe_transport<WriteObject, &LoopState::write_pipe_type>>(
        "_make_write_pipe_transport",
        "_make_write_pipe_transport($self, /, pipe, protocol, waiter=None, extra=None)\n--\n\n"
        "Make the transport of the writing end of a pipe object, which it closes at its end."));
}

}  // namespace epoll::python
