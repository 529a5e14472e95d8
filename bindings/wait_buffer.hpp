#pragma once

#include <atomic>
#include <cstddef>
#include <span>

#include <epoll/poll/poller.hpp>

namespace epoll::python {

/// Memory for the reports of one wait, kept for the next.
///
/// One thread at a time has the kept memory; whoever comes meanwhile gets memory of its own. Leases
/// begin and end with the thread state attached; without a GIL an atomic exchange is all the
/// locking there is.
class WaitBuffer {
  public:
    WaitBuffer() noexcept = default;
    WaitBuffer(const WaitBuffer&) = delete;
    WaitBuffer& operator=(const WaitBuffer&) = delete;
    ~WaitBuffer();

    /// The use of the memory by one wait; gives it back at its end.
    class Lease {
      public:
        /// Throws std::bad_alloc when there is no memory for `count` reports (at least one). Memory
        /// is reserved, not touched: a huge count costs nothing until the kernel fills it.
        Lease(WaitBuffer& buffer, std::size_t count);
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        ~Lease();

        [[nodiscard]] std::span<Ready> room() const noexcept;

      private:
        friend class WaitBuffer;
        struct Block;
        WaitBuffer& buffer_;
        Block* block_;
        std::size_t count_;
    };

  private:
    /// Puts `block` in the place of what is kept, and answers that.
    [[nodiscard]] Lease::Block* exchange(Lease::Block* block) noexcept;

    std::atomic<Lease::Block*> kept_{nullptr};
};

}  // namespace epoll::python
