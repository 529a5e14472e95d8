#include "convert.hpp"

#include <chrono>
#include <cmath>
#include <limits>

#include "errors.hpp"
#include "ref.hpp"

namespace epoll::python {

namespace {

constexpr std::size_t k_default_maxevents = 1023;  // FD_SETSIZE - 1
constexpr std::int64_t k_nanoseconds = 1'000'000'000;

bool failed(long long value) noexcept { return value == -1 && PyErr_Occurred() != nullptr; }

std::optional<Timeout> timeout_too_large() noexcept {
    (void)error(PyExc_OverflowError, "timeout is too large");
    return std::nullopt;
}

/// Whole seconds keep their precision: they do not pass through a double.
std::optional<Duration> whole_seconds(PyObject* object) noexcept {
    const Ref number = Ref::steal(PyNumber_Index(object));
    if (!number) {
        return std::nullopt;
    }
    int overflow = 0;
    const long long seconds = PyLong_AsLongLongAndOverflow(number.get(), &overflow);
    constexpr long long most = std::numeric_limits<std::int64_t>::max() / k_nanoseconds;
    if (overflow < 0 || seconds < -most) {
        return Duration::min();
    }
    if (overflow > 0 || seconds > most) {
        (void)timeout_too_large();
        return std::nullopt;
    }
    return std::chrono::seconds{seconds};
}

std::optional<Duration> fractional_seconds(PyObject* object) noexcept {
    const double seconds = PyFloat_AsDouble(object);
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Clear();
            (void)error(PyExc_TypeError, "timeout must be a real number or None, not %.200s",
                        Py_TYPE(object)->tp_name);
        }
        return std::nullopt;
    }
    if (std::isnan(seconds)) {
        (void)error(PyExc_ValueError, "Invalid value NaN (not a number)");
        return std::nullopt;
    }
    const double nanoseconds = std::ceil(seconds * 1e9);
    if (nanoseconds >= 0x1p63) {
        (void)timeout_too_large();
        return std::nullopt;
    }
    if (nanoseconds < -0x1p63) {
        return Duration::min();
    }
    return Duration{static_cast<std::int64_t>(nanoseconds)};
}

std::optional<Duration> to_seconds(PyObject* object) noexcept {
    return PyLong_Check(object) || (!PyFloat_Check(object) && PyIndex_Check(object))
               ? whole_seconds(object)
               : fractional_seconds(object);
}

bool is_left_out(PyObject* object) noexcept { return object == nullptr || object == Py_None; }

}  // namespace

std::optional<int> to_int(PyObject* object) noexcept {
    const long value = PyLong_AsLong(object);
    if (failed(value)) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError)) {
            (void)error(PyExc_OverflowError, "Python int too large to convert to C int");
        }
        return std::nullopt;
    }
    if (value < std::numeric_limits<int>::min() || value > std::numeric_limits<int>::max()) {
        (void)error(PyExc_OverflowError, "Python int too large to convert to C int");
        return std::nullopt;
    }
    return static_cast<int>(value);
}

std::optional<std::uint32_t> to_unsigned(PyObject* object, std::uint32_t most) noexcept {
    const Ref number = Ref::steal(PyNumber_Index(object));
    if (!number) {
        return std::nullopt;
    }
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(number.get(), &overflow);
    if (overflow != 0 || value < 0 || value > static_cast<long long>(most)) {
        (void)error(PyExc_OverflowError, "the number must be between 0 and %lu",
                    static_cast<unsigned long>(most));
        return std::nullopt;
    }
    return static_cast<std::uint32_t>(value);
}

std::optional<Events> to_events(PyObject* object) noexcept {
    const auto mask = to_unsigned(object, std::numeric_limits<std::uint32_t>::max());
    return mask ? std::optional{Events{*mask}} : std::nullopt;
}

std::optional<int> to_fd(PyObject* object) noexcept {
    const int fd = PyObject_AsFileDescriptor(object);
    return fd >= 0 ? std::optional{fd} : std::nullopt;
}

std::optional<Timeout> to_timeout_seconds(PyObject* object) noexcept {
    if (is_left_out(object)) {
        return Timeout::forever();
    }
    const auto duration = to_seconds(object);
    if (!duration) {
        return std::nullopt;
    }
    return *duration <= std::chrono::milliseconds{-1} ? Timeout::forever()
                                                      : Timeout::after(*duration);
}

std::optional<Timeout> to_selector_timeout(PyObject* object) noexcept {
    if (is_left_out(object)) {
        return Timeout::forever();
    }
    const auto duration = to_seconds(object);
    return duration ? std::optional{Timeout::after(*duration)} : std::nullopt;
}

std::optional<Timeout> to_timeout_nanoseconds(PyObject* object) noexcept {
    if (is_left_out(object)) {
        return Timeout::forever();
    }
    const Ref number = Ref::steal(PyNumber_Index(object));
    if (!number) {
        return std::nullopt;
    }
    int overflow = 0;
    const long long nanoseconds = PyLong_AsLongLongAndOverflow(number.get(), &overflow);
    if (overflow > 0) {
        return timeout_too_large();
    }
    return overflow < 0 || nanoseconds < 0 ? Timeout::forever()
                                           : Timeout::after(Duration{nanoseconds});
}

std::optional<Timeout> to_timeout_milliseconds(PyObject* object) noexcept {
    if (is_left_out(object)) {
        return Timeout::forever();
    }
    const auto milliseconds = to_int(object);
    if (!milliseconds) {
        return std::nullopt;
    }
    return *milliseconds < 0 ? Timeout::forever()
                             : Timeout::after(std::chrono::milliseconds{*milliseconds});
}

std::optional<std::size_t> to_maxevents(PyObject* object) noexcept {
    if (object == nullptr) {
        return k_default_maxevents;
    }
    const auto count = to_int(object);
    if (!count) {
        return std::nullopt;
    }
    if (*count == -1) {
        return k_default_maxevents;
    }
    if (*count < 1) {
        (void)error(PyExc_ValueError, "maxevents must be greater than 0, got %d", *count);
        return std::nullopt;
    }
    return static_cast<std::size_t>(*count);
}

}  // namespace epoll::python
