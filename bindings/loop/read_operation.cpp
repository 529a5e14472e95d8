// What the coroutines of a StreamReader do. Each function goes as far as the bytes at hand allow,
// in the order in which asyncio's methods check and take; `phase` is where it goes on after a wait.

#include <algorithm>
#include <optional>

#include "../buffers.hpp"
#include "../errors.hpp"
#include "stream_operation.hpp"
#include "stream_reader.hpp"

namespace epoll::python {

namespace {

constexpr std::byte k_newline{'\n'};

StreamReaderObject& owner_of(const StreamOperation& operation) noexcept {
    return reader_of(operation.owner.get());
}

void on_wait_ended(StreamOperation& operation) noexcept {
    StreamReaderObject& reader = owner_of(operation);
    reader.awaited = 0;
    reader.waiter.reset();
}

/// Waits until something is fed. `wanted`: how many bytes of the buffer the read needs.
Progress wait_for_data(StreamOperation& operation, const char* method, std::size_t wanted) {
    StreamReaderObject& reader = owner_of(operation);
    if (reader.waiter) {
        (void)error(PyExc_RuntimeError,
                    "%s() called while another coroutine is already waiting for incoming data",
                    method);
        return Progress::failed;
    }
    if (!resume(reader)) {  // else a read of more than the limit would wait for ever
        return Progress::failed;
    }
    const Ref waiter = create_future(*operation.state, reader.loop.get());
    if (!waiter) {
        return Progress::failed;
    }
    const Progress progress = wait_for(operation, waiter.get());
    if (progress == Progress::waits) {
        reader.waiter = Ref::borrow(waiter.get());
        reader.awaited = wanted;
    }
    return progress;
}

/// False with the exception set that somebody gave to the reader.
bool require_no_exception(const StreamReaderObject& reader) noexcept {
    if (reader.exception) {
        raise(reader.exception.get());
    }
    return !reader.exception;
}

Progress return_bytes(Ref& result, Ref bytes) noexcept {
    result = std::move(bytes);
    return result ? Progress::returned : Progress::failed;
}

Progress return_empty(Ref& result) noexcept {
    return return_bytes(result, Ref::steal(PyBytes_FromStringAndSize(nullptr, 0)));
}

/// Takes `count` bytes out for the program, which lets a paused transport go on.
Ref take_and_resume(StreamReaderObject& reader, std::size_t count) noexcept {
    Ref taken = take_bytes(reader, count);
    return taken && resume_if_low(reader) ? std::move(taken) : Ref{};
}

/// Clears the buffer and raises IncompleteReadError(what was in it, expected).
Progress fail_incomplete(StreamReaderObject& reader, PyObject* expected) noexcept {
    const Ref partial = take_bytes(reader, reader.buffer.size());
    PyObject* const type = reader.state->streams.incomplete_read_error.get();
    const Ref exception =
        partial ? Ref::steal(PyObject_CallFunctionObjArgs(type, partial.get(), expected, nullptr))
                : Ref{};
    if (exception) {
        raise(exception.get());
    }
    return Progress::failed;
}

/// The argument of read() and readexactly(); a number too large for memory is as good as infinite.
std::optional<Py_ssize_t> byte_count(const StreamOperation& operation) noexcept {
    if (!operation.argument) {
        return -1;
    }
    const Py_ssize_t count = PyNumber_AsSsize_t(operation.argument.get(), nullptr);
    if (count == -1 && PyErr_Occurred() != nullptr) {
        return std::nullopt;
    }
    return count;
}

// read(). The phases: begin; a block of `wanted` bytes is there; the next block of all; is there.
enum : std::uint8_t { k_begin, k_take, k_next_block, k_take_block };

/// Adds a block to what read(-1) has collected; false with an exception set.
bool collect(StreamOperation& operation, const Ref& block) noexcept {
    PyObject* all = operation.collected.release();
    if (all == nullptr) {
        operation.collected = Ref::borrow(block.get());
        return true;
    }
    PyBytes_Concat(&all, block.get());
    operation.collected = Ref::steal(all);
    return all != nullptr;
}

Progress read_all(StreamOperation& operation, Ref& result) {
    StreamReaderObject& reader = owner_of(operation);
    for (;; operation.phase = k_next_block) {
        if (operation.phase == k_next_block) {
            if (!require_no_exception(reader)) {
                return Progress::failed;
            }
            operation.phase = k_take_block;
            if (reader.buffer.is_empty() && !reader.has_ended) {
                return wait_for_data(operation, "read", reader.limit);
            }
        }
        const Ref block = take_and_resume(reader, std::min(reader.buffer.size(), reader.limit));
        if (!block) {
            return Progress::failed;
        }
        if (PyBytes_GET_SIZE(block.get()) == 0) {
            break;
        }
        if (!collect(operation, block)) {
            return Progress::failed;
        }
    }
    return operation.collected ? return_bytes(result, std::move(operation.collected))
                               : return_empty(result);
}

Progress read(StreamOperation& operation, Ref& result) {
    StreamReaderObject& reader = owner_of(operation);
    if (operation.phase == k_begin) {
        if (!require_no_exception(reader)) {
            return Progress::failed;
        }
        const auto count = byte_count(operation);
        if (!count) {
            return Progress::failed;
        }
        if (*count == 0) {
            return return_empty(result);
        }
        operation.phase = *count < 0 ? k_next_block : k_take;
        operation.wanted = static_cast<std::size_t>(*count);
        if (*count > 0 && reader.buffer.is_empty() && !reader.has_ended) {
            return wait_for_data(operation, "read", operation.wanted);
        }
    }
    if (operation.phase != k_take) {
        return read_all(operation, result);
    }
    return return_bytes(result,
                        take_and_resume(reader, std::min(reader.buffer.size(), operation.wanted)));
}

Progress readexactly(StreamOperation& operation, Ref& result) {
    StreamReaderObject& reader = owner_of(operation);
    if (operation.phase == k_begin) {
        const auto count = byte_count(operation);
        if (!count) {
            return Progress::failed;
        }
        if (*count < 0) {
            (void)error(PyExc_ValueError, "readexactly size can not be less than zero");
            return Progress::failed;
        }
        if (!require_no_exception(reader)) {
            return Progress::failed;
        }
        operation.phase = k_take;
        operation.wanted = static_cast<std::size_t>(*count);
    }
    if (operation.wanted == 0) {
        return return_empty(result);
    }
    if (reader.buffer.size() >= operation.wanted) {
        return return_bytes(result, take_and_resume(reader, operation.wanted));
    }
    if (reader.has_ended) {
        return fail_incomplete(reader, operation.argument.get());
    }
    return wait_for_data(operation, "readexactly", operation.wanted);
}

// readuntil() and readline(). `argument` is the separator, a bytes object, or a tuple of them;
// nothing stands for a newline. `offset`: no separator starts before it.

std::span<const std::byte> bytes_of(PyObject* bytes) noexcept {
    return {reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(bytes)),
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
}

std::span<PyObject* const> items_of(PyObject* tuple) noexcept {
    return {&PyTuple_GET_ITEM(tuple, 0), static_cast<std::size_t>(PyTuple_GET_SIZE(tuple))};
}

/// Calls visit(separator) for each.
template <class Visit>
void for_each_separator(const StreamOperation& operation, Visit visit) {
    if (!operation.argument) {
        visit(std::span{&k_newline, 1});
    } else if (PyBytes_Check(operation.argument.get())) {
        visit(bytes_of(operation.argument.get()));
    } else {
        for (PyObject* const separator : items_of(operation.argument.get())) {
            visit(bytes_of(separator));
        }
    }
}

/// A bytes object with what any bytes-like object holds now.
Ref snapshot(PyObject* object) noexcept {
    if (PyBytes_CheckExact(object)) {
        return Ref::borrow(object);
    }
    BytesView view;
    if (!view.open(object)) {
        return {};
    }
    return Ref::steal(PyBytes_FromStringAndSize(reinterpret_cast<const char*>(view.bytes().data()),
                                                static_cast<Py_ssize_t>(view.bytes().size())));
}

Ref snapshot_all(PyObject* tuple) noexcept {
    Ref copy = Ref::steal(PyTuple_New(PyTuple_GET_SIZE(tuple)));
    for (Py_ssize_t index = 0; copy && index < PyTuple_GET_SIZE(tuple); ++index) {
        Ref separator = snapshot(PyTuple_GET_ITEM(tuple, index));
        if (!separator) {
            return {};
        }
        PyTuple_SET_ITEM(copy.get(), index, separator.release());
    }
    return copy;
}

/// Separators in a tuple came with Python 3.13.
bool is_several(PyObject* separator) noexcept {
#if PY_VERSION_HEX >= 0x030D0000
    return PyTuple_Check(separator);
#else
    (void)separator;
    return false;
#endif
}

/// Judges what readuntil() was called with; false with an exception set.
bool prepare_separators(StreamOperation& operation) {
    if (!operation.argument) {
        return true;
    }
    PyObject* const given = operation.argument.get();
    operation.argument = is_several(given) ? snapshot_all(given) : snapshot(given);
    if (!operation.argument) {
        return false;
    }
    std::size_t count = 0;
    bool has_empty = false;
    for_each_separator(operation, [&](std::span<const std::byte> separator) {
        ++count;
        has_empty = has_empty || separator.empty();
    });
    if (count == 0) {
        (void)error(PyExc_ValueError, "Separator should contain at least one element");
    } else if (has_empty) {
        (void)error(PyExc_ValueError, "Separator should be at least one-byte string");
    }
    return count != 0 && !has_empty;
}

struct Match {
    std::size_t start;  ///< of the separator
    std::size_t end;
};

/// The separator that ends first in what is there; of those that end together the shortest. Else
/// the offset moves behind what need not be looked at again.
std::optional<Match> find_match(StreamOperation& operation, const StreamBuffer& buffer) {
    std::optional<Match> match;
    std::size_t shortest = SIZE_MAX;
    std::size_t longest = 0;
    for_each_separator(operation, [&](std::span<const std::byte> separator) {
        shortest = std::min(shortest, separator.size());
        longest = std::max(longest, separator.size());
        const auto start = buffer.find(separator, operation.offset);
        if (!start) {
            return;
        }
        const Match found{*start, *start + separator.size()};
        if (!match || found.end < match->end ||
            (found.end == match->end && found.start > match->start)) {
            match = found;
        }
    });
    if (!match && buffer.size() >= operation.offset + shortest) {
        operation.offset = std::max(buffer.size() + 1, longest) - longest;
    }
    return match;
}

constexpr const char* k_not_found = "Separator is not found, and chunk exceed the limit";
constexpr const char* k_too_long = "Separator is found, but chunk is longer than limit";

/// LimitOverrunError(message, consumed), or nothing with another exception set.
Ref make_overrun(const StreamReaderObject& reader, const char* message,
                 std::size_t consumed) noexcept {
    return Ref::steal(PyObject_CallFunction(reader.state->streams.limit_overrun_error.get(), "sn",
                                            message, static_cast<Py_ssize_t>(consumed)));
}

Progress fail_until(StreamOperation& operation, const char* message, std::size_t consumed) {
    const Ref overrun = make_overrun(owner_of(operation), message, consumed);
    if (overrun) {
        raise(overrun.get());
    }
    return Progress::failed;
}

/// readline() forgets the line that is too long, or, without its end, all that is there.
Progress fail_line(StreamOperation& operation, const char* message, std::size_t consumed) {
    StreamReaderObject& reader = owner_of(operation);
    const Ref overrun = make_overrun(reader, message, consumed);
    const Ref exception =
        overrun ? Ref::steal(PyObject_CallFunction(PyExc_ValueError, "s", message)) : Ref{};
    const auto content = reader.buffer.content();
    const bool has_end = consumed < content.size() && content[consumed] == k_newline;
    reader.buffer.take(has_end ? consumed + 1 : content.size());
    if (!exception || !resume_if_low(reader)) {
        return Progress::failed;
    }
    PyException_SetContext(exception.get(), Ref::borrow(overrun.get()).release());
    PyErr_SetObject(PyExc_ValueError, exception.get());
    return Progress::failed;
}

using FailOverrun = Progress (*)(StreamOperation&, const char*, std::size_t);

/// Takes all up to the first separator, once it is there. At the end of the stream the result
/// stays empty.
Progress read_until(StreamOperation& operation, Ref& result, FailOverrun fail) {
    StreamReaderObject& reader = owner_of(operation);
    if (operation.phase == k_begin) {
        if (!prepare_separators(operation) || !require_no_exception(reader)) {
            return Progress::failed;
        }
        operation.phase = k_take;
    }
    if (const auto match = find_match(operation, reader.buffer)) {
        return match->start > reader.limit
                   ? fail(operation, k_too_long, match->start)
                   : return_bytes(result, take_and_resume(reader, match->end));
    }
    if (operation.offset > reader.limit) {
        return fail(operation, k_not_found, operation.offset);
    }
    return reader.has_ended ? Progress::returned : wait_for_data(operation, "readuntil", 0);
}

Progress readuntil(StreamOperation& operation, Ref& result) {
    const Progress progress = read_until(operation, result, &fail_until);
    return progress == Progress::returned && !result ? fail_incomplete(owner_of(operation), Py_None)
                                                     : progress;
}

Progress readline(StreamOperation& operation, Ref& result) {
    const Progress progress = read_until(operation, result, &fail_line);
    if (progress != Progress::returned || result) {
        return progress;
    }
    StreamReaderObject& reader = owner_of(operation);
    return return_bytes(result, take_bytes(reader, reader.buffer.size()));
}

Progress next_line(StreamOperation& operation, Ref& result) {
    const Progress progress = readline(operation, result);
    if (progress != Progress::returned || PyBytes_GET_SIZE(result.get()) != 0) {
        return progress;
    }
    PyErr_SetNone(PyExc_StopAsyncIteration);
    return Progress::failed;
}

constexpr OperationKind k_read{"StreamReader.read", &read, &on_wait_ended};
constexpr OperationKind k_readexactly{"StreamReader.readexactly", &readexactly, &on_wait_ended};
constexpr OperationKind k_readuntil{"StreamReader.readuntil", &readuntil, &on_wait_ended};
constexpr OperationKind k_readline{"StreamReader.readline", &readline, &on_wait_ended};
constexpr OperationKind k_next_line{"StreamReader.__anext__", &next_line, &on_wait_ended};

Ref make(StreamReaderObject& reader, const OperationKind& kind, PyObject* argument) noexcept {
    return make_operation(*reader.state, kind, reader.as_python(), argument);
}

}  // namespace

Ref make_read(StreamReaderObject& reader, PyObject* count) noexcept {
    return make(reader, k_read, count);
}

Ref make_readexactly(StreamReaderObject& reader, PyObject* count) noexcept {
    return make(reader, k_readexactly, count);
}

Ref make_readuntil(StreamReaderObject& reader, PyObject* separator) noexcept {
    return make(reader, k_readuntil, separator);
}

Ref make_readline(StreamReaderObject& reader) noexcept { return make(reader, k_readline, nullptr); }

Ref make_next_line(StreamReaderObject& reader) noexcept {
    return make(reader, k_next_line, nullptr);
}

}  // namespace epoll::python
