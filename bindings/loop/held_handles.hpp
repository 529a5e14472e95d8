#pragma once

#include <epoll/base/intrusive_list.hpp>

#include "../python.hpp"

namespace epoll::python {

class HandlePart;
struct HeldTag;

/// The handles that a loop keeps alive, in the order in which they were scheduled.
///
/// Each object that the garbage collector tracks costs it time, and most handles belong to the loop
/// alone: they are not tracked. What they refer to the loop then shows the collector as its own. A
/// handle is tracked once it is seen that somebody else has it, too: when the next one is
/// scheduled, when the loop stops, or when it leaves the loop. In a critical section of the loop,
/// as other threads add theirs; add() makes its own.
class HeldHandles {
  public:
    HeldHandles() noexcept;
    HeldHandles(const HeldHandles&) = delete;
    HeldHandles& operator=(const HeldHandles&) = delete;
    ~HeldHandles();

    void add(HandlePart& part) noexcept;
    void remove(HandlePart& part) noexcept;

    /// Has the collector told of the newest one, if somebody else has it.
    void settle() noexcept;

    /// Lets go of all of them; they are not scheduled any more.
    void drop_all() noexcept;

    int traverse(visitproc visit, void* arg) noexcept;

  private:
    IntrusiveList<HandlePart, HeldTag> held_;
    HandlePart* newest_ = nullptr;  ///< whoever scheduled it may still be about to keep it
};

}  // namespace epoll::python
