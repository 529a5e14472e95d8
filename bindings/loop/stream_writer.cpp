#include "stream_writer.hpp"

#include <utility>

#include "../errors.hpp"
#include "../method.hpp"
#include "named_argument.hpp"
#include "stream_operation.hpp"
#include "stream_protocol.hpp"
#include "stream_reader.hpp"
#include "transport.hpp"

namespace epoll::python {

namespace {

using Writer = StreamWriterObject;

bool is_native(const Writer& writer) noexcept {
    return writer.transport && is_native_transport(*writer.state, writer.transport.get());
}

PyObject* make(PyTypeObject* type, PyObject* /*arguments*/, PyObject* /*names*/) noexcept {
    PyObject* const object = type->tp_alloc(type, 0);  // zero bytes are empty references
    if (object != nullptr) {
        writer_of(object).state = &LoopState::of_type(type);
    }
    return object;
}

void fill(Writer& self, PyObject* transport, PyObject* protocol, PyObject* reader,
          PyObject* loop) noexcept {
    self.transport = Ref::borrow(transport);
    self.protocol = Ref::borrow(protocol);
    self.reader = Ref::borrow(reader);
    self.loop = Ref::borrow(loop);
}

int initialize(PyObject* object, PyObject* arguments, PyObject* names) noexcept {
    static constexpr const char* k_names[] = {"transport", "protocol", "reader", "loop", nullptr};
    PyObject* transport = nullptr;
    PyObject* protocol = nullptr;
    PyObject* reader = nullptr;
    PyObject* loop = nullptr;
    if (PyArg_ParseTupleAndKeywords(arguments, names, "OOOO:StreamWriter",
                                    const_cast<char**>(k_names), &transport, &protocol, &reader,
                                    &loop) == 0) {
        return -1;
    }
    Writer& self = writer_of(object);
    reader = Py_IsNone(reader) ? nullptr : reader;
    if (!is_one_of(self.state->stream_protocol_type, protocol) ||
        (reader != nullptr && !is_one_of(self.state->stream_reader_type, reader))) {
        (void)error(PyExc_TypeError, "protocol and reader must be those of an epoll stream");
        return -1;
    }
    fill(self, transport, protocol, reader, loop);
    return 0;
}

/// False, with AttributeError, before __init__().
bool require_protocol(const Writer& self) noexcept {
    if (!self.protocol) {
        (void)error(PyExc_AttributeError, "'StreamWriter' object has no attribute '_protocol'");
    }
    return static_cast<bool>(self.protocol);
}

Ref write(Writer& self, PyObject* data) {
    if (is_native(self)) {
        const Ref transport = Ref::borrow(self.transport.get());
        return write_to(*self.state, transport.get(), data) ? Ref::none() : Ref{};
    }
    return call_method(self.state->streams.write, self.transport.get(), data) ? Ref::none() : Ref{};
}

Ref writelines(Writer& self, PyObject* data) {
    return call_method(self.state->streams.writelines, self.transport.get(), data) ? Ref::none()
                                                                                   : Ref{};
}

constexpr Signature<1> k_write = named_argument("write", "data");
constexpr Signature<1> k_writelines = named_argument("writelines", "data");

Ref close(Writer& self) { return call_method(self.state->streams.close, self.transport.get()); }

Ref is_closing_method(Writer& self) {
    return call_method(self.state->streams.is_closing, self.transport.get());
}

Ref drain(Writer& self) { return require_protocol(self) ? make_drain(self) : Ref{}; }
Ref wait_closed(Writer& self) { return require_protocol(self) ? make_wait_closed(self) : Ref{}; }

constexpr Signature<2> k_get_extra_info{
    "get_extra_info", {"name", "default"}, {Parameter::required, Parameter::optional}};

Ref get_extra_info(Writer& self, const CallArguments& arguments) {
    const auto bound = k_get_extra_info.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto [name, fallback] = *bound;
    PyObject* const values[] = {self.transport ? self.transport.get() : Py_None, name,
                                fallback == nullptr ? Py_None : fallback};
    return Ref::steal(PyObject_VectorcallMethod(self.state->streams.get_extra_info.get(), values,
                                                3 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
}

Ref transport(Writer& self) { return Ref::borrow(self.transport ? self.transport.get() : Py_None); }

Ref protocol(Writer& self) {
    return require_protocol(self) ? Ref::borrow(self.protocol.get()) : Ref{};
}

Ref reader(Writer& self) { return Ref::borrow(self.reader ? self.reader.get() : Py_None); }

Ref complete_future(Writer& self) {
    if (!self.complete_future) {
        Ref future = create_future(*self.state, self.loop.get());
        if (!future || !resolve_unless_cancelled(*self.state, future.get(), nullptr)) {
            return {};
        }
        self.complete_future = std::move(future);
    }
    return Ref::borrow(self.complete_future.get());
}

/// The writer is dropped: an open transport is closed with a warning, by asyncio's own finalizer.
void finalize(PyObject* object) noexcept {
    Writer& self = writer_of(object);
    const Ref& finalizer = self.state->streams.writer_finalizer;
    if (!finalizer || !self.protocol || (is_native(self) && is_closing(self) == Answer::yes)) {
        return;
    }
    const ExceptionKept kept;
    if (!Ref::steal(PyObject_CallOneArg(finalizer.get(), object))) {
        PyErr_WriteUnraisable(finalizer.get());
    }
}

int traverse(PyObject* object, visitproc visit, void* arg) noexcept {
    const Writer& self = writer_of(object);
    Py_VISIT(Py_TYPE(object));
    for (const Ref* const held :
         {&self.transport, &self.protocol, &self.reader, &self.loop, &self.complete_future}) {
        Py_VISIT(held->get());
    }
    return 0;
}

int clear(PyObject* object) noexcept {
    Writer& self = writer_of(object);
    self.protocol.reset();
    self.reader.reset();
    self.complete_future.reset();
    self.transport.reset();
    self.loop.reset();
    return 0;
}

PyMethodDef methods[] = {
    make_method<by_name<Writer, write, k_write>>(
        "write", "write($self, /, data)\n--\n\nSend bytes, or queue them."),
    make_method<by_name<Writer, writelines, k_writelines>>(
        "writelines", "writelines($self, /, data)\n--\n\nSend several bytes-like objects."),
    make_method<drain>("drain",
                       "drain($self, /)\n--\n\nWait until there is room for more to be written."),
    make_method<close>("close", "close($self, /)\n--\n\nSend what is queued, then close."),
    make_method<is_closing_method>(
        "is_closing", "is_closing($self, /)\n--\n\nReturn whether close() was called."),
    make_method<wait_closed>("wait_closed",
                             "wait_closed($self, /)\n--\n\nWait until the connection is closed."),
    make_method<get_extra_info>(
        "get_extra_info",
        "get_extra_info($self, name, default=None)\n--\n\nAsk the transport, as for its 'socket'."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    object_attribute<Writer, &Writer::transport>("_transport"),
    object_attribute<Writer, &Writer::loop>("_loop"),
    make_property<transport>("transport", "The transport that it writes to."),
    make_property<protocol>("_protocol", nullptr),
    make_property<reader>("_reader", nullptr),
    make_property<complete_future>("_complete_fut", nullptr),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The native half of StreamWriter.")},
    {Py_tp_new, reinterpret_cast<void*>(&make)},
    {Py_tp_init, reinterpret_cast<void*>(&initialize)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_finalize, reinterpret_cast<void*>(&finalize)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<Writer>)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"epoll._loop.NativeStreamWriter", sizeof(Writer), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, slots};

}  // namespace

Ref make_writer(LoopState& state, PyObject* transport, PyObject* protocol, PyObject* reader,
                PyObject* loop) noexcept {
    auto* const type = reinterpret_cast<PyTypeObject*>(state.stream_writer_type.get());
    Ref writer = Ref::steal(make(type, nullptr, nullptr));
    if (writer) {
        fill(writer_of(writer.get()), transport, protocol, reader, loop);
    }
    return writer;
}

Answer is_closing(const StreamWriterObject& writer) noexcept {
    if (is_native(writer)) {
        return is_closing(*writer.state, writer.transport.get()) ? Answer::yes : Answer::no;
    }
    return ask(writer.state->streams.is_closing, writer.transport.get());
}

bool add_writer_type(PyObject* module, LoopState& state) {
    state.stream_writer_type = derive_type(module, "StreamWriter", spec);
    return static_cast<bool>(state.stream_writer_type);
}

bool add_stream_types(PyObject* module, LoopState& state) {
    return state.streams.fill() && add_operation_type(module, state) &&
           add_reader_type(module, state) && add_protocol_type(module, state) &&
           add_writer_type(module, state);
}

}  // namespace epoll::python
