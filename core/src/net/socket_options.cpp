#include <epoll/net/socket_options.hpp>

#include <cerrno>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace epoll {

namespace {

int set_option(int fd, int level, int name, int value) noexcept {
    return ::setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : errno;
}

}  // namespace

int set_no_delay(int fd, bool on) noexcept {
    return set_option(fd, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
}

int set_cork(int fd, bool on) noexcept { return set_option(fd, IPPROTO_TCP, TCP_CORK, on ? 1 : 0); }

int set_keep_alive(int fd, KeepAlive keep_alive) noexcept {
    const auto seconds = [](std::chrono::seconds time) { return static_cast<int>(time.count()); };
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, seconds(keep_alive.idle)},
        {IPPROTO_TCP, TCP_KEEPINTVL, seconds(keep_alive.interval)},
        {IPPROTO_TCP, TCP_KEEPCNT, keep_alive.probes},
    };
    for (const auto& option : options) {
        if (const int error = set_option(fd, option.level, option.name, option.value); error != 0) {
            return error;
        }
    }
    return 0;
}

int set_reuse_address(int fd, bool on) noexcept {
    return set_option(fd, SOL_SOCKET, SO_REUSEADDR, on ? 1 : 0);
}

int set_reuse_port(int fd, bool on) noexcept {
    return set_option(fd, SOL_SOCKET, SO_REUSEPORT, on ? 1 : 0);
}

int set_ipv6_only(int fd, bool on) noexcept {
    return set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, on ? 1 : 0);
}

int take_error(int fd) noexcept {
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

int unread_bytes(int fd) noexcept {
    int count = 0;
    return ::ioctl(fd, FIONREAD, &count) == 0 ? count : 0;
}

int unacknowledged_bytes(int fd) noexcept {
    int count = 0;
    return ::ioctl(fd, TIOCOUTQ, &count) == 0 ? count : 0;
}

int set_nonblocking(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        return errno;
    }
    return 0;
}

}  // namespace epoll
