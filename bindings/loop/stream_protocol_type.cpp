// The type epoll._loop.StreamReaderProtocol.

#include <new>

#include "../answers.hpp"
#include "../buffers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "named_argument.hpp"
#include "stream_protocol.hpp"
#include "stream_reader.hpp"

namespace epoll::python {

namespace {

using Object = StreamProtocolObject;

PyObject* make(PyTypeObject* type, PyObject* /*arguments*/, PyObject* /*names*/) noexcept {
    PyObject* const object = type->tp_alloc(type, 0);
    if (object != nullptr) {
        ::new (&protocol_of(object)) StreamProtocol{LoopState::of_type(type), object};
    }
    return object;
}

PyObject* null_if_none(PyObject* object) noexcept {
    return object == nullptr || Py_IsNone(object) ? nullptr : object;
}

int initialize(PyObject* object, PyObject* arguments, PyObject* names) noexcept {
    static constexpr const char* k_names[] = {"stream_reader", "client_connected_cb", "loop",
                                              nullptr};
    PyObject* reader = nullptr;
    PyObject* callback = nullptr;
    PyObject* loop = nullptr;
    if (PyArg_ParseTupleAndKeywords(arguments, names, "O|OO:StreamReaderProtocol",
                                    const_cast<char**>(k_names), &reader, &callback, &loop) == 0) {
        return -1;
    }
    reader = null_if_none(reader);
    const LoopState& state = LoopState::of_type(Py_TYPE(object));
    if (reader != nullptr && !is_one_of(state.stream_reader_type, reader)) {
        (void)error(PyExc_TypeError, "stream_reader must be an epoll StreamReader, not %s",
                    Py_TYPE(reader)->tp_name);
        return -1;
    }
    return protocol_of(object).start(reader, null_if_none(callback), loop) ? 0 : -1;
}

Ref connection_made(Object& self, PyObject* transport) {
    return as_none(self.native.on_connection_made(transport));
}

Ref connection_lost(Object& self, PyObject* exception) {
    return as_none(self.native.on_connection_lost(exception));
}

Ref data_received(Object& self, PyObject* data) {
    BytesView view;
    return view.open(data) ? as_none(self.native.on_bytes(view.bytes())) : Ref{};
}

Ref eof_received(Object& self) {
    const int keep_open = self.native.on_eof();
    return keep_open < 0 ? Ref{} : as_bool(keep_open != 0);
}

Ref pause_writing(Object& self) { return as_none(self.native.on_pause_writing()); }
Ref resume_writing(Object& self) { return as_none(self.native.on_resume_writing()); }
Ref closed(Object& self) { return self.native.closed(); }
Ref drain_waiters(Object& self) { return self.native.drain_waiters(); }

Ref reader(Object& self) {
    Ref found = self.native.reader();
    return found ? std::move(found) : Ref::none();
}

/// object_attribute and flag_attribute for what the C++ part holds.
template <Ref StreamProtocol::* Field>
PyGetSetDef part_attribute(const char* name) noexcept {
    return {name,
            [](PyObject* self, void*) noexcept -> PyObject* {
                PyObject* const value = (protocol_of(self).*Field).get();
                return Ref::borrow(value == nullptr ? Py_None : value).release();
            },
            [](PyObject* self, PyObject* value, void*) noexcept {
                protocol_of(self).*Field = Ref::borrow(null_if_none(value));
                return 0;
            },
            nullptr, nullptr};
}

template <bool StreamProtocol::* Field>
PyGetSetDef part_flag(const char* name) noexcept {
    return {name,
            [](PyObject* self, void*) noexcept -> PyObject* {
                return PyBool_FromLong(protocol_of(self).*Field);
            },
            [](PyObject* self, PyObject* value, void*) noexcept {
                const int is_true = value == nullptr ? 0 : PyObject_IsTrue(value);
                if (is_true >= 0) {
                    protocol_of(self).*Field = is_true != 0;
                }
                return is_true < 0 ? -1 : 0;
            },
            nullptr, nullptr};
}

PyObject* get_weak_reader(PyObject* object, void*) noexcept {
    PyObject* const reference = protocol_of(object).weak_reader();
    return Ref::borrow(reference == nullptr ? Py_None : reference).release();
}

int set_weak_reader(PyObject* object, PyObject* value, void*) noexcept {
    return protocol_of(object).set_weak_reader(null_if_none(value)) ? 0 : -1;
}

int traverse(PyObject* object, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(object));
    return protocol_of(object).traverse(visit, arg);
}

int clear(PyObject* object) noexcept {
    protocol_of(object).clear();
    return 0;
}

void finalize(PyObject* object) noexcept { protocol_of(object).forget_failure(); }

constexpr Signature<1> k_connection_made = named_argument("connection_made", "transport");
constexpr Signature<1> k_connection_lost = named_argument("connection_lost", "exc");
constexpr Signature<1> k_data_received = named_argument("data_received", "data");

PyMethodDef methods[] = {
    make_method<by_name<Object, connection_made, k_connection_made>>(
        "connection_made", "connection_made($self, /, transport)\n--\n\n"),
    make_method<by_name<Object, connection_lost, k_connection_lost>>(
        "connection_lost", "connection_lost($self, /, exc)\n--\n\n"),
    make_method<by_name<Object, data_received, k_data_received>>(
        "data_received", "data_received($self, /, data)\n--\n\n"),
    make_method<eof_received>("eof_received", "eof_received($self, /)\n--\n\n"),
    make_method<pause_writing>("pause_writing", "pause_writing($self, /)\n--\n\n"),
    make_method<resume_writing>("resume_writing", "resume_writing($self, /)\n--\n\n"),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    part_attribute<&StreamProtocol::loop>("_loop"),
    {"_stream_reader_wr", &get_weak_reader, &set_weak_reader, nullptr, nullptr},
    part_attribute<&StreamProtocol::strong_reader>("_strong_reader"),
    part_attribute<&StreamProtocol::transport>("_transport"),
    part_attribute<&StreamProtocol::callback>("_client_connected_cb"),
    part_attribute<&StreamProtocol::task>("_task"),
    part_attribute<&StreamProtocol::writer>("_stream_writer"),
    part_attribute<&StreamProtocol::source_traceback>("_source_traceback"),
    part_flag<&StreamProtocol::is_paused>("_paused"),
    part_flag<&StreamProtocol::connection_lost>("_connection_lost"),
    part_flag<&StreamProtocol::rejects_connection>("_reject_connection"),
    part_flag<&StreamProtocol::is_over_tls>("_over_ssl"),
    make_property<reader>("_stream_reader", nullptr),
    make_property<closed>("_closed", nullptr),
    make_property<drain_waiters>("_drain_waiters", nullptr),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The native half of StreamReaderProtocol.")},
    {Py_tp_new, reinterpret_cast<void*>(&make)},
    {Py_tp_init, reinterpret_cast<void*>(&initialize)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_finalize, reinterpret_cast<void*>(&finalize)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<Object>)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"epoll._loop.NativeStreamReaderProtocol", sizeof(Object), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, slots};

}  // namespace

bool add_protocol_type(PyObject* module, LoopState& state) {
    state.stream_protocol_type = derive_type(module, "StreamReaderProtocol", spec);
    return static_cast<bool>(state.stream_protocol_type);
}

}  // namespace epoll::python
