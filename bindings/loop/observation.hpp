#pragma once

#include <atomic>
#include <utility>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

/// Who looks at a loop while it runs, and what there is to see. Debug mode and watchdogs want to
/// know which handle runs; as long as there is neither, a callback costs one look at a flag.
class Observation {
  public:
    // Any thread.

    [[nodiscard]] bool is_debug() const noexcept { return (observers_ & k_debug) != 0; }
    void set_debug(bool is_debug) noexcept {
        if (is_debug) {
            observers_ |= k_debug;
        } else {
            observers_ &= ~k_debug;
        }
    }

    /// A watchdog comes, or goes.
    void add_watcher() noexcept { observers_ += k_watcher; }
    void remove_watcher() noexcept { observers_ -= k_watcher; }

    /// There is debug mode or a watchdog.
    [[nodiscard]] bool is_on() const noexcept {
        return observers_.load(std::memory_order_relaxed) != 0;
    }

    /// The thread waits for the kernel, or for the GIL after that.
    [[nodiscard]] bool is_resting() const noexcept { return is_resting_; }

    // The loop's thread.

    void set_resting(bool is_resting) noexcept {
        is_resting_.store(is_resting, std::memory_order_relaxed);
    }

    // In a critical section of the loop.

    /// The handle that runs; empty when none does, or when it began to run while nobody looked.
    [[nodiscard]] Ref running() const noexcept { return Ref::borrow(running_.get()); }
    /// Answers what was there, to be dropped outside.
    [[nodiscard]] Ref set_running(Ref handle) noexcept {
        std::swap(running_, handle);
        return handle;
    }

    int traverse(visitproc visit, void* arg) const noexcept {
        Py_VISIT(running_.get());
        return 0;
    }

  private:
    static constexpr unsigned k_debug = 1;
    static constexpr unsigned k_watcher = 2;  ///< times their number

    std::atomic<unsigned> observers_ = 0;
    std::atomic<bool> is_resting_ = false;
    Ref running_;
};

}  // namespace epoll::python
