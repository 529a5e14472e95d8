#include <epoll/net/address.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <system_error>
#include <vector>

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "tests/core/net/loopback.hpp"

using epoll::Address;

namespace {

int error_of_path(const std::string& path) {
    try {
        (void)Address::unix_path(path);
    } catch (const std::system_error& error) {
        return error.code().value();
    }
    return 0;
}

/// The one address of a numeric host.
Address literal(const std::string& host, std::uint16_t port) {
    const std::vector<Address> found = Address::resolve(host, port);
    REQUIRE(found.size() == 1);
    return found.front();
}

std::string abstract_name(const std::string& name) { return std::string(1, '\0') + name; }

}  // namespace

TEST_CASE("an Address of nothing is unspecified") {
    const Address address;
    CHECK(address.family() == AF_UNSPEC);
    CHECK_FALSE(address.is_unix());
    CHECK(address.size() == 0);
    CHECK(address.port() == 0);
    CHECK(address.host().empty());
    CHECK(address.to_string() == "unknown");
}

TEST_CASE("an IPv4 literal has its host and port") {
    const Address address = literal("127.0.0.1", 80);
    CHECK(address.family() == AF_INET);
    CHECK(address.size() == sizeof(sockaddr_in));
    CHECK(address.port() == 80);
    CHECK(address.host() == "127.0.0.1");
    CHECK(address.to_string() == "127.0.0.1:80");
}

TEST_CASE("an IPv6 literal is written in brackets") {
    const Address address = literal("::1", 65535);
    CHECK(address.family() == AF_INET6);
    CHECK(address.port() == 65535);
    CHECK(address.host() == "::1");
    CHECK(address.to_string() == "[::1]:65535");
}

TEST_CASE("an IPv6 address keeps its scope") {
    sockaddr_in6 link_local{};
    link_local.sin6_family = AF_INET6;
    link_local.sin6_addr.s6_addr[0] = 0xFE;
    link_local.sin6_addr.s6_addr[1] = 0x80;
    link_local.sin6_addr.s6_addr[15] = 1;
    link_local.sin6_scope_id = 1;
    const Address address{reinterpret_cast<const sockaddr*>(&link_local), sizeof link_local};
    CHECK(address.host() == "fe80::1%lo");
}

TEST_CASE("an empty host resolves to the wildcard addresses") {
    const std::vector<Address> found = Address::resolve("", 8000);
    REQUIRE_FALSE(found.empty());
    for (const Address& address : found) {
        CHECK(address.port() == 8000);
        CHECK((address.host() == "0.0.0.0" || address.host() == "::"));
    }
}

TEST_CASE("a host that does not resolve is named in the error") {
    try {
        (void)Address::resolve("no such host", 1);
        FAIL("it resolved");
    } catch (const std::runtime_error& error) {
        CHECK(std::string{error.what()}.find("no such host") != std::string::npos);
    }
}

TEST_CASE("a Unix path is an address of that path") {
    const Address address = Address::unix_path("/run/service.socket");
    CHECK(address.is_unix());
    CHECK(address.port() == 0);
    CHECK(address.host() == "/run/service.socket");
    CHECK(address.to_string() == "unix:/run/service.socket");
}

TEST_CASE("an abstract name keeps its NUL byte and is written with an at sign") {
    const Address address = Address::unix_path(abstract_name("service"));
    CHECK(address.host() == abstract_name("service"));
    CHECK(address.to_string() == "unix:@service");
    CHECK(address.size() == offsetof(sockaddr_un, sun_path) + 8);
}

TEST_CASE("a Unix path has 1 to 107 bytes") {
    CHECK(error_of_path("") == EINVAL);
    CHECK(error_of_path("p") == 0);
    CHECK(error_of_path(std::string(107, 'p')) == 0);
    CHECK(error_of_path(std::string(108, 'p')) == ENAMETOOLONG);
    CHECK(error_of_path(abstract_name(std::string(106, 'a'))) == 0);
    CHECK(error_of_path(abstract_name(std::string(107, 'a'))) == ENAMETOOLONG);
    CHECK(Address::unix_path(std::string(107, 'p')).host() == std::string(107, 'p'));
}

TEST_CASE("a path with a NUL byte inside names no file") {
    CHECK(error_of_path(std::string{"/run/a\0b", 8}) == EINVAL);
}

TEST_CASE("the kernel's answer is cut to what a sockaddr_storage holds") {
    std::vector<std::byte> large(sizeof(sockaddr_storage) + 100);
    const sa_family_t family = AF_INET;
    std::memcpy(large.data(), &family, sizeof family);
    const Address address{reinterpret_cast<const sockaddr*>(large.data()),
                          static_cast<socklen_t>(large.size())};
    CHECK(address.family() == AF_INET);
    CHECK(address.size() == sizeof(sockaddr_storage));
}

TEST_CASE("the two ends of a connection have each other's address") {
    const testing::Pair pair = testing::make_tcp_pair();
    const Address ours = Address::local_of(pair.ours.get());
    CHECK(ours.host() == "127.0.0.1");
    CHECK(ours.port() != 0);
    CHECK(ours.to_string() == Address::peer_of(pair.theirs.get()).to_string());
    CHECK(Address::peer_of(pair.ours.get()).port() == Address::local_of(pair.theirs.get()).port());
}

TEST_CASE("a Unix client without a name has an empty path") {
    const testing::Pair pair = testing::make_unix_pair();
    const Address peer = Address::peer_of(pair.ours.get());
    CHECK(peer.is_unix());
    CHECK(peer.host().empty());
    CHECK(peer.to_string() == "unix:");
}

TEST_CASE("a descriptor without an address has an empty one") {
    CHECK(Address::local_of(-1).family() == AF_UNSPEC);
    const epoll::OwnedFd lonely{testing::checked(::socket(AF_INET, SOCK_STREAM, 0), "socket")};
    CHECK(Address::peer_of(lonely.get()).family() == AF_UNSPEC);
}

TEST_CASE("a Unix path that fills its field has no end mark, and none is looked for") {
    // bind(2) takes 108 bytes and adds the NUL itself: getsockname(2) then answers one byte more
    // than a sockaddr_un has.
    union {
        sockaddr_un path;
        sockaddr_storage room;
    } answer{.room = {}};
    answer.path.sun_family = AF_UNIX;
    std::memset(answer.path.sun_path, 'p', sizeof answer.path.sun_path);
    const Address address{reinterpret_cast<const sockaddr*>(&answer), sizeof answer.path + 1};
    CHECK(address.host() == std::string(sizeof answer.path.sun_path, 'p'));
}
