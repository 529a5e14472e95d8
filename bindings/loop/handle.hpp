#pragma once

#include <span>

#include <epoll/base/clock.hpp>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

class Loop;

// A Handle is an asyncio.Handle: the native type derives from the Python class and keeps what the
// class keeps (callback, args, context …) in the slots of the class, so that everything that
// asyncio or a program reads there is there. Behind the slots stands what the reactor needs: a
// Deferred, in a TimerHandle also a Timer. A handle that is scheduled is kept alive by the loop.
// Handles come from a free list of the loop (not without the GIL) and have no dictionary.

/// A Handle that is not scheduled anywhere. A null or None context is a copy of the current one.
[[nodiscard]] Ref make_handle(Loop& loop, PyObject* callback, std::span<PyObject* const> arguments,
                              PyObject* context);

/// The same for call_soon_threadsafe(): from Python 3.14 on it is an events._ThreadSafeHandle.
/// While it runs, cancel() and cancelled() wait on other threads, so that who has cancelled one
/// knows that it does not run, and will not.
[[nodiscard]] Ref make_threadsafe_handle(Loop& loop, PyObject* callback,
                                         std::span<PyObject* const> arguments, PyObject* context);

/// A TimerHandle that is scheduled for loop time `when` (a float object, kept as it is).
[[nodiscard]] Ref schedule_timer(Loop& loop, PyObject* when, PyObject* callback,
                                 std::span<PyObject* const> arguments, PyObject* context);

/// Runs it in the next turn; nothing happens when it is scheduled already. On the loop's thread.
void schedule(Loop& loop, PyObject* handle) noexcept;

/// As schedule(), from any thread.
void schedule_threadsafe(Loop& loop, PyObject* handle) noexcept;

/// Calls the callback of `handle` now unless it was cancelled; a failure goes to the loop.
void run_handle(Loop& loop, PyObject* handle) noexcept;

/// As handle.cancel().
void cancel_handle(PyObject* handle) noexcept;
[[nodiscard]] bool is_cancelled(PyObject* handle) noexcept;

}  // namespace epoll::python
