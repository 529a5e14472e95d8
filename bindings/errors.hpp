#pragma once

#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

/// Sets OSError for `number` (an errno); Python picks the subclass. Answers nothing, for `return`.
Ref os_error(int number) noexcept;

/// Sets an exception of `type` with a text, as PyErr_Format has it. Answers nothing, for `return`.
Ref error(PyObject* type, const char* format, ...) noexcept;

/// The exception that is set, with its traceback, taken away from the thread. There must be one.
Ref take_exception() noexcept;

/// Sets `exception`, as it was when take_exception() took it.
void set_exception(Ref exception) noexcept;

/// The exception that is set is KeyboardInterrupt or SystemExit: those that asyncio lets through to
/// the caller, where it reports any other.
[[nodiscard]] bool is_leaving_exception() noexcept;

/// Takes away the exception that is set, if there is one, and sets it again at the end: for a
/// finalizer, which may run in the middle of anything.
class ExceptionKept {
  public:
    ExceptionKept() noexcept;
    ExceptionKept(const ExceptionKept&) = delete;
    ExceptionKept& operator=(const ExceptionKept&) = delete;
    ~ExceptionKept();

  private:
    Ref kept_;
};

/// Called in a catch block: turns the C++ exception at hand into a Python one.
///
/// std::bad_alloc and std::length_error become MemoryError, std::system_error becomes OSError with
/// its number, any other std::exception RuntimeError. The forced unwinding of pthread_exit, which
/// is no exception and must not be swallowed, hangs the thread (see hang_thread).
void translate_exception() noexcept;

}  // namespace epoll::python
