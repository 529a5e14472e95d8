#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <epoll/base/clock.hpp>
#include <epoll/poll/events.hpp>

#include "python.hpp"

// From Python's numbers to ours. Each answers nothing, with the exception set, when the object is
// no such number: TypeError for a wrong type, OverflowError for one out of range.

namespace epoll::python {

/// An int, or an object with __index__, in the range of a C int.
[[nodiscard]] std::optional<int> to_int(PyObject* object) noexcept;

/// As to_int, from 0 to `most`.
[[nodiscard]] std::optional<std::uint32_t> to_unsigned(PyObject* object,
                                                       std::uint32_t most) noexcept;

/// An event mask: 32 bits, unsigned. A negative number is not one.
[[nodiscard]] std::optional<Events> to_events(PyObject* object) noexcept;

/// A descriptor: an int, or an object with fileno(). ValueError when it is negative.
[[nodiscard]] std::optional<int> to_fd(PyObject* object) noexcept;

/// Seconds, any real number, rounded up to nanoseconds; null, None and negative numbers are
/// forever.
///
/// As select.epoll has it, milliseconds decide what is negative: above -0.001 counts as zero.
[[nodiscard]] std::optional<Timeout> to_timeout_seconds(PyObject* object) noexcept;

/// As above, and every number up to zero means not to wait: the rule of the selectors module.
[[nodiscard]] std::optional<Timeout> to_selector_timeout(PyObject* object) noexcept;

/// An int of nanoseconds; null, None and negative numbers are forever.
[[nodiscard]] std::optional<Timeout> to_timeout_nanoseconds(PyObject* object) noexcept;

/// An int of milliseconds in the range of a C int; null, None and negative numbers are forever.
[[nodiscard]] std::optional<Timeout> to_timeout_milliseconds(PyObject* object) noexcept;

/// How many reports a wait may bring: null and -1 are the default of select.epoll (FD_SETSIZE - 1),
/// anything else below 1 is a ValueError.
[[nodiscard]] std::optional<std::size_t> to_maxevents(PyObject* object) noexcept;

}  // namespace epoll::python
