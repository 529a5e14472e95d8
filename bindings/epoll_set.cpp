#include "epoll_set.hpp"

#include <algorithm>
#include <utility>

#include <unistd.h>

#include "errors.hpp"
#include "gil.hpp"
#include "interruptible_wait.hpp"

// Closing while other threads wait. close(2) does not end an epoll_wait(2) of another thread: it
// would sleep on, and its next call would use a number that may be somebody else's by then. So the
// closing thread registers an eventfd that is always readable, under a token that no descriptor can
// have. It wakes one thread, and being level-triggered that one wakes the next. Each sees that the
// set is closed; the last one removes the eventfd and closes the descriptor.
//
// After fork(2) the child shares the epoll with its parent, and the threads that waited are not in
// the child. The count of waiters is therefore worth nothing in another process than the one that
// made it: the child just closes its descriptor, and the parent's threads sleep on undisturbed.

namespace epoll::python {

namespace {

constexpr Token k_closing_token = ~Token{0};  // its descriptor would be -1

std::span<Ready> without_closing_token(std::span<Ready> reports) noexcept {
    const auto rest = std::remove_if(reports.begin(), reports.end(), [](const Ready& report) {
        return report.token == k_closing_token;
    });
    return reports.first(static_cast<std::size_t>(rest - reports.begin()));
}

/// Where the generations of a set begin: not where those of another one do, which may be
/// registering descriptors in the same epoll (Epoll.fromfd).
std::uint32_t first_generation(const EpollSet* set) noexcept {
    const auto now = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
    const auto place = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(set));
    return static_cast<std::uint32_t>(((now ^ place) * 0x9E3779B97F4A7C15U) >> 32U);
}

}  // namespace

EpollSet::EpollSet(OwnedFd fd) noexcept : fd_(std::move(fd)), generation_(first_generation(this)) {}

bool EpollSet::require_open() const noexcept {
    if (closed_) {
        (void)error(PyExc_ValueError, "I/O operation on closed epoll object");
    }
    return !closed_;
}

std::uint32_t EpollSet::next_generation() noexcept {
    generation_ = generation_ == ~std::uint32_t{0} ? 1 : generation_ + 1;
    return generation_;
}

EpollSet::Outcome EpollSet::add(int fd, Events events, Ref data) {
    if (!require_open()) {
        return {false, {}};
    }
    registrations_.reserve(fd);
    const std::uint32_t generation = next_generation();
    const int failure =
        kernel::control(fd_.get(), kernel::Operation::add, fd, events, make_token(fd, generation));
    if (failure != 0) {
        (void)os_error(failure);
        return {false, {}};
    }
    return {true, registrations_.put(fd, {generation, events, std::move(data), {}, {}})};
}

EpollSet::Outcome EpollSet::modify(int fd, Events events, std::optional<Ref> data) {
    if (!require_open()) {
        return {false, {}};
    }
    registrations_.reserve(fd);
    Registration* const known = registrations_.find(fd);
    const std::uint32_t generation = known != nullptr ? known->generation : next_generation();
    const int failure = kernel::control(fd_.get(), kernel::Operation::modify, fd, events,
                                        make_token(fd, generation));
    if (failure != 0) {
        (void)os_error(failure);
        return {false, {}};
    }
    Registration changed{generation, events, {}, {}, {}};
    if (known != nullptr) {
        changed.by_fd = std::move(known->by_fd);
    }
    if (data) {
        changed.data = std::move(*data);
    } else if (known != nullptr) {
        changed.data = std::move(known->data);
        changed.by_data = std::move(known->by_data);
    }
    return {true, registrations_.put(fd, std::move(changed))};
}

EpollSet::Outcome EpollSet::attach(int fd, Ref data) noexcept {
    if (!require_open()) {
        return {false, {}};
    }
    Registration* const known = registrations_.find(fd);
    if (known == nullptr) {
        (void)os_error(ENOENT);
        return {false, {}};
    }
    Registration changed{
        known->generation, known->events, std::move(data), std::move(known->by_fd), {}};
    return {true, registrations_.put(fd, std::move(changed))};
}

EpollSet::Outcome EpollSet::remove(int fd) noexcept {
    if (!require_open()) {
        return {false, {}};
    }
    const int failure =
        kernel::control(fd_.get(), kernel::Operation::remove, fd, Events::none, Token{0});
    if (failure != 0 && failure != ENOENT && failure != EBADF) {
        (void)os_error(failure);
        return {false, {}};
    }
    Registration dropped = registrations_.take(fd);
    if (failure != 0) {
        (void)os_error(failure);
    }
    return {failure == 0, std::move(dropped)};
}

std::optional<RegistrationTable> EpollSet::close() {
    if (closed_) {
        return RegistrationTable{};
    }
    if (has_waiters()) {
        Waker waker;
        waker.wake();
        const int failure = kernel::control(fd_.get(), kernel::Operation::add, waker.fd(),
                                            Events::readable, k_closing_token);
        if (failure != 0) {
            (void)os_error(failure);
            return std::nullopt;
        }
        closing_.emplace(std::move(waker));
    }
    closed_ = true;
    RegistrationTable dropped = std::exchange(registrations_, RegistrationTable{});
    const int failure = closing_ ? 0 : fd_.close();
    if (failure != 0) {
        (void)os_error(failure);
        return std::nullopt;
    }
    return dropped;
}

std::optional<std::span<Ready>> EpollSet::wait(PyObject* owner, std::span<Ready> room,
                                               Timeout timeout) noexcept {
    std::optional<std::size_t> count;
    int fd = -1;
    {
        const CriticalSection inside{owner};
        if (!require_open()) {
            return std::nullopt;
        }
        count = take_ready(fd_.get(), room);
        if (!count) {
            return std::nullopt;
        }
        if (*count > 0 || timeout.is_none()) {
            return without_closing_token(room.first(*count));
        }
        enter();
        fd = fd_.get();
    }
    count = wait_interruptibly(fd, room, timeout);
    const CriticalSection inside{owner};
    leave();
    if (!count || !require_open()) {
        return std::nullopt;
    }
    return without_closing_token(room.first(*count));
}

bool EpollSet::has_waiters() const noexcept { return waiters_ > 0 && waiters_home_ == ::getpid(); }

void EpollSet::enter() noexcept {
    if (waiters_ == 0 || waiters_home_ != ::getpid()) {
        waiters_ = 0;
        waiters_home_ = ::getpid();
    }
    ++waiters_;
}

void EpollSet::leave() noexcept {
    if (waiters_ > 0) {  // a handler that forked may have left us where nobody was counted
        --waiters_;
    }
    if (waiters_ == 0 && closing_) {
        (void)kernel::control(fd_.get(), kernel::Operation::remove, closing_->fd(), Events::none,
                              Token{0});
        closing_.reset();
        (void)fd_.close();
    }
}

}  // namespace epoll::python
