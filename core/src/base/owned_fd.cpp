#include <epoll/base/owned_fd.hpp>

#include <cerrno>

#include <unistd.h>

namespace epoll {

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
    if (this != &other) {
        (void)close();
        fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
}

int OwnedFd::close() noexcept {
    if (fd_ < 0) {
        return 0;
    }
    const int result = ::close(std::exchange(fd_, -1));
    return result == 0 || errno == EINTR ? 0 : errno;
}

}  // namespace epoll
