#pragma once

#include <cstddef>
#include <cstdint>

#include "../python.hpp"
#include "../ref.hpp"
#include "loop_state.hpp"

namespace epoll::python {

// The coroutines of the streams (read, readline, drain …) are state machines in C++. To Python such
// an operation is a collections.abc.Coroutine: it can be awaited, wrapped in a Task, cancelled,
// gathered; it starts when it is awaited, not when it is made; it warns when it never is. What can
// be answered at once is answered without suspending.

struct StreamOperation;

/// What one step of an operation came to.
enum class Progress : std::uint8_t {
    returned,  ///< finished; the result is there
    waits,     ///< for `awaited`; step again when that is through
    yields,    ///< step again in the next turn of the loop: await asyncio.sleep(0)
    failed,    ///< finished with the exception that is set
};

/// What an operation does: shared by all of its kind.
struct OperationKind {
    const char* name;  ///< "StreamReader.read", as the coroutine of asyncio is called

    /// Goes on as far as it can.
    Progress (*step)(StreamOperation& operation, Ref& result);

    /// The wait has ended, whether well, by an exception or because the operation was closed: the
    /// `finally` of asyncio. An exception may be set, and stays.
    void (*on_wait_ended)(StreamOperation& operation) noexcept;
};

enum class OperationStage : std::uint8_t { created, running, suspended, finished };

/// The Python object. A step may use the fields from `argument` on as it likes.
struct StreamOperation {
    PyObject_HEAD
    LoopState* state;
    const OperationKind* kind;
    Ref owner;     ///< the reader or writer
    Ref awaited;   ///< the iterator of what is waited for
    Ref argument;  ///< what the method was called with; may be empty
    Ref collected;
    std::size_t wanted = 0;
    std::size_t offset = 0;
    std::uint8_t phase = 0;  ///< 0 at the first step
    OperationStage stage = OperationStage::created;

    [[nodiscard]] PyObject* as_python() noexcept { return reinterpret_cast<PyObject*>(this); }
};

/// An operation that has not begun. `argument` may be null.
[[nodiscard]] Ref make_operation(LoopState& state, const OperationKind& kind, PyObject* owner,
                                 PyObject* argument) noexcept;

/// For a step: waits for `future` (asyncio.Future, or whatever the loop makes for one).
[[nodiscard]] Progress wait_for(StreamOperation& operation, PyObject* future) noexcept;

/// Makes the type and registers it as a collections.abc.Coroutine.
[[nodiscard]] bool add_operation_type(PyObject* module, LoopState& state);

}  // namespace epoll::python
