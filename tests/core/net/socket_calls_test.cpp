#include <epoll/net/socket_calls.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <epoll/net/socket_options.hpp>

#include "tests/core/net/loopback.hpp"

using epoll::Address;
using epoll::OwnedFd;
using testing::bytes_of;
using testing::checked;
using testing::loopback;
using testing::text_of;

namespace {

using Room = std::array<std::byte, 64>;

/// A socket in blocking mode, bound to a free port of the loopback.
OwnedFd bound_socket(int type) {
    OwnedFd socket{checked(::socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket")};
    const Address any_port = loopback(0);
    checked(::bind(socket.get(), any_port.data(), any_port.size()), "bind");
    return socket;
}

TEST_CASE("bytes go through, and an end is an end") {
    testing::Pair pair = testing::make_tcp_pair();
    Room room{};
    CHECK(epoll::send(pair.ours.get(), bytes_of("hello")).count == 5);
    const auto received = epoll::receive(pair.theirs.get(), room);
    CHECK(text_of(std::span{room}.first(received.size())) == "hello");
    CHECK(pair.ours.close() == 0);
    CHECK(epoll::receive(pair.theirs.get(), room).end_of_stream());
}

TEST_CASE("no call that moves bytes blocks, not even on a blocking socket") {
    testing::Pair pair = testing::make_tcp_pair();
    checked(::fcntl(pair.ours.get(), F_SETFL, 0), "fcntl");
    Room room{};
    CHECK(epoll::receive(pair.ours.get(), room).would_block());
    CHECK(epoll::receive_from(pair.ours.get(), room).result.would_block());
    const std::string much(1 << 20, 'x');
    epoll::IoResult result{0, 0};
    while (result.ok()) {
        result = epoll::send(pair.ours.get(), bytes_of(much));
    }
    CHECK(result.would_block());
}

TEST_CASE("a broken pipe is an error, not a signal") {
    testing::Pair pair = testing::make_unix_pair();
    CHECK(pair.theirs.close() == 0);
    CHECK(epoll::send(pair.ours.get(), bytes_of("x")).error == EPIPE);
}

TEST_CASE("a datagram says where it came from") {
    const OwnedFd one = bound_socket(SOCK_DGRAM);
    const OwnedFd other = bound_socket(SOCK_DGRAM);
    CHECK(epoll::send_to(one.get(), bytes_of("hi"), Address::local_of(other.get())).count == 2);
    Room room{};
    const epoll::Received received = epoll::receive_from(other.get(), room);
    CHECK(received.result.count == 2);
    CHECK(received.peer.to_string() == Address::local_of(one.get()).to_string());
}

TEST_CASE("a connected stream does not say where its bytes came from") {
    const testing::Pair pair = testing::make_tcp_pair();
    CHECK(epoll::send(pair.ours.get(), bytes_of("x")).ok());
    Room room{};
    const epoll::Received received = epoll::receive_from(pair.theirs.get(), room);
    CHECK(received.result.count == 1);
    CHECK(received.peer.size() == 0);
}

TEST_CASE("an accepted connection is non-blocking, close-on-exec, and has its peer's address") {
    const OwnedFd listening = bound_socket(SOCK_STREAM | SOCK_NONBLOCK);
    checked(::listen(listening.get(), 1), "listen");
    CHECK(epoll::accept_one(listening.get()).error == EAGAIN);
    const OwnedFd client = testing::connect_to(Address::local_of(listening.get()));
    const epoll::Accepted accepted = epoll::accept_one(listening.get());
    CHECK(accepted.error == 0);
    CHECK(accepted.peer.to_string() == Address::local_of(client.get()).to_string());
    CHECK((::fcntl(accepted.connection.get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(accepted.connection.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a connection is begun, and its end is told by the socket") {
    const OwnedFd listening = bound_socket(SOCK_STREAM);
    const Address address = Address::local_of(listening.get());
    const OwnedFd refused{checked(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket")};
    CHECK(epoll::start_connecting(refused.get(), address) == EINPROGRESS);
    CHECK(epoll::take_error(refused.get()) == ECONNREFUSED);
    checked(::listen(listening.get(), 1), "listen");
    const OwnedFd made{checked(::socket(AF_INET, SOCK_STREAM, 0), "socket")};
    CHECK(epoll::start_connecting(made.get(), address) == 0);
    CHECK(epoll::start_connecting(made.get(), address) == EISCONN);
}

TEST_CASE("a connection is shut down for every owner of a descriptor") {
    const OwnedFd listening = bound_socket(SOCK_STREAM);
    checked(::listen(listening.get(), 1), "listen");
    const OwnedFd client{checked(::socket(AF_INET, SOCK_STREAM, 0), "socket")};
    REQUIRE(epoll::start_connecting(client.get(), Address::local_of(listening.get())) == 0);
    const OwnedFd duplicate{checked(::fcntl(client.get(), F_DUPFD_CLOEXEC, 0), "fcntl")};
    epoll::shut_down(duplicate.get());
    Room room{};
    CHECK(epoll::receive(client.get(), room).count == 0);
    CHECK(epoll::send(client.get(), bytes_of("x")).error == EPIPE);
    epoll::shut_down(duplicate.get());
}

TEST_CASE("every call on a closed descriptor says so") {
    Room room{};
    CHECK(epoll::receive(-1, room).error == EBADF);
    CHECK(epoll::send(-1, bytes_of("x")).error == EBADF);
    CHECK(epoll::receive_from(-1, room).result.error == EBADF);
    CHECK(epoll::send_to(-1, bytes_of("x"), loopback(1)).error == EBADF);
    CHECK(epoll::accept_one(-1).error == EBADF);
    CHECK(epoll::start_connecting(-1, loopback(1)) == EBADF);
}

TEST_CASE("an IP address is taken to pieces and put together again") {
    const auto v4 = epoll::ip_address(AF_INET, "127.0.0.1", 8000, 0, 0);
    REQUIRE(v4.has_value());
    CHECK(v4->to_string() == "127.0.0.1:8000");
    const auto v6 = epoll::ip_address(AF_INET6, "fe80::1", 443, 0x12345, 7);
    REQUIRE(v6.has_value());
    const auto parts = epoll::ip_parts(*v6);
    REQUIRE(parts.has_value());
    CHECK(std::string_view{parts->host} == "fe80::1");
    CHECK(parts->port == 443);
    CHECK(parts->flow_info == 0x12345);
    CHECK(parts->scope_id == 7);
}

TEST_CASE("what is no literal of the family is no address") {
    CHECK_FALSE(epoll::ip_address(AF_INET, "::1", 1, 0, 0).has_value());
    CHECK_FALSE(epoll::ip_address(AF_INET6, "127.0.0.1", 1, 0, 0).has_value());
    CHECK_FALSE(epoll::ip_address(AF_INET, "localhost", 1, 0, 0).has_value());
    CHECK_FALSE(epoll::ip_address(AF_INET6, "fe80::1%lo", 1, 0, 0).has_value());
    CHECK_FALSE(epoll::ip_address(AF_UNIX, "127.0.0.1", 1, 0, 0).has_value());
    CHECK_FALSE(epoll::ip_parts(Address::unix_path("/x")).has_value());
    CHECK_FALSE(epoll::ip_parts(Address{}).has_value());
}

}  // namespace
