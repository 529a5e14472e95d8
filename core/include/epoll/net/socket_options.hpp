#pragma once

#include <chrono>

namespace epoll {

/// Options of a socket that somebody else owns. Each is one setsockopt(2) and answers errno, 0 on
/// success: an option that a family does not know (TCP options of a Unix socket: EOPNOTSUPP) is the
/// caller's decision, not an accident.

/// TCP_NODELAY: send small segments at once instead of waiting for the acknowledgement of the one
/// before (Nagle's algorithm, RFC 896). For protocols that answer small messages.
[[nodiscard]] int set_no_delay(int fd, bool on) noexcept;

/// TCP_CORK: hold back partial segments until it is switched off, 200 ms at most. For a head and a
/// body that are written by two calls; a gathered write needs no cork.
[[nodiscard]] int set_cork(int fd, bool on) noexcept;

/// SO_KEEPALIVE with TCP's three numbers (tcp(7)): a peer that vanished without a word is found out
/// after idle + interval * probes, and the connection fails with ETIMEDOUT.
struct KeepAlive {
    std::chrono::seconds idle{60};
    std::chrono::seconds interval{10};
    int probes = 6;
};
[[nodiscard]] int set_keep_alive(int fd, KeepAlive keep_alive) noexcept;

/// SO_REUSEADDR: bind although connections of an earlier server are still in TIME_WAIT.
[[nodiscard]] int set_reuse_address(int fd, bool on) noexcept;

/// SO_REUSEPORT: several sockets, also of several processes, listen on one port, and the kernel
/// spreads new connections over them by a hash of the addresses.
[[nodiscard]] int set_reuse_port(int fd, bool on) noexcept;

/// IPV6_V6ONLY: an IPv6 wildcard does not take IPv4 connections as well.
[[nodiscard]] int set_ipv6_only(int fd, bool on) noexcept;

/// SO_ERROR: the error that waits on the socket, 0 when there is none; asking takes it away.
[[nodiscard]] int take_error(int fd) noexcept;

/// SIOCINQ: how many bytes have arrived and were not read; 0 also when the kernel does not say.
[[nodiscard]] int unread_bytes(int fd) noexcept;

/// SIOCOUTQ: how many sent bytes the peer's kernel has not acknowledged (TCP), or its program has
/// not read (Unix); 0 also when the kernel does not say.
[[nodiscard]] int unacknowledged_bytes(int fd) noexcept;

/// O_NONBLOCK and FD_CLOEXEC on a descriptor that came from elsewhere.
[[nodiscard]] int set_nonblocking(int fd) noexcept;

}  // namespace epoll
