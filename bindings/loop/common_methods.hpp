#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "../answers.hpp"
#include "../method.hpp"
#include "named_argument.hpp"
#include "transport_head.hpp"

namespace epoll::python {

/// The methods and properties that do the same in several types, and the parts of their tables. A
/// type has those that its C++ half can answer.
template <class Object>
struct TransportMethods {
    using Transport = decltype(Object::transport);

    static Ref get_extra_info(Object& self, const CallArguments& arguments) {
        static constexpr Signature<2> k_signature{
            "get_extra_info",
            {"name", "default"},
            {Parameter::required, Parameter::optional},
        };
        const auto bound = k_signature.bind(arguments);
        if (!bound) {
            return {};
        }
        Ref value = self.transport.extra_info((*bound)[0]);
        return value || PyErr_Occurred() != nullptr ? std::move(value) : or_none((*bound)[1]);
    }

    static Ref close(Object& self) {
        return none_after([&] { return self.transport.close(); });
    }
    static Ref loop(Object& self) { return or_none(self.transport.loop_object()); }
    static Ref get_protocol(Object& self) { return or_none(self.transport.protocol()); }
    static Ref descriptor(Object& self) { return Ref::steal(PyLong_FromLong(self.transport.fd())); }
    static Ref is_closing(Object& self) { return as_bool(self.transport.is_closing()); }
    static Ref is_paused(Object& self) { return as_bool(self.transport.is_paused()); }
    static Ref is_protocol_paused(Object& self) {
        return as_bool(self.transport.is_protocol_paused());
    }
    static Ref get_write_buffer_size(Object& self) {
        return as_number(self.transport.write_buffer_size());
    }
    static Ref socket(Object& self) { return self.transport.socket(); }

    static std::array<PyMethodDef, 3> protocol_methods() noexcept {
        return {make_method<&by_name<Object, set_protocol, k_set_protocol>>(
                    "set_protocol",
                    "set_protocol($self, /, protocol)\n--\n\nHand over to another protocol."),
                make_method<&get_protocol>("get_protocol",
                                           "get_protocol($self, /)\n--\n\n"
                                           "Return the protocol; None after the end."),
                make_method<&is_closing>("is_closing",
                                         "is_closing($self, /)\n--\n\n"
                                         "Return whether the transport is closing or closed.")};
    }

    static std::array<PyMethodDef, 3> reading_methods() noexcept {
        return {make_method<&is_reading>("is_reading",
                                         "is_reading($self, /)\n--\n\n"
                                         "Return whether what arrives is delivered."),
                make_method<&pause_reading>("pause_reading",
                                            "pause_reading($self, /)\n--\n\n"
                                            "Deliver nothing until resume_reading()."),
                make_method<&resume_reading>("resume_reading",
                                             "resume_reading($self, /)\n--\n\n"
                                             "Deliver again what arrives.")};
    }

    static std::array<PyMethodDef, 2> limits_methods() noexcept {
        return {make_method<&get_write_buffer_limits>("get_write_buffer_limits",
                                                      "get_write_buffer_limits($self, /)\n--\n\n"
                                                      "Return (low, high), in bytes."),
                make_method<&set_write_buffer_limits>(
                    "set_write_buffer_limits",
                    "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
                    "Set when pause_writing() and resume_writing() are called, in bytes that the\n"
                    "kernel has not taken yet.")};
    }

    static std::array<PyMethodDef, 2> writing_methods() noexcept {
        return {make_method<&by_name<Object, write, k_write>>(
                    "write",
                    "write($self, /, data)\n--\n\n"
                    "Send bytes; never blocks. Bytes that may change are copied."),
                make_method<&by_name<Object, write_lines, k_write_lines>>(
                    "writelines",
                    "writelines($self, /, list_of_data)\n--\n\n"
                    "Send the bytes of an iterable, in order.")};
    }

    static std::array<PyMethodDef, 2> abort_methods() noexcept {
        return {make_method<&abort>("abort",
                                    "abort($self, /)\n--\n\n"
                                    "Close at once; what is unsent is lost."),
                make_method<&by_name<Object, force_close, k_force_close>>(
                    "_force_close",
                    "_force_close($self, /, exc)\n--\n\nAs abort(); connection_lost() gets exc.")};
    }

