#pragma once

#include <unistd.h>

#include "python.hpp"

namespace epoll::python {

/// Stops this thread for good, without letting go of anything.
///
/// A daemon thread that comes back to a finalized interpreter must not run any further: up to
/// Python 3.13 it is ended by pthread_exit(3), which unwinds the C++ stack and would drop
/// references without a thread state. Python 3.14 lets such threads hang until the process is gone;
/// so do we everywhere.
[[noreturn]] inline void hang_thread() noexcept {
    for (;;) {
        ::pause();
    }
}

/// Lets other threads run Python while this one blocks in the kernel: the one place of this project
/// that lets go of the GIL (that detaches the thread state, where there is no GIL).
///
/// While it lives, no Python object may be touched.
class GilReleased {
  public:
    GilReleased() noexcept : state_(PyEval_SaveThread()) {}
    GilReleased(const GilReleased&) = delete;
    GilReleased& operator=(const GilReleased&) = delete;
    ~GilReleased() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {  // not an exception: the forced unwinding of pthread_exit
            hang_thread();
        }
    }

  private:
    PyThreadState* state_;
};

/// True when other threads may want the GIL: who lets go of it for a moment then stands in line
/// behind them, for up to a switch interval (5 ms) each. Without a GIL nobody has to.
[[nodiscard]] inline bool must_queue_for_gil() noexcept {
#ifdef Py_GIL_DISABLED
    return false;
#else
    return PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) != nullptr;
#endif
}

/// Keeps other threads out of one Python object while it lives. With a GIL it is nothing at all.
///
/// As with the GIL itself the protection may be suspended whenever Python code runs or the thread
/// blocks, which an allocation or a dropped reference is enough for: look things up again
/// afterwards. Sections of one thread nest; beginning the inner one may suspend the outer.
class CriticalSection {
  public:
    CriticalSection(const CriticalSection&) = delete;
    CriticalSection& operator=(const CriticalSection&) = delete;

#ifdef Py_GIL_DISABLED
    explicit CriticalSection(PyObject* object) noexcept {
        PyCriticalSection_Begin(&section_, object);
    }
    ~CriticalSection() { PyCriticalSection_End(&section_); }

  private:
    PyCriticalSection section_;
#else
    explicit CriticalSection(PyObject* /*object*/) noexcept {}
    ~CriticalSection() {}  // not defaulted, so that an unused guard is no warning
#endif
};

}  // namespace epoll::python
