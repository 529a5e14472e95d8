#pragma once

#include <optional>
#include <span>

#include <epoll/base/clock.hpp>
#include <epoll/poll/poller.hpp>

#include "errors.hpp"
#include "gil.hpp"

// Waiting is two steps. The first never blocks and keeps the GIL: giving it away although there is
// work hands the turn to another thread, and to get it back may cost a switch interval (5 ms). Only
// the second, when nothing is ready, lets go of it.

namespace epoll::python {

/// What is ready now: how many reports there are, or nothing with OSError set.
[[nodiscard]] inline std::optional<std::size_t> take_ready(int epoll_fd,
                                                           std::span<Ready> room) noexcept {
    const IoResult result = kernel::wait(epoll_fd, room, Timeout::none());
    if (!result.ok() && !result.interrupted()) {
        (void)os_error(result.error);
        return std::nullopt;
    }
    return result.size();
}

/// Blocks as a Python function does it (PEP 475): without the GIL, and after a signal its handlers
/// run and the wait goes on with the time that is left. A handler may have closed the descriptor:
/// who lets it keeps the number taken and the wait awake (see EpollSet::close).
///
/// Answers how many reports there are, or nothing, with OSError or what a handler raised.
[[nodiscard]] inline std::optional<std::size_t> wait_interruptibly(int epoll_fd,
                                                                   std::span<Ready> room,
                                                                   Timeout timeout) noexcept {
    const bool has_deadline = !timeout.is_forever();
    const TimePoint start = has_deadline ? Clock::now() : TimePoint{};
    const Duration whole = has_deadline ? timeout.duration() : Duration::zero();
    for (;;) {
        IoResult result{};
        {
            const GilReleased released;
            result = kernel::wait(epoll_fd, room, timeout);
        }
        if (!result.ok() && !result.interrupted()) {
            (void)os_error(result.error);
            return std::nullopt;
        }
        if (result.count > 0) {
            return result.size();
        }
        if (result.interrupted() && PyErr_CheckSignals() < 0) {
            return std::nullopt;
        }
        if (has_deadline) {
            const Duration left = whole - (Clock::now() - start);
            if (left <= Duration::zero()) {
                return 0;
            }
            timeout = Timeout::after(left);
        }
    }
}

}  // namespace epoll::python
