#pragma once

#include <utility>

#include "python.hpp"

namespace epoll::python {

/// An owned reference to a Python object, or nothing. A raw PyObject* is always a borrowed one.
///
/// Move-only: a second reference is made in words, by Ref::borrow(ref.get()). An empty Ref returned
/// by a function means that an exception is set, unless the function says otherwise. Every use
/// needs an attached thread state (the GIL, where there is one); dropping a reference may run any
/// Python code.
class Ref {
  public:
    Ref() noexcept = default;

    /// Takes over a reference that the caller owns; null makes an empty Ref.
    [[nodiscard]] static Ref steal(PyObject* owned) noexcept { return Ref{owned}; }

    /// Makes a reference of its own to an object that somebody else keeps alive; null stays null.
    [[nodiscard]] static Ref borrow(PyObject* borrowed) noexcept {
        Py_XINCREF(borrowed);
        return Ref{borrowed};
    }

    /// A new reference to None.
    [[nodiscard]] static Ref none() noexcept { return borrow(Py_None); }

    Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Ref& operator=(Ref&& other) noexcept {
        // The old object dies last: its finalizer may look at this Ref and must find the new value.
        const Ref old{std::exchange(object_, std::exchange(other.object_, nullptr))};
        return *this;
    }
    Ref(const Ref&) = delete;
    Ref& operator=(const Ref&) = delete;
    [[gnu::always_inline]] ~Ref() { Py_XDECREF(object_); }

    explicit operator bool() const noexcept { return object_ != nullptr; }
    [[nodiscard]] PyObject* get() const noexcept { return object_; }

    /// Gives the reference to the caller, as a function that Python calls returns it.
    [[nodiscard]] PyObject* release() noexcept { return std::exchange(object_, nullptr); }

    /// Drops the reference now.
    void reset() noexcept { *this = Ref{}; }

  private:
    explicit Ref(PyObject* object) noexcept : object_(object) {}
    PyObject* object_ = nullptr;
};

}  // namespace epoll::python
