#include <epoll/net/socket_calls.hpp>

#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace epoll {

namespace {

/// A place for the kernel to write an address to.
class AddressRoom {
  public:
    [[nodiscard]] sockaddr* data() noexcept { return reinterpret_cast<sockaddr*>(&storage_); }
    [[nodiscard]] socklen_t* size() noexcept {
        size_ = sizeof storage_;
        return &size_;
    }
    [[nodiscard]] Address address() noexcept { return {data(), size_}; }

  private:
    sockaddr_storage storage_;
    socklen_t size_ = 0;
};

static_assert(sizeof IpParts::host == INET6_ADDRSTRLEN);

}  // namespace

IoResult receive(int fd, std::span<std::byte> room) noexcept {
    return retry_interrupted([&] { return ::recv(fd, room.data(), room.size(), MSG_DONTWAIT); });
}

IoResult send(int fd, std::span<const std::byte> bytes) noexcept {
    return retry_interrupted(
        [&] { return ::send(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL); });
}

Received receive_from(int fd, std::span<std::byte> room) noexcept {
    AddressRoom peer;
    const IoResult result = retry_interrupted([&] {
        return ::recvfrom(fd, room.data(), room.size(), MSG_DONTWAIT, peer.data(), peer.size());
    });
    return {result, result.ok() ? peer.address() : Address{}};
}

IoResult send_to(int fd, std::span<const std::byte> bytes, const Address& peer) noexcept {
    return retry_interrupted([&] {
        return ::sendto(fd, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL, peer.data(),
                        peer.size());
    });
}

Accepted accept_one(int fd) noexcept {
    AddressRoom peer;
    const IoResult result = retry_interrupted(
        [&] { return ::accept4(fd, peer.data(), peer.size(), SOCK_NONBLOCK | SOCK_CLOEXEC); });
    if (!result.ok()) {
        return {OwnedFd{}, result.error, Address{}};
    }
    return {OwnedFd{static_cast<int>(result.count)}, 0, peer.address()};
}

int start_connecting(int fd, const Address& address) noexcept {
    const int error = ::connect(fd, address.data(), address.size()) == 0 ? 0 : errno;
    return error == EINTR ? EINPROGRESS : error;  // it goes on being made (connect(2))
}

void shut_down(int fd) noexcept { (void)::shutdown(fd, SHUT_RDWR); }

std::optional<IpParts> ip_parts(const Address& address) noexcept {
    IpParts parts{};
    const void* host = nullptr;
    sockaddr_in v4{};
    sockaddr_in6 v6{};
    if (address.family() == AF_INET) {
        std::memcpy(&v4, address.data(), sizeof v4);
        host = &v4.sin_addr;
        parts.port = ntohs(v4.sin_port);
    } else if (address.family() == AF_INET6) {
        std::memcpy(&v6, address.data(), sizeof v6);
        host = &v6.sin6_addr;
        parts.port = ntohs(v6.sin6_port);
        parts.flow_info = ntohl(v6.sin6_flowinfo);
        parts.scope_id = v6.sin6_scope_id;
    } else {
        return std::nullopt;
    }
    (void)::inet_ntop(address.family(), host, parts.host, sizeof parts.host);
    return parts;
}

std::optional<Address> ip_address(int family, const char* host, std::uint16_t port,
                                  std::uint32_t flow_info, std::uint32_t scope_id) noexcept {
    if (family == AF_INET) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        if (::inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
            return Address{reinterpret_cast<const sockaddr*>(&v4), sizeof v4};
        }
    } else if (family == AF_INET6) {
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        v6.sin6_flowinfo = htonl(flow_info);
        v6.sin6_scope_id = scope_id;
        if (::inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
            return Address{reinterpret_cast<const sockaddr*>(&v6), sizeof v6};
        }
    }
    return std::nullopt;
}

}  // namespace epoll
