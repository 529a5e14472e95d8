#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <epoll/base/intrusive_list.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/loop/timer_queue.hpp>

#include "../python.hpp"
#include "../ref.hpp"
#include "loop.hpp"
#include "loop_state.hpp"

// The memory of a handle, in this order: the slots of the Python class, the TimerPart in a
// TimerHandle or the RunnerPart in a ThreadSafeHandle, the HandlePart. So the parts are found from
// the end, whatever the class has.
//
// The slot of _loop is ours: the attribute of that name is a property of the native types, so a
// program cannot change what the slot has, and the garbage collector does not clear it.

namespace epoll::python {

/// A slot of the Python class: null when it was never set, or deleted.
[[nodiscard]] inline PyObject*& slot_of(PyObject* handle, Py_ssize_t offset) noexcept {
    return *reinterpret_cast<PyObject**>(reinterpret_cast<std::byte*>(handle) + offset);
}

/// The small things of a HandlePart; a class of their own, as so they cost no memory.
class HandleMarks : public Deferred {
  public:
    [[nodiscard]] HandleKind kind() const noexcept { return kind_; }
    [[nodiscard]] bool is_timer() const noexcept { return kind_ == HandleKind::timer; }

    /// True while the slot of the context has one that is not to be entered: see ContextCache.
    [[nodiscard]] bool shares_context() const noexcept { return shares_context_; }
    void set_shares_context(bool shares) noexcept { shares_context_ = shares; }

  protected:
    HandleMarks(HandleKind kind, std::uint8_t slots_to_loop) noexcept
        : kind_(kind), slots_to_loop_(slots_to_loop) {}
    ~HandleMarks() = default;

    [[nodiscard]] std::ptrdiff_t slots_to_loop() const noexcept { return slots_to_loop_; }

  private:
    HandleKind kind_;
    bool shares_context_ = false;
    std::uint8_t slots_to_loop_;  ///< from this back to the slot of _loop, in pointers
};

/// What the reactor needs of a Handle.
class HandlePart final : public HandleMarks, public ListHook<HeldTag> {
  public:
    /// It is placed where part_of(handle) is. `distance` from the slot of _loop, in bytes.
    HandlePart(HandleKind kind, std::ptrdiff_t distance) noexcept
        : HandleMarks(kind, static_cast<std::uint8_t>(distance / k_slot)) {}

    /// The loop that it was made for.
    [[nodiscard]] PyObject*& loop_slot() noexcept {
        return *(reinterpret_cast<PyObject**>(this) - slots_to_loop());
    }
    [[nodiscard]] Loop& loop() noexcept { return loop_of(loop_slot()); }

    /// The handle that this is a part of, borrowed.
    [[nodiscard]] PyObject* handle() noexcept {
        const Py_ssize_t offset = loop().state().layout.loop;
        return reinterpret_cast<PyObject*>(reinterpret_cast<std::byte*>(&loop_slot()) - offset);
    }

    /// The loop keeps the handle alive from now on. On its thread, or in a critical section of it.
    void hold() noexcept;
    [[nodiscard]] bool is_held() const noexcept { return ListHook<HeldTag>::is_linked(); }

    /// Gives up what hold() took: nothing when it was given up before.
    [[nodiscard]] Ref let_go() noexcept;

  private:
    static constexpr std::ptrdiff_t k_slot = sizeof(PyObject*);

    void on_turn() noexcept override;
};

/// What stands before the HandlePart of a TimerHandle.
class TimerPart final : public Timer {
  private:
    void on_due() noexcept override;
};

/// What stands before the HandlePart of a ThreadSafeHandle.
struct RunnerPart {
    /// The thread that runs a handle which has no lock yet, else 0. In a critical section of it.
    unsigned long runner = 0;
};

[[nodiscard]] inline HandlePart& part_of(PyObject* handle) noexcept {
    auto* const end = reinterpret_cast<std::byte*>(handle) + Py_TYPE(handle)->tp_basicsize;
    return *reinterpret_cast<HandlePart*>(end - sizeof(HandlePart));
}

/// The place of a TimerPart. Only for a TimerHandle.
[[nodiscard]] inline TimerPart& timer_of(HandlePart& part) noexcept {
    auto* const end = reinterpret_cast<std::byte*>(&part);
    return *reinterpret_cast<TimerPart*>(end - sizeof(TimerPart));
}

/// The place of a RunnerPart. Only for a ThreadSafeHandle.
[[nodiscard]] inline RunnerPart& runner_of(HandlePart& part) noexcept {
    auto* const end = reinterpret_cast<std::byte*>(&part);
    return *reinterpret_cast<RunnerPart*>(end - sizeof(RunnerPart));
}

/// Puts `value` into the slot and answers what was there.
[[nodiscard]] inline Ref exchange_slot(PyObject* handle, Py_ssize_t offset, Ref value) noexcept {
    return Ref::steal(std::exchange(slot_of(handle, offset), value.release()));
}

/// The context of a handle, one that is its own: what the slot has, after that one was replaced if
/// it is shared. Empty with an exception set, or without one when the slot is empty.
[[nodiscard]] Ref own_context(PyObject* handle) noexcept;

/// The reentrant lock of a threadsafe handle. It is made for the first who asks, as most handles
/// have run, and are gone, before anybody does; the thread that runs the handle at that moment has
/// it. Empty with an exception set.
[[nodiscard]] Ref lock_of(PyObject* handle) noexcept;

}  // namespace epoll::python
