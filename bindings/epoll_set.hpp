#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <sys/types.h>

#include <epoll/base/owned_fd.hpp>
#include <epoll/poll/poller.hpp>
#include <epoll/poll/waker.hpp>

#include "ref.hpp"
#include "registration_table.hpp"
#include "wait_buffer.hpp"

namespace epoll::python {

/// An epoll descriptor, what Python attached to its registrations, and the threads that wait on it:
/// the heart of Epoll and of SelectorBase.
///
/// It lives inside a Python object, its owner. Every function but wait() must be called in the
/// owner's critical section; what an answer holds must be dropped outside of it, because that may
/// run any code. Functions that answer bool or optional have set an exception when they answer
/// false or nothing.
class EpollSet {
  public:
    /// Takes over an epoll descriptor.
    explicit EpollSet(OwnedFd fd) noexcept;
    EpollSet(const EpollSet&) = delete;
    EpollSet& operator=(const EpollSet&) = delete;

    [[nodiscard]] bool is_closed() const noexcept { return closed_; }

    /// The descriptor; only while the set is open.
    [[nodiscard]] int fd() const noexcept { return fd_.get(); }

    /// ValueError when the set is closed.
    [[nodiscard]] bool require_open() const noexcept;

    /// What an operation answers: whether it was done, and what it replaced.
    struct [[nodiscard]] Outcome {
        bool done;
        Registration dropped;
    };

    /// EPOLL_CTL_ADD. `data` may be empty. May throw std::bad_alloc.
    Outcome add(int fd, Events events, Ref data);

    /// EPOLL_CTL_MOD. Without `data` what was attached stays attached. May throw std::bad_alloc.
    Outcome modify(int fd, Events events, std::optional<Ref> data);

    /// Attaches something else to a registered descriptor, without a system call.
    Outcome attach(int fd, Ref data) noexcept;

    /// EPOLL_CTL_DEL. A registration that the kernel does not know (any more) is forgotten as well.
    Outcome remove(int fd) noexcept;

    /// Closes the descriptor at once, or has the threads that wait on it do so: they all wake up,
    /// and the last one closes. OSError when that is not possible, and then the set is as it was.
    /// Answers the registrations that there were. Nothing happens when it is closed already.
    [[nodiscard]] std::optional<RegistrationTable> close();

    /// Waits for reports into `room`, without the GIL if it may block, and retries after signals as
    /// PEP 475 has it. To be called outside of the owner's critical section, from any thread.
    ///
    /// The reports answered lie in `room`. ValueError when the set is or gets closed.
    [[nodiscard]] std::optional<std::span<Ready>> wait(PyObject* owner, std::span<Ready> room,
                                                       Timeout timeout) noexcept;

    [[nodiscard]] RegistrationTable& registrations() noexcept { return registrations_; }
    [[nodiscard]] WaitBuffer& buffer() noexcept { return buffer_; }

  private:
    [[nodiscard]] std::uint32_t next_generation() noexcept;
    [[nodiscard]] bool has_waiters() const noexcept;
    void enter() noexcept;
    void leave() noexcept;

    OwnedFd fd_;
    bool closed_ = false;
    RegistrationTable registrations_;
    std::uint32_t generation_;
    std::uint32_t waiters_ = 0;  ///< threads blocked in wait(), of the process `waiters_home_`
    pid_t waiters_home_ = 0;
    std::optional<Waker> closing_;  ///< wakes the waiters of a closed set, until the last one left
    WaitBuffer buffer_;
};

}  // namespace epoll::python
