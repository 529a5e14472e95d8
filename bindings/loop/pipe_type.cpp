#include <array>
#include <utility>
#include <vector>

#include "../answers.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "common_methods.hpp"
#include "loop_state.hpp"
#include "named_argument.hpp"
#include "pipe_transport.hpp"
#include "transport_object.hpp"

namespace epoll::python {

namespace {

using ReadObject = ReadPipeObject;
using WriteObject = WritePipeObject;
using Reading = TransportMethods<ReadObject>;
using Writing = TransportMethods<WriteObject>;

// What both types have

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
std::array<PyGetSetDef, 6> make_properties() noexcept {
    using Common = TransportMethods<Object>;
    return {
        make_property<&Common::loop>("_loop", "The event loop; None after the end."),
        make_property<&Common::get_protocol>("_protocol", "The protocol; None after the end."),
        make_pipe_property<Object>(),
        make_property<&Common::descriptor>("_fileno", "The descriptor, also after the end."),
        make_property<&Common::is_closing>("_closing", "As is_closing()."),
        attributes_property(),
    };
}

// Reading

PyObject* describe_reader(PyObject* object) noexcept {
    const ReadObject& self = self_of<ReadObject>(object);
    return PyUnicode_FromFormat("<ReadPipeTransport%s fd=%d %s>", state_of(self.transport),
                                self.transport.fd(), polling_of(self));
}

std::array reader_methods =
    join(Reading::protocol_methods(), Reading::reading_methods(),
         std::array{make_method<&Reading::close>(
             "close", "close($self, /)\n--\n\nRead no more and close the pipe.")});

std::array reader_properties = join(
    make_properties<ReadObject>(),
    std::array{make_property<&Reading::is_paused>("_paused", "pause_reading() was called last.")});

// Writing

Ref write(WriteObject& self, PyObject* data) { return as_none(self.transport.write(data)); }
Ref can_write_eof(WriteObject&) { return as_bool(true); }
Ref abort(WriteObject& self) {
    self.transport.force_close(Py_None);
    return Ref::none();
}

PyObject* describe_writer(PyObject* object) noexcept {
    const WriteObject& self = self_of<WriteObject>(object);
    if (self.transport.is_lost()) {
        return PyUnicode_FromFormat("<WritePipeTransport closed fd=%d closed>",
                                    self.transport.fd());
    }
    return PyUnicode_FromFormat("<WritePipeTransport%s fd=%d %s bufsize=%zu>",
                                state_of(self.transport), self.transport.fd(), polling_of(self),
                                self.transport.write_buffer_size());
}

constexpr Signature<1> k_write = named_argument("write", "data");

std::array writer_methods = join(
    Writing::protocol_methods(), Writing::limits_methods(),
    std::array{
        make_method<by_name<WriteObject, write, k_write>>(
            "write", "write($self, /, data)\n--\n\nWrite bytes; never blocks."),
        make_method<&Writing::close>("close",
                                     "close($self, /)\n--\n\n"
                                     "Write what is unwritten, then close the pipe."),
        make_method<&Writing::close>("write_eof",
                                     "write_eof($self, /)\n--\n\nAs close(): a pipe has no "
                                     "other way to tell the end."),
        make_method<can_write_eof>("can_write_eof", "can_write_eof($self, /)\n--\n\nReturn True."),
        make_method<abort>("abort",
                           "abort($self, /)\n--\n\nClose at once; what is unwritten is lost."),
        make_method<&Writing::get_write_buffer_size>(
            "get_write_buffer_size",
            "get_write_buffer_size($self, /)\n--\n\n"
            "Return how many bytes the kernel has not taken yet."),
    });

std::array writer_properties = join(make_properties<WriteObject>(),
                                    std::array{make_property<&Writing::is_protocol_paused>(
                                        "_protocol_paused", "pause_writing() was called last.")});

// The methods of Loop

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
    Ref object = allocate_object<Object>(self.loop->state().*type, *self.loop);
    return object && self_of<Object>(object.get()).transport.start({pipe, protocol, waiter, extra})
               ? std::move(object)
               : Ref{};
}

}  // namespace

bool add_pipe_types(PyObject* module, LoopState& state) {
    state.read_pipe_type = make_transport_type<ReadObject>(
        module,
        {"epoll._loop.ReadPipeTransport",
         "The reading end of a pipe, as asyncio.ReadTransport describes it.\n"
         "\n"
         "Belongs to the loop's thread.",
         reader_methods.data(), reader_properties.data(), &describe_reader},
        transport_base("ReadTransport", ReadObject::k_hidden_slots));
    state.write_pipe_type = make_transport_type<WriteObject>(
        module,
        {"epoll._loop.WritePipeTransport",
         "The writing end of a pipe, as asyncio.WriteTransport describes it.\n"
         "\n"
         "Belongs to the loop's thread.",
         writer_methods.data(), writer_properties.data(), &describe_writer},
        transport_base("_FlowControlMixin", WriteObject::k_hidden_slots));
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
