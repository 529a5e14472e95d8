#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <epoll/base/io_result.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/net/address.hpp>

// The system calls of sockets for those who have a loop of their own over them. None of them
// blocks, in whatever mode the socket is, except accept_one() and start_connecting(), which follow
// the mode; EINTR is retried, and SIGPIPE is not raised.

namespace epoll {

[[nodiscard]] IoResult receive(int fd, std::span<std::byte> room) noexcept;
[[nodiscard]] IoResult send(int fd, std::span<const std::byte> bytes) noexcept;

/// What came, and from where: an empty Address when the kernel does not say, as for a connected
/// stream or a Unix socket that has no name.
struct [[nodiscard]] Received {
    IoResult result;
    Address peer;
};
[[nodiscard]] Received receive_from(int fd, std::span<std::byte> room) noexcept;
[[nodiscard]] IoResult send_to(int fd, std::span<const std::byte> bytes,
                               const Address& peer) noexcept;

/// The next connection: non-blocking, close-on-exec; or the error, and then it is not open.
struct [[nodiscard]] Accepted {
    OwnedFd connection;
    int error;
    Address peer;
};
[[nodiscard]] Accepted accept_one(int fd) noexcept;

/// connect(2): 0 when the connection stands, EINPROGRESS while it is being made (then the socket
/// becomes writable, and take_error() says how it went), or any other errno.
[[nodiscard]] int start_connecting(int fd, const Address& address) noexcept;

/// Ends a connection in both directions, for all who have a descriptor of it. Nothing happens when
/// it has ended.
void shut_down(int fd) noexcept;

/// The parts of an IP address as getnameinfo(3) has them, but for the scope, which is a number
/// here.
struct IpParts {
    char host[46];  ///< in numbers, with a NUL byte at its end
    std::uint16_t port;
    std::uint32_t flow_info;  ///< of IPv6, 0 otherwise
    std::uint32_t scope_id;   ///< of IPv6, 0 otherwise
};

/// Nothing when it is no IP address.
[[nodiscard]] std::optional<IpParts> ip_parts(const Address& address) noexcept;

/// The address of a literal in the notation of its family, without a scope in it. Nothing when the
/// text is no such literal: a name, or a literal of the other family.
[[nodiscard]] std::optional<Address> ip_address(int family, const char* host, std::uint16_t port,
                                                std::uint32_t flow_info,
                                                std::uint32_t scope_id) noexcept;

}  // namespace epoll
