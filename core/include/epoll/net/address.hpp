#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/socket.h>

namespace epoll {

/// Where a socket is: an IPv4, IPv6 or Unix address as a value.
class Address {
  public:
    /// No address: family() is AF_UNSPEC. What an accepted Unix client usually has is
    /// family AF_UNIX with an empty path.
    Address() noexcept = default;

    /// Copies `size` bytes of a kernel's answer; what does not fit a sockaddr_storage is cut off.
    Address(const sockaddr* address, socklen_t size) noexcept;

    /// A path of the file system, or an abstract name when it starts with a NUL byte. Throws
    /// std::system_error(ENAMETOOLONG) when it has more than 107 bytes, and (EINVAL) when it is
    /// empty or a path with a NUL byte inside.
    [[nodiscard]] static Address unix_path(std::string_view path);

    /// All addresses of a host name or literal, in the order of getaddrinfo(3), for TCP. An empty
    /// host is the wildcard address. May block on DNS. Throws std::runtime_error with the
    /// resolver's own words.
    [[nodiscard]] static std::vector<Address> resolve(const std::string& host, std::uint16_t port);

    /// The address that a socket is bound to, and the one it is connected to. An empty Address when
    /// the kernel does not say.
    [[nodiscard]] static Address local_of(int fd) noexcept;
    [[nodiscard]] static Address peer_of(int fd) noexcept;

    [[nodiscard]] int family() const noexcept { return storage_.ss_family; }
    [[nodiscard]] bool is_unix() const noexcept { return family() == AF_UNIX; }

    /// The port of an IP address, 0 for any other.
    [[nodiscard]] std::uint16_t port() const noexcept;

    /// The numeric host of an IP address ("::1%lo" keeps its scope), or the path of a Unix one, an
    /// abstract name with its leading NUL byte.
    [[nodiscard]] std::string host() const;

    /// "127.0.0.1:80", "[::1]:80", "unix:/run/x", "unix:@abstract", "unknown".
    [[nodiscard]] std::string to_string() const;

    [[nodiscard]] const sockaddr* data() const noexcept {
        return reinterpret_cast<const sockaddr*>(&storage_);
    }
    [[nodiscard]] socklen_t size() const noexcept { return size_; }

  private:
    sockaddr_storage storage_{};
    socklen_t size_ = 0;
};

}  // namespace epoll