    /// What loop.sendfile() needs.
    static std::array<PyMethodDef, 2> file_methods() noexcept {
        return {
            make_method<&make_empty_waiter>(
                "_make_empty_waiter",
                "_make_empty_waiter($self, /)\n--\n\n"
                "Return a future that is done when nothing is unsent; nothing can be\n"
                "written meanwhile. RuntimeError when no file can be sent past it."),
            make_method<&reset_empty_waiter>(
                "_reset_empty_waiter", "_reset_empty_waiter($self, /)\n--\n\nLet writing go on.")};
    }

    static PyMethodDef fatal_error_method() noexcept {
        return make_method<&fatal_error>(
            "_fatal_error",
            "_fatal_error($self, /, exc, message='Fatal error on transport')\n--\n\n"
            "Report exc and close by force.");
    }

  private:
    static constexpr Signature<1> k_set_protocol = named_argument("set_protocol", "protocol");
    static constexpr Signature<1> k_force_close = named_argument("_force_close", "exc");
    static constexpr Signature<1> k_write = named_argument("write", "data");
    static constexpr Signature<1> k_write_lines = named_argument("writelines", "list_of_data");

    /// For what cannot fail, and for what answers false with an exception set.
    template <class Call>
    static Ref none_after(const Call& call) {
        if constexpr (std::is_void_v<decltype(call())>) {
            call();
            return Ref::none();
        } else {
            return as_none(call());
        }
    }

    static Ref set_protocol(Object& self, PyObject* protocol) {
        return none_after([&] { return self.transport.set_protocol(protocol); });
    }
    static Ref write(Object& self, PyObject* data) { return as_none(self.transport.write(data)); }
    static Ref write_lines(Object& self, PyObject* lines) {
        return as_none(self.transport.write_lines(lines));
    }
    static Ref is_reading(Object& self) { return as_bool(self.transport.is_reading()); }
    static Ref pause_reading(Object& self) {
        return none_after([&] { self.transport.pause_reading(); });
    }
    static Ref resume_reading(Object& self) {
        return none_after([&] { self.transport.resume_reading(); });
    }
    static Ref get_write_buffer_limits(Object& self) {
        return as_pair(self.transport.write_limits());
    }
    static Ref set_write_buffer_limits(Object& self, const CallArguments& arguments) {
        static constexpr auto k_signature = limits_signature("set_write_buffer_limits");
        const auto limits = bind_limits(k_signature, arguments, Transport::k_write_high);
        return limits ? as_none(self.transport.set_write_limits(*limits)) : Ref{};
    }
    static Ref make_empty_waiter(Object& self) { return self.transport.make_empty_waiter(); }
    static Ref reset_empty_waiter(Object& self) {
        return none_after([&] { self.transport.reset_empty_waiter(); });
    }
    static Ref abort(Object& self) { return as_none(self.transport.abort(Py_None)); }
    static Ref force_close(Object& self, PyObject* exception) {
        return as_none(self.transport.abort(exception));
    }
    static Ref fatal_error(Object& self, const CallArguments& arguments) {
        static constexpr Signature<2> k_signature{
            "_fatal_error",
            {"exc", "message"},
            {Parameter::required, Parameter::optional},
        };
        const auto bound = k_signature.bind(arguments);
        if (!bound) {
            return {};
        }
        const auto& [exception, text] = *bound;
        const char* const message =
            text == nullptr ? "Fatal error on transport" : PyUnicode_AsUTF8(text);
        return message != nullptr ? as_none(self.transport.fatal_error(exception, message)) : Ref{};
    }
};

/// One table of several parts, with the entry that ends it.
template <class Entry, std::size_t... sizes>
std::array<Entry, (sizes + ... + 1)> join(const std::array<Entry, sizes>&... parts) noexcept {
    std::array<Entry, (sizes + ... + 1)> table{};
    auto end = table.begin();
    ((end = std::copy(parts.begin(), parts.end(), end)), ...);
    return table;
}

/// For a repr: " closed", " closing", or nothing.
template <class Transport>
const char* state_of(const Transport& transport) noexcept {
    const char* const closing = transport.is_closing() ? " closing" : "";
    return transport.is_lost() ? " closed" : closing;
}

}  // namespace epoll::python
