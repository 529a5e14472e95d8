#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include <epoll/base/clock.hpp>
#include <epoll/base/io_result.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/poll/events.hpp>

namespace epoll {

/// What the owner of a registration gets back with its events. The kernel only carries it.
using Token = std::uint64_t;

#if defined(__x86_64__)
#define PYEPOLL_KERNEL_LAYOUT __attribute__((packed))
#else
#define PYEPOLL_KERNEL_LAYOUT
#endif

/// One report of the kernel: laid out as `struct epoll_event`, so that no report is ever copied.
struct PYEPOLL_KERNEL_LAYOUT Ready {
    Events events;
    Token token;
};

#undef PYEPOLL_KERNEL_LAYOUT

/// Busy polling of the network device by epoll_wait (EPIOCSPARAMS, Linux 6.9).
struct BusyPoll {
    std::uint32_t microseconds;    ///< how long to poll the device before sleeping; 0 is off
    std::uint16_t packets_budget;  ///< packets a poll may take; above 64 needs CAP_NET_ADMIN
    bool prefer;                   ///< keep the device's interrupts off while polling
};

/// The four things epoll can do, one system call each, on a descriptor that somebody else owns.
///
/// Thread-safe as the kernel is: registering while another thread waits is allowed. Nothing is
/// retried and nothing throws: EINTR is an answer.
namespace kernel {

enum class Operation : int { add = 1, remove = 2, modify = 3 };  ///< EPOLL_CTL_ADD, _DEL, _MOD

/// epoll_create1(2): count is the new descriptor, always close-on-exec.
[[nodiscard]] IoResult create() noexcept;

/// epoll_ctl(2): answers errno, 0 on success. `operation` is passed on unchecked.
[[nodiscard]] int control(int epoll_fd, Operation operation, int fd, Events events,
                          Token token) noexcept;

/// epoll_wait(2), or epoll_pwait2(2) where the kernel has it (5.11) and the timeout is neither none
/// nor forever: count is the number of reports at the start of `room`.
///
/// Never early: where only milliseconds are to be had the timeout is rounded up. May be early by
/// kernel design only when it is longer than 24 days. An empty `room` is EINVAL, as is one of more
/// than INT_MAX / sizeof(Ready) places.
[[nodiscard]] IoResult wait(int epoll_fd, std::span<Ready> room, Timeout timeout) noexcept;

/// EPIOCSPARAMS / EPIOCGPARAMS: errno; ENOTTY or EOPNOTSUPP where the kernel lacks them.
[[nodiscard]] int set_busy_poll(int epoll_fd, BusyPoll parameters) noexcept;
[[nodiscard]] int get_busy_poll(int epoll_fd, BusyPoll& parameters) noexcept;

}  // namespace kernel

/// An epoll instance that is owned: a thin, honest wrapper.
///
/// It keeps no table: who registers a descriptor removes it, before closing it. (An epoll
/// registration belongs to the open file description, not to the descriptor: after a close(2) it
/// lives on as long as a dup or a forked child holds the file, and it cannot be removed any more.)
class Poller {
  public:
    /// Throws std::system_error when the kernel has no descriptor or memory left.
    Poller();

    /// Takes over an epoll descriptor.
    explicit Poller(OwnedFd epoll_fd) noexcept : fd_(std::move(epoll_fd)) {}

    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

    /// Starts watching. Throws std::system_error: EEXIST, EPERM (a regular file), ENOSPC, EBADF …
    void add(int fd, Events events, Token token);

    /// Changes what is watched; errno, 0 on success. Not for a registration with Events::exclusive.
    [[nodiscard]] int modify(int fd, Events events, Token token) noexcept;

    /// Stops watching; errno, 0 on success.
    int remove(int fd) noexcept;

    /// Waits for reports into `room`, one system call. EINTR is answered, not retried: the caller
    /// knows what a signal means to it and how much time is left.
    [[nodiscard]] IoResult wait(std::span<Ready> room, Timeout timeout) noexcept;

  private:
    OwnedFd fd_;
};

}  // namespace epoll
