// The type epoll._loop.StreamReader.

#include <new>
#include <optional>

#include "../answers.hpp"
#include "../buffers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "named_argument.hpp"
#include "stream_reader.hpp"

namespace epoll::python {

namespace {

using Reader = StreamReaderObject;

constexpr std::size_t k_default_limit = 64 * 1024;

/// A limit in bytes; a float, infinity too, is one as well, since asyncio does not mind.
std::optional<std::size_t> to_limit(PyObject* object) noexcept {
    if (PyFloat_Check(object)) {
        const double limit = PyFloat_AS_DOUBLE(object);
        if (limit >= static_cast<double>(PY_SSIZE_T_MAX)) {
            return PY_SSIZE_T_MAX;
        }
        return limit > 0 ? static_cast<std::size_t>(limit) : 0;
    }
    const Py_ssize_t limit = PyNumber_AsSsize_t(object, nullptr);
    if (limit == -1 && PyErr_Occurred() != nullptr) {
        return std::nullopt;
    }
    return limit > 0 ? static_cast<std::size_t>(limit) : 0;
}

bool set_limit(Reader& self, PyObject* object) noexcept {
    const auto limit = to_limit(object);
    if (limit) {
        self.limit = *limit;
        self.limit_object = Ref::borrow(object);
    }
    return limit.has_value();
}

PyObject* make(PyTypeObject* type, PyObject* /*arguments*/, PyObject* /*names*/) noexcept {
    PyObject* const object = type->tp_alloc(type, 0);
    if (object != nullptr) {
        Reader& self = reader_of(object);
        self.state = &LoopState::of_type(type);
        ::new (&self.buffer) StreamBuffer;  // all else is right as zero bytes
        self.limit = k_default_limit;
    }
    return object;
}

/// True unless an exception is set. In debug mode the reader knows where it was made.
bool note_source(Reader& self) noexcept {
    const Answer is_debug = ask(self.state->streams.get_debug, self.loop.get());
    if (is_debug == Answer::yes) {
        self.source_traceback =
            Ref::steal(PyObject_CallNoArgs(self.state->streams.extract_stack.get()));
    }
    return is_debug == Answer::no || self.source_traceback;
}

bool start(Reader& self, PyObject* limit, PyObject* loop) noexcept {
    if (limit == nullptr) {
        self.limit_object = Ref::steal(PyLong_FromSize_t(k_default_limit));
    } else if (!set_limit(self, limit)) {
        return false;
    }
    if (self.limit == 0) {
        (void)error(PyExc_ValueError, "Limit cannot be <= 0");
        return false;
    }
    self.loop = loop_or_current(loop);
    self.buffer.clear();
    self.waiter.reset();
    self.exception.reset();
    self.transport.reset();
    self.has_ended = false;
    self.is_paused = false;
    return self.limit_object && self.loop && note_source(self);
}

int initialize(PyObject* object, PyObject* arguments, PyObject* names) noexcept {
    static constexpr const char* k_names[] = {"limit", "loop", nullptr};
    PyObject* limit = nullptr;
    PyObject* loop = nullptr;
    if (PyArg_ParseTupleAndKeywords(arguments, names, "|OO:StreamReader",
                                    const_cast<char**>(k_names), &limit, &loop) == 0) {
        return -1;
    }
    return start(reader_of(object), limit, loop) ? 0 : -1;
}

Ref exception(Reader& self) { return or_none(self.exception.get()); }

Ref set_exception_method(Reader& self, PyObject* given) {
    return as_none(set_exception(self, given));
}
Ref set_transport_method(Reader& self, PyObject* given) {
    return as_none(set_transport(self, given));
}
Ref feed_eof_method(Reader& self) { return as_none(feed_eof(self)); }

Ref feed_data_method(Reader& self, PyObject* data) {
    BytesView view;
    return view.open(data) ? as_none(feed_data(self, view.bytes())) : Ref{};
}

Ref at_eof(Reader& self) { return as_bool(self.has_ended && self.buffer.is_empty()); }

constexpr Signature<1> k_set_exception = named_argument("set_exception", "exc");
constexpr Signature<1> k_set_transport = named_argument("set_transport", "transport");
constexpr Signature<1> k_feed_data = named_argument("feed_data", "data");
constexpr Signature<1> k_read{"read", {"n"}, {Parameter::optional}};
constexpr Signature<1> k_readexactly{"readexactly", {"n"}, {Parameter::required}};
constexpr Signature<1> k_readuntil{"readuntil", {"separator"}, {Parameter::optional}};

Ref read(Reader& self, const CallArguments& arguments) {
    const auto bound = k_read.bind(arguments);
    return bound ? make_read(self, (*bound)[0]) : Ref{};
}

Ref readexactly(Reader& self, const CallArguments& arguments) {
    const auto bound = k_readexactly.bind(arguments);
    return bound ? make_readexactly(self, (*bound)[0]) : Ref{};
}

Ref readuntil(Reader& self, const CallArguments& arguments) {
    const auto bound = k_readuntil.bind(arguments);
    return bound ? make_readuntil(self, (*bound)[0]) : Ref{};
}

Ref readline(Reader& self) { return make_readline(self); }

PyObject* next_line(PyObject* object) noexcept {
    return make_next_line(reader_of(object)).release();
}

Ref size_of(Reader& self) {
    return as_number(static_cast<std::size_t>(Py_TYPE(self.as_python())->tp_basicsize) +
                     self.buffer.capacity());
}

PyObject* get_buffer(PyObject* object, void*) noexcept {
    const Reader& self = reader_of(object);
    const auto content = self.buffer.content();
    const Ref copy = Ref::steal(PyBytes_FromStringAndSize(
        reinterpret_cast<const char*>(content.data()), static_cast<Py_ssize_t>(content.size())));
    return copy ? PyObject_CallMethod(self.state->support.get(), "ReaderBuffer", "OO", object,
                                      copy.get())
                : nullptr;
}

int set_buffer(PyObject* object, PyObject* value, void*) noexcept {
    BytesView view;
    if (value == nullptr || !view.open(value)) {
        return value == nullptr ? (void)error(PyExc_AttributeError, "_buffer"), -1 : -1;
    }
    try {
        StreamBuffer& buffer = reader_of(object).buffer;
        buffer.clear();
        buffer.append(view.bytes());
        return 0;
    } catch (...) {
        translate_exception();
        return -1;
    }
}

PyObject* get_limit(PyObject* object, void*) noexcept {
    PyObject* const limit = reader_of(object).limit_object.get();
    return Ref::borrow(limit == nullptr ? Py_None : limit).release();
}

int set_limit_attribute(PyObject* object, PyObject* value, void*) noexcept {
    if (value == nullptr) {
        (void)error(PyExc_AttributeError, "_limit");
        return -1;
    }
    return set_limit(reader_of(object), value) ? 0 : -1;
}

int traverse(PyObject* object, visitproc visit, void* arg) noexcept {
    Reader& self = reader_of(object);
    Py_VISIT(Py_TYPE(object));
    for (const Ref* const held : {&self.loop, &self.waiter, &self.exception, &self.transport,
                                  &self.limit_object, &self.source_traceback}) {
        Py_VISIT(held->get());
    }
    return 0;
}

int clear(PyObject* object) noexcept {
    Reader& self = reader_of(object);
    self.waiter.reset();
    self.exception.reset();
    self.transport.reset();
    self.limit_object.reset();
    self.source_traceback.reset();
    self.loop.reset();
    return 0;
}

PyMethodDef methods[] = {
    make_method<exception>("exception",
                           "exception($self, /)\n--\n\nWhat set_exception() was given."),
    make_method<by_name<Reader, set_exception_method, k_set_exception>>(
        "set_exception",
        "set_exception($self, /, exc)\n--\n\nLet every read raise exc from now on."),
    make_method<by_name<Reader, set_transport_method, k_set_transport>>(
        "set_transport", "set_transport($self, /, transport)\n--\n\nName what to pause; once."),
    make_method<by_name<Reader, feed_data_method, k_feed_data>>(
        "feed_data", "feed_data($self, /, data)\n--\n\nAdd bytes to be read."),
    make_method<feed_eof_method>("feed_eof", "feed_eof($self, /)\n--\n\nNothing more will be fed."),
    make_method<at_eof>("at_eof",
                        "at_eof($self, /)\n--\n\nReturn whether all is read, and fed for good."),
    make_method<read>(
        "read",
        "read($self, n=-1)\n--\n\n"
        "Read up to n bytes as soon as there are any; b'' at the end of the stream.\n\n"
        "With a negative n, read all up to the end."),
    make_method<readexactly>("readexactly",
                             "readexactly($self, n)\n--\n\n"
                             "Read n bytes; IncompleteReadError when the stream ends before."),
    make_method<readuntil>(
        "readuntil",
        "readuntil($self, separator=b'\\n')\n--\n\n"
        "Read up to a separator, and with it.\n\n"
        "IncompleteReadError when the stream ends before, LimitOverrunError when it does not come\n"
        "within the limit; the bytes can still be read then. From Python 3.13 on the separator "
        "may\n"
        "be a tuple of several; the first to end counts."),
    make_method<readline>("readline",
                          "readline($self, /)\n--\n\n"
                          "Read up to a newline, and with it, or the rest of the stream.\n\n"
                          "ValueError for a line longer than the limit, which is lost."),
    make_method<size_of>("__sizeof__",
                         "__sizeof__($self, /)\n--\n\n"
                         "Return its size in bytes, with the memory that it keeps for its data."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    object_attribute<Reader, &Reader::loop>("_loop"),
    object_attribute<Reader, &Reader::waiter>("_waiter"),
    object_attribute<Reader, &Reader::exception>("_exception"),
    object_attribute<Reader, &Reader::transport>("_transport"),
    object_attribute<Reader, &Reader::source_traceback>("_source_traceback"),
    flag_attribute<Reader, &Reader::has_ended>("_eof"),
    flag_attribute<Reader, &Reader::is_paused>("_paused"),
    {"_buffer", &get_buffer, &set_buffer, "What is there and not read; see ReaderBuffer.", nullptr},
    {"_limit", &get_limit, &set_limit_attribute, nullptr, nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("The native half of StreamReader.")},
    {Py_tp_new, reinterpret_cast<void*>(&make)},
    {Py_tp_init, reinterpret_cast<void*>(&initialize)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<Reader>)},
    {Py_am_aiter, reinterpret_cast<void*>(&PyObject_SelfIter)},
    {Py_am_anext, reinterpret_cast<void*>(&next_line)},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {0, nullptr},
};

PyType_Spec spec = {"epoll._loop.NativeStreamReader", sizeof(Reader), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, slots};

}  // namespace

bool add_reader_type(PyObject* module, LoopState& state) {
    state.stream_reader_type = derive_type(module, "StreamReader", spec);
    return static_cast<bool>(state.stream_reader_type);
}

}  // namespace epoll::python
