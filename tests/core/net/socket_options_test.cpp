#include <epoll/net/socket_options.hpp>

#include <cerrno>
#include <chrono>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/core/net/loopback.hpp"

namespace {

int read_option(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    testing::checked(::getsockopt(fd, level, name, &value, &size), "getsockopt");
    return value;
}

epoll::OwnedFd make_socket(int family) {
    return epoll::OwnedFd{testing::checked(::socket(family, SOCK_STREAM, 0), "socket")};
}

/// An option that is switched on and off.
struct Switch {
    int (*set)(int fd, bool on) noexcept;
    int family, level, name;
};

}  // namespace

TEST_CASE("a switch reads back as it was set") {
    const Switch switches[] = {
        {epoll::set_no_delay, AF_INET, IPPROTO_TCP, TCP_NODELAY},
        {epoll::set_cork, AF_INET, IPPROTO_TCP, TCP_CORK},
        {epoll::set_reuse_address, AF_INET, SOL_SOCKET, SO_REUSEADDR},
        {epoll::set_reuse_port, AF_INET, SOL_SOCKET, SO_REUSEPORT},
        {epoll::set_ipv6_only, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY},
    };
    for (const Switch& option : switches) {
        CAPTURE(option.name);
        const epoll::OwnedFd socket = make_socket(option.family);
        CHECK(option.set(socket.get(), true) == 0);
        CHECK(read_option(socket.get(), option.level, option.name) != 0);
        CHECK(option.set(socket.get(), false) == 0);
        CHECK(read_option(socket.get(), option.level, option.name) == 0);
    }
}

TEST_CASE("keep-alive sets its three numbers") {
    const epoll::OwnedFd socket = make_socket(AF_INET);
    const epoll::KeepAlive keep_alive{std::chrono::seconds{7}, std::chrono::seconds{3}, 2};
    REQUIRE(epoll::set_keep_alive(socket.get(), keep_alive) == 0);
    CHECK(read_option(socket.get(), SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(read_option(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE) == 7);
    CHECK(read_option(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL) == 3);
    CHECK(read_option(socket.get(), IPPROTO_TCP, TCP_KEEPCNT) == 2);
}

TEST_CASE("keep-alive with a number that the kernel refuses is an error") {
    const epoll::OwnedFd socket = make_socket(AF_INET);
    CHECK(epoll::set_keep_alive(socket.get(), {std::chrono::seconds{0}, {}, 1}) == EINVAL);
}

TEST_CASE("a Unix socket does not know the options of TCP") {
    const epoll::OwnedFd socket = make_socket(AF_UNIX);
    CHECK(epoll::set_no_delay(socket.get(), true) == EOPNOTSUPP);
    CHECK(epoll::set_cork(socket.get(), true) == EOPNOTSUPP);
}

TEST_CASE("an option of no socket is EBADF") {
    CHECK(epoll::set_no_delay(-1, true) == EBADF);
    CHECK(epoll::set_nonblocking(-1) == EBADF);
    CHECK(epoll::take_error(-1) == EBADF);
    CHECK(epoll::unread_bytes(-1) == 0);
}

TEST_CASE("the error of a socket is taken once") {
    testing::Pair pair = testing::make_tcp_pair();
    testing::Peer peer{std::move(pair.theirs)};
    CHECK(epoll::take_error(pair.ours.get()) == 0);
    peer.reset();
    CHECK(epoll::take_error(pair.ours.get()) == ECONNRESET);
    CHECK(epoll::take_error(pair.ours.get()) == 0);
}

TEST_CASE("bytes that have arrived and were not read are counted") {
    testing::Pair pair = testing::make_unix_pair();
    testing::Peer peer{std::move(pair.theirs)};
    CHECK(epoll::unread_bytes(pair.ours.get()) == 0);
    peer.send("five.");
    CHECK(epoll::unread_bytes(pair.ours.get()) == 5);
}

TEST_CASE("a descriptor from elsewhere becomes non-blocking and close-on-exec") {
    const epoll::OwnedFd socket = make_socket(AF_INET);
    REQUIRE(epoll::set_nonblocking(socket.get()) == 0);
    CHECK((::fcntl(socket.get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC) != 0);
}
