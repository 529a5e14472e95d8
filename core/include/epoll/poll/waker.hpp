#pragma once

#include <epoll/base/owned_fd.hpp>

namespace epoll {

/// An eventfd that becomes readable when somebody calls wake(): how another thread, or a signal
/// handler, ends a wait.
class Waker {
  public:
    /// Throws std::system_error when the kernel has no descriptor left.
    Waker();

    /// Becomes readable after wake(), until drain().
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

    /// Any thread, and async-signal-safe; leaves errno as it was. Many calls before a drain() count
    /// as one.
    void wake() const noexcept;

    /// Makes the descriptor unreadable again. Every wake() that happened before has been seen.
    void drain() const noexcept;

  private:
    OwnedFd fd_;
};

}  // namespace epoll
