#include <epoll/net/address.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <epoll/base/io_result.hpp>

namespace epoll {

namespace {

/// A view of the stored bytes as the structure of their family, copied out: no aliasing questions.
template <class T>
T as(const sockaddr_storage& storage) noexcept {
    T address{};
    std::memcpy(&address, &storage, sizeof address);
    return address;
}

}  // namespace

Address::Address(const sockaddr* address, socklen_t size) noexcept
    : size_(std::min<socklen_t>(size, sizeof storage_)) {
    std::memcpy(&storage_, address, size_);
}

Address Address::unix_path(std::string_view path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty()) {
        throw_error(EINVAL, "unix socket path");
    }
    if (path.size() >= sizeof address.sun_path) {
        throw_error(ENAMETOOLONG, "unix socket path");
    }
    const bool is_abstract = path.front() == '\0';
    if (!is_abstract && path.find('\0') != std::string_view::npos) {
        throw_error(EINVAL, "unix socket path");  // the kernel would bind what is before it
    }
    std::memcpy(address.sun_path, path.data(), path.size());
    const std::size_t size =
        offsetof(sockaddr_un, sun_path) + path.size() + (is_abstract ? 0U : 1U);
    return {reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(size)};
}

std::vector<Address> Address::resolve(const std::string& host, std::uint16_t port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int error = ::getaddrinfo(host.empty() ? nullptr : host.c_str(),
                                    std::to_string(port).c_str(), &hints, &found);
    if (error != 0) {
        throw std::runtime_error("cannot resolve '" + host + "': " + ::gai_strerror(error));
    }
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner{found, ::freeaddrinfo};
    std::vector<Address> addresses;
    for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
        addresses.emplace_back(entry->ai_addr, entry->ai_addrlen);
    }
    return addresses;
}

Address Address::local_of(int fd) noexcept {
    Address address;
    socklen_t size = sizeof address.storage_;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage_), &size) == 0) {
        address.size_ = size;
    }
    return address;
}

Address Address::peer_of(int fd) noexcept {
    Address address;
    socklen_t size = sizeof address.storage_;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage_), &size) == 0) {
        address.size_ = size;
    }
    return address;
}

std::uint16_t Address::port() const noexcept {
    switch (family()) {
        case AF_INET: return ntohs(as<sockaddr_in>(storage_).sin_port);
        case AF_INET6: return ntohs(as<sockaddr_in6>(storage_).sin6_port);
        default: return 0;
    }
}

std::string Address::host() const {
    if (is_unix()) {
        const auto address = as<sockaddr_un>(storage_);
        if (size_ <= offsetof(sockaddr_un, sun_path)) {
            return {};
        }
        // The kernel counts the NUL that it adds to a path which fills the whole field.
        const std::size_t length =
            std::min(size_ - offsetof(sockaddr_un, sun_path), sizeof address.sun_path);
        const bool is_abstract = address.sun_path[0] == '\0';
        return {address.sun_path, is_abstract ? length : ::strnlen(address.sun_path, length)};
    }
    char text[NI_MAXHOST] = {};
    if (size_ == 0 ||
        ::getnameinfo(data(), size_, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) {
        return {};
    }
    return text;
}

std::string Address::to_string() const {
    std::string name = host();
    switch (family()) {
        case AF_INET: return name + ":" + std::to_string(port());
        case AF_INET6: return "[" + name + "]:" + std::to_string(port());
        case AF_UNIX:
            if (!name.empty() && name.front() == '\0') {
                name.front() = '@';
            }
            return "unix:" + name;
        default: return "unknown";
    }
}

}  // namespace epoll
