#pragma once

namespace epoll {

/// Told around every wait that may block and around no other, on the reactor's thread: where a host
/// language lets go of its lock, and where it looks for signals.
class WaitObserver {
  public:
    virtual void on_block() noexcept = 0;
    virtual void on_unblock() noexcept = 0;

    /// Asked before such a wait: shall it be tried without blocking first? It costs a system call
    /// when nothing is ready, and saves letting go of the lock, which may be long in coming back,
    /// when something is.
    [[nodiscard]] virtual bool prefers_polling() noexcept = 0;

  protected:
    ~WaitObserver() = default;
};

}  // namespace epoll
