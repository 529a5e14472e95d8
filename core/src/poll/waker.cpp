#include <epoll/poll/waker.hpp>

#include <cerrno>
#include <cstdint>

#include <sys/eventfd.h>
#include <unistd.h>

#include <epoll/base/io_result.hpp>

namespace epoll {

Waker::Waker() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (!fd_.is_open()) {
        throw_errno("eventfd");
    }
}

void Waker::wake() const noexcept {
    const int saved = errno;
    const std::uint64_t one = 1;
    // The only failures are EINTR before anything was written, and EAGAIN: the counter is full, so
    // the descriptor is readable already.
    while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
    errno = saved;
}

void Waker::drain() const noexcept {
    std::uint64_t count = 0;
    while (::read(fd_.get(), &count, sizeof count) < 0 && errno == EINTR) {
    }
}

}  // namespace epoll
