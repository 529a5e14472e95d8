#pragma once

#include <chrono>

namespace epoll {

/// CLOCK_MONOTONIC in nanoseconds: the clock of epoll_pwait2, of asyncio and of time.monotonic().
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::nanoseconds;

/// How long a call may wait: not at all, for a duration, or without end.
class Timeout {
  public:
    [[nodiscard]] static constexpr Timeout none() noexcept { return Timeout{Duration::zero()}; }
    [[nodiscard]] static constexpr Timeout forever() noexcept { return Timeout{Duration{-1}}; }

    /// A negative duration counts as zero: the moment has passed already.
    [[nodiscard]] static constexpr Timeout after(Duration duration) noexcept {
        return Timeout{duration < Duration::zero() ? Duration::zero() : duration};
    }

    [[nodiscard]] constexpr bool is_none() const noexcept { return left_ == Duration::zero(); }
    [[nodiscard]] constexpr bool is_forever() const noexcept { return left_ < Duration::zero(); }

    /// The time left. Only for a timeout that is not forever.
    [[nodiscard]] constexpr Duration duration() const noexcept { return left_; }

    /// The time left in whole milliseconds as epoll_wait(2) wants it: -1 for forever, rounded up so
    /// that no wait ends early, and cut at the largest int (24 days), after which the caller waits
    /// again.
    [[nodiscard]] int milliseconds() const noexcept;

    /// The shorter of the two.
    [[nodiscard]] static constexpr Timeout shorter(Timeout a, Timeout b) noexcept {
        if (a.is_forever()) {
            return b;
        }
        return b.is_forever() || a.left_ < b.left_ ? a : b;
    }

  private:
    explicit constexpr Timeout(Duration left) noexcept : left_(left) {}
    Duration left_;
};

}  // namespace epoll
