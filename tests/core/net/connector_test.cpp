#include <epoll/net/connector.hpp>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <epoll/net/listener.hpp>

#include "tests/core/net/loopback.hpp"

using epoll::Address;
using testing::loopback;
using testing::turn_until;

namespace {

class Caller final : public epoll::ConnectorHandler {
  public:
    void on_connected(epoll::OwnedFd socket) noexcept override {
        connection = std::move(socket);
        hear();
    }
    void on_connect_failed(int reason) noexcept override {
        error = reason;
        hear();
    }

    void call(epoll::Reactor& reactor, const Address& address) {
        connector = std::make_unique<epoll::Connector>(reactor, address, *this);
    }

    std::unique_ptr<epoll::Connector> connector;
    epoll::OwnedFd connection;
    int error = 0;
    int heard = 0;

  private:
    void hear() {
        ++heard;
        connector.reset();  // allowed inside
    }
};

epoll::OwnedFd listen_at(const Address& address) {
    return epoll::make_listening_socket(address, {});
}

/// A port of loopback on which nobody listens: bound, so that nobody else gets it meanwhile.
epoll::OwnedFd occupy_port() {
    epoll::OwnedFd socket{testing::checked(::socket(AF_INET, SOCK_STREAM, 0), "socket")};
    const Address any_port = loopback(0);
    testing::checked(::bind(socket.get(), any_port.data(), any_port.size()), "bind");
    return socket;
}

Address abstract_address(const char* name) {
    return Address::unix_path(std::string(1, '\0') + name + std::to_string(::getpid()));
}

}  // namespace

TEST_CASE("a connection is made, and its socket is non-blocking and close-on-exec") {
    epoll::Reactor reactor;
    const epoll::OwnedFd listening = listen_at(loopback(0));
    const Address address = Address::local_of(listening.get());
    Caller caller;
    caller.call(reactor, address);
    CHECK(caller.heard == 0);
    REQUIRE(turn_until(reactor, [&] { return caller.heard != 0; }));
    CHECK(caller.error == 0);
    REQUIRE(caller.connection.is_open());
    CHECK(Address::peer_of(caller.connection.get()).port() == address.port());
    CHECK((::fcntl(caller.connection.get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(caller.connection.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(testing::turns_during(reactor, testing::k_watch) <= testing::k_handful);
    CHECK(caller.heard == 1);
}

TEST_CASE("a refused connection is told once, by its errno") {
    epoll::Reactor reactor;
    const epoll::OwnedFd occupied = occupy_port();
    Caller caller;
    caller.call(reactor, Address::local_of(occupied.get()));
    REQUIRE(turn_until(reactor, [&] { return caller.heard != 0; }));
    CHECK(caller.error == ECONNREFUSED);
    CHECK_FALSE(caller.connection.is_open());
    CHECK(testing::turns_during(reactor, testing::k_watch) <= testing::k_handful);
    CHECK(caller.heard == 1);
}

TEST_CASE("a Unix connection is told in a later turn although the kernel makes it at once") {
    epoll::Reactor reactor;
    const Address address = abstract_address("connector");
    const epoll::OwnedFd listening = listen_at(address);
    Caller caller;
    caller.call(reactor, address);
    CHECK(caller.heard == 0);
    reactor.run_turn(epoll::Timeout::none());
    CHECK(caller.heard == 1);
    CHECK(caller.connection.is_open());
}

TEST_CASE("a Unix address on which nobody listens is refused in a later turn") {
    epoll::Reactor reactor;
    Caller caller;
    caller.call(reactor, abstract_address("nobody"));
    CHECK(caller.heard == 0);
    reactor.run_turn(epoll::Timeout::none());
    CHECK(caller.heard == 1);
    CHECK(caller.error == ECONNREFUSED);
}

TEST_CASE("a Unix listener whose backlog is full says EAGAIN, and nothing is in progress") {
    epoll::Reactor reactor;
    const Address address = abstract_address("full");
    const epoll::OwnedFd listening =
        epoll::make_listening_socket(address, {.backlog = 0, .reuse_port = false});
    const epoll::OwnedFd first = testing::connect_to(address);
    Caller caller;
    caller.call(reactor, address);
    REQUIRE(turn_until(reactor, [&] { return caller.heard != 0; }));
    CHECK(caller.error == EAGAIN);
}

TEST_CASE("a connector that is destroyed gives up and tells nobody") {
    epoll::Reactor reactor;
    const Address unix_address = abstract_address("give up");
    const epoll::OwnedFd unix_listening = listen_at(unix_address);
    const epoll::OwnedFd tcp_listening = listen_at(loopback(0));
    reactor.run_turn(epoll::Timeout::none());
    const std::size_t before = testing::open_descriptors();
    for (const Address& address : {unix_address, Address::local_of(tcp_listening.get())}) {
        Caller caller;
        caller.call(reactor, address);
        caller.connector.reset();
        CHECK(testing::turns_during(reactor, std::chrono::milliseconds{20}) <= testing::k_handful);
        CHECK(caller.heard == 0);
    }
    CHECK(testing::open_descriptors() == before);
}

TEST_CASE("a connector without a socket throws") {
    epoll::Reactor reactor;
    Caller caller;
    CHECK_THROWS_AS(caller.call(reactor, Address{}), std::system_error);
    CHECK(caller.heard == 0);
}
