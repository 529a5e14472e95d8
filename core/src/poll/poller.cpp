#include <epoll/poll/poller.hpp>

#include <atomic>
#include <cstddef>
#include <limits>

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// Timeouts. epoll_wait(2) counts milliseconds, which makes a timer either up to one millisecond
// late or, rounded down, early: and a loop that wakes early spins until the time has come.
// epoll_pwait2(2) counts nanoseconds. It is called by number, because glibc before 2.35 and musl
// have no wrapper, and a kernel (or a sandbox: EPERM) without it is asked once only.

namespace epoll::kernel {

static_assert(sizeof(Ready) == sizeof(epoll_event));
static_assert(offsetof(Ready, events) == offsetof(epoll_event, events));
static_assert(offsetof(Ready, token) == offsetof(epoll_event, data));
static_assert(static_cast<int>(Operation::add) == EPOLL_CTL_ADD);
static_assert(static_cast<int>(Operation::remove) == EPOLL_CTL_DEL);
static_assert(static_cast<int>(Operation::modify) == EPOLL_CTL_MOD);

namespace {

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

// linux/eventpoll.h has these since 6.9; the numbers are the kernel's interface, so older headers
// are no obstacle.
struct BusyPollParameters {
    std::uint32_t busy_poll_usecs;
    std::uint16_t busy_poll_budget;
    std::uint8_t prefer_busy_poll;
    std::uint8_t padding;  // must be zero
};
constexpr unsigned long k_set_parameters = _IOW(0x8A, 0x01, BusyPollParameters);
constexpr unsigned long k_get_parameters = _IOR(0x8A, 0x02, BusyPollParameters);

// The layout that system call 441 takes on every architecture, 32-bit time_t or not.
struct KernelTimespec {
    std::int64_t seconds;
    std::int64_t nanoseconds;
};

/// ioctl(2). By number, because the type of the request differs between glibc and musl.
int control_device(int fd, unsigned long request, void* argument) noexcept {
    return ::syscall(SYS_ioctl, fd, request, argument) == 0 ? 0 : errno;
}

std::atomic<bool> has_pwait2{true};  // a fact about this kernel, learnt once

}  // namespace

IoResult create() noexcept { return IoResult::from(::epoll_create1(EPOLL_CLOEXEC)); }

int control(int epoll_fd, Operation operation, int fd, Events events, Token token) noexcept {
    epoll_event event{};
    event.events = bits(events);
    event.data.u64 = token;
    return ::epoll_ctl(epoll_fd, static_cast<int>(operation), fd, &event) == 0 ? 0 : errno;
}

IoResult wait(int epoll_fd, std::span<Ready> room, Timeout timeout) noexcept {
    auto* const events = reinterpret_cast<epoll_event*>(room.data());
    constexpr std::size_t most = std::numeric_limits<int>::max() / sizeof(epoll_event);
    if (room.size() > most) {
        return {0, EINVAL};
    }
    const int capacity = static_cast<int>(room.size());
    if (!timeout.is_none() && !timeout.is_forever() && has_pwait2.load(std::memory_order_relaxed)) {
        const auto seconds = std::chrono::floor<std::chrono::seconds>(timeout.duration());
        const KernelTimespec left{seconds.count(), (timeout.duration() - seconds).count()};
        const auto result = IoResult::from(::syscall(SYS_epoll_pwait2, epoll_fd, events, capacity,
                                                     &left, nullptr, std::size_t{0}));
        if (result.error != ENOSYS && result.error != EPERM) {
            return result;
        }
        has_pwait2.store(false, std::memory_order_relaxed);
    }
    return IoResult::from(::epoll_wait(epoll_fd, events, capacity, timeout.milliseconds()));
}

int set_busy_poll(int epoll_fd, BusyPoll parameters) noexcept {
    BusyPollParameters raw{parameters.microseconds, parameters.packets_budget,
                           static_cast<std::uint8_t>(parameters.prefer), 0};
    return control_device(epoll_fd, k_set_parameters, &raw);
}

int get_busy_poll(int epoll_fd, BusyPoll& parameters) noexcept {
    BusyPollParameters raw{};
    if (const int error = control_device(epoll_fd, k_get_parameters, &raw); error != 0) {
        return error;
    }
    parameters = {raw.busy_poll_usecs, raw.busy_poll_budget, raw.prefer_busy_poll != 0};
    return 0;
}

}  // namespace epoll::kernel

namespace epoll {

Poller::Poller() {
    const IoResult created = kernel::create();
    if (!created.ok()) {
        throw_error(created.error, "epoll_create1");
    }
    fd_ = OwnedFd{static_cast<int>(created.count)};
}

void Poller::add(int fd, Events events, Token token) {
    const int error = kernel::control(fd_.get(), kernel::Operation::add, fd, events, token);
    if (error != 0) {
        throw_error(error, "epoll_ctl");
    }
}

int Poller::modify(int fd, Events events, Token token) noexcept {
    return kernel::control(fd_.get(), kernel::Operation::modify, fd, events, token);
}

int Poller::remove(int fd) noexcept {
    return kernel::control(fd_.get(), kernel::Operation::remove, fd, Events::none, 0);
}

IoResult Poller::wait(std::span<Ready> room, Timeout timeout) noexcept {
    return kernel::wait(fd_.get(), room, timeout);
}

}  // namespace epoll
