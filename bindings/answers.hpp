#pragma once

#include <cstddef>

#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

// What a method answers, made of what the C++ object has answered.

inline Ref as_bool(bool value) noexcept { return Ref::borrow(value ? Py_True : Py_False); }

/// None, or nothing: the call has failed, with an exception set.
inline Ref as_none(bool is_done) noexcept { return is_done ? Ref::none() : Ref{}; }

/// A borrowed object, or None in place of null.
inline Ref or_none(PyObject* object) noexcept {
    return Ref::borrow(object != nullptr ? object : Py_None);
}

/// What inspect.getcoroutinestate() says of a coroutine; `cr_state`, since Python 3.15.
inline Ref as_coroutine_state(bool is_created, bool is_running, bool is_suspended) noexcept {
    const char* state = "CORO_CLOSED";
    if (is_created) {
        state = "CORO_CREATED";
    } else if (is_running) {
        state = "CORO_RUNNING";
    } else if (is_suspended) {
        state = "CORO_SUSPENDED";
    }
    return Ref::steal(PyUnicode_FromString(state));
}

inline Ref as_number(std::size_t value) noexcept { return Ref::steal(PyLong_FromSize_t(value)); }

}  // namespace epoll::python
