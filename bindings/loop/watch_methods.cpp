#include <climits>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "../answers.hpp"
#include "../arguments.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "fd_watches.hpp"
#include "loop.hpp"
#include "loop_state.hpp"

// The methods of Loop that watch descriptors: what Python calls, as asyncio's selector loop has it.

namespace epoll::python {

namespace {

/// The parameters (fd, callback, *args, context=None) of a call.
struct WatchArguments {
    PyObject* file = nullptr;
    PyObject* callback = nullptr;
    std::span<PyObject* const> rest;
    PyObject* context = nullptr;
};

std::optional<WatchArguments> bind_watch(const char* function, const CallArguments& arguments,
                                         bool takes_context) {
    WatchArguments bound;
    const auto given = static_cast<std::size_t>(arguments.positional);
    const std::span<PyObject* const> values{arguments.values, given};
    const std::size_t named = arguments.names == nullptr
                                  ? 0
                                  : static_cast<std::size_t>(PyTuple_GET_SIZE(arguments.names));
    for (std::size_t index = 0; index != named; ++index) {
        PyObject* const name = PyTuple_GET_ITEM(arguments.names, static_cast<Py_ssize_t>(index));
        const auto is = [name](const char* text) {
            return PyUnicode_CompareWithASCIIString(name, text) == 0;
        };
        PyObject** place = nullptr;
        if (is("fd")) {
            place = &bound.file;
        } else if (is("callback")) {
            place = &bound.callback;
        } else if (takes_context && is("context")) {
            place = &bound.context;
        }
        if (place == nullptr) {
            (void)error(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function,
                        name);
            return std::nullopt;
        }
        *place = arguments.values[given + index];
    }
    std::size_t taken = 0;
    for (auto [place, name] :
         {std::pair{&bound.file, "fd"}, std::pair{&bound.callback, "callback"}}) {
        if (taken < given) {
            if (*place != nullptr) {
                (void)error(PyExc_TypeError, "%s() got multiple values for argument '%s'", function,
                            name);
                return std::nullopt;
            }
            *place = values[taken++];
        } else if (*place == nullptr) {
            (void)error(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'",
                        function, name);
            return std::nullopt;
        }
    }
    bound.rest = values.subspan(taken);
    return bound;
}

constexpr const char* name_of_add(Direction direction) noexcept {
    return direction == Direction::reading ? "add_reader" : "add_writer";
}

constexpr const char* name_of_remove(Direction direction) noexcept {
    return direction == Direction::reading ? "remove_reader" : "remove_writer";
}

Ref answer_of(int result) noexcept { return result < 0 ? Ref{} : as_bool(result != 0); }

template <Direction direction>
Ref add_public(LoopObject& self, const CallArguments& arguments) {
    const auto bound = bind_watch(name_of_add(direction), arguments, false);
    FdWatches& watches = self.loop->watches();
    if (!bound || !watches.require_no_transport(bound->file) ||
        !watches.add(direction, bound->file, bound->callback, bound->rest, nullptr)) {
        return {};
    }
    return Ref::none();
}

template <Direction direction>
Ref add_private(LoopObject& self, const CallArguments& arguments) {
    const auto bound = bind_watch(name_of_add(direction), arguments, true);
    return bound ? self.loop->watches().add(direction, bound->file, bound->callback, bound->rest,
                                            bound->context)
                 : Ref{};
}

/// The only argument of the others.
PyObject* file_of(const char* function, const CallArguments& arguments) {
    const Signature<1> signature{function, {"fd"}, {Parameter::required}};
    const auto bound = signature.bind(arguments);
    return bound ? (*bound)[0] : nullptr;
}

template <Direction direction>
Ref remove_public(LoopObject& self, const CallArguments& arguments) {
    FdWatches& watches = self.loop->watches();
    PyObject* const file = file_of(name_of_remove(direction), arguments);
    return file != nullptr && watches.require_no_transport(file)
               ? answer_of(watches.remove(direction, file))
               : Ref{};
}

template <Direction direction>
Ref remove_private(LoopObject& self, const CallArguments& arguments) {
    PyObject* const file = file_of(name_of_remove(direction), arguments);
    return file != nullptr ? answer_of(self.loop->watches().remove(direction, file)) : Ref{};
}

/// With the numbers of selectors.EVENT_READ and EVENT_WRITE.
Ref waited_for(LoopObject& self, PyObject* number) {
    const long fd = PyLong_AsLong(number);
    if (fd == -1 && PyErr_Occurred() != nullptr) {
        return {};
    }
    constexpr long k_read = 1;
    constexpr long k_write = 2;
    const Events waited = fd >= 0 && fd <= INT_MAX
                              ? self.loop->watches().waited_for(static_cast<int>(fd))
                              : Events::none;
    return Ref::steal(PyLong_FromLong((has_any(waited, Events::readable) ? k_read : 0) |
                                      (has_any(waited, Events::writable) ? k_write : 0)));
}

Ref ensure_no_transport(LoopObject& self, const CallArguments& arguments) {
    PyObject* const file = file_of("_ensure_fd_no_transport", arguments);
    return as_none(file != nullptr && self.loop->watches().require_no_transport(file));
}

constexpr const char* k_add_reader_text =
    "add_reader($self, fd, callback, *args)\n--\n\n"
    "Call callback(*args) in every turn of the loop in which fd can be read from.\n"
    "\n"
    "fd is an int or has fileno(). An earlier callback for reading from it is cancelled. An error\n"
    "or a hang-up counts as readable and as writable. A number that was closed and given away\n"
    "again since is registered anew. Raises OSError when the kernel cannot watch it\n"
    "(PermissionError: a regular file), ValueError when it is no descriptor, RuntimeError when a\n"
    "transport uses it or the loop is closed. On the loop's thread only.";
constexpr const char* k_add_writer_text =
    "add_writer($self, fd, callback, *args)\n--\n\n"
    "Call callback(*args) in every turn of the loop in which fd can be written to.\n"
    "\n"
    "As add_reader().";
constexpr const char* k_remove_reader_text =
    "remove_reader($self, fd)\n--\n\n"
    "Cancel what add_reader() added; return whether there was something.\n"
    "\n"
    "It is not called any more, not even for what was reported already. False when the loop is\n"
    "closed. A file object that was closed since may be given as it was registered. Raises\n"
    "ValueError when it is no descriptor, RuntimeError when a transport uses it.";
constexpr const char* k_remove_writer_text =
    "remove_writer($self, fd)\n--\n\n"
    "Cancel what add_writer() added; return whether there was something.\n"
    "\n"
    "As remove_reader().";
constexpr const char* k_private_add_text =
    "As the public method, for asyncio's own code: of transports too; returns the handle.";
constexpr const char* k_private_remove_text =
    "As the public method, for asyncio's own code: of transports too.";
constexpr const char* k_waited_for_text =
    "_waited_for($self, fd, /)\n--\n\n"
    "Return what fd is waited for: selectors.EVENT_READ, EVENT_WRITE, both or 0.";
constexpr const char* k_ensure_text =
    "_ensure_fd_no_transport($self, fd)\n--\n\n"
    "Raise RuntimeError when a transport that is not closing uses fd.";

}  // namespace

void append_watch_methods(std::vector<PyMethodDef>& methods) {
    constexpr auto reading = Direction::reading;
    constexpr auto writing = Direction::writing;
    methods.insert(methods.end(),
                   {make_method<add_public<reading>>("add_reader", k_add_reader_text),
                    make_method<add_public<writing>>("add_writer", k_add_writer_text),
                    make_method<remove_public<reading>>("remove_reader", k_remove_reader_text),
                    make_method<remove_public<writing>>("remove_writer", k_remove_writer_text),
                    make_method<add_private<reading>>("_add_reader", k_private_add_text),
                    make_method<add_private<writing>>("_add_writer", k_private_add_text),
                    make_method<remove_private<reading>>("_remove_reader", k_private_remove_text),
                    make_method<remove_private<writing>>("_remove_writer", k_private_remove_text),
                    make_method<waited_for>("_waited_for", k_waited_for_text),
                    make_method<ensure_no_transport>("_ensure_fd_no_transport", k_ensure_text)});
}

}  // namespace epoll::python
