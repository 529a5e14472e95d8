#pragma once

#include <string_view>

#include <sys/socket.h>

#include <doctest/doctest.h>

#include <epoll/base/owned_fd.hpp>

namespace epoll {

/// Two connected stream sockets, non-blocking: what is written to `far` becomes readable at `near`.
struct Pair {
    OwnedFd near;
    OwnedFd far;

    Pair() {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        near = OwnedFd{ends[0]};
        far = OwnedFd{ends[1]};
    }

    void send_from_far(std::string_view text = "x") const {
        REQUIRE(::send(far.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(text.size()));
    }

    /// Reads what is there, so that `near` is not readable any more.
    void drain_near() const {
        char room[256];
        while (::recv(near.get(), room, sizeof room, 0) > 0) {
        }
    }
};

}  // namespace epoll
