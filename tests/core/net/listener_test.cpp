#include <epoll/net/listener.hpp>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <epoll/loop/reactor.hpp>

#include "tests/core/net/loopback.hpp"
#define PYEPOLL_REPLACE_SYSTEM_CALLS
#include "tests/core/net/system_calls.hpp"

using epoll::Address;
using testing::connect_to;
using testing::loopback;
using testing::turn_until;

namespace {

/// Keeps what it is given.
class Host final : public epoll::ListenerHandler {
  public:
    void on_accept(epoll::OwnedFd connection, const Address& peer) noexcept override {
        accepted.push_back(std::move(connection));
        last_peer = peer;
        if (accepted.size() == destroy_at) {
            listener.reset();
        }
        if (accepted.size() == finish_at) {
            listener->finish();
        }
    }
    void on_accept_error(int error) noexcept override {
        errors.push_back(error);
        if (destroys_on_error) {
            listener.reset();
        }
    }

    void listen(epoll::Reactor& reactor, bool is_shared = false) {
        epoll::OwnedFd socket = epoll::make_listening_socket(loopback(0), {});
        address = Address::local_of(socket.get());
        listener = std::make_unique<epoll::Listener>(reactor, std::move(socket), *this, is_shared);
    }

    Address address;
    std::unique_ptr<epoll::Listener> listener;
    std::vector<epoll::OwnedFd> accepted;
    Address last_peer;
    std::vector<int> errors;
    std::size_t destroy_at = 0;
    std::size_t finish_at = 0;
    bool destroys_on_error = false;
};

std::vector<epoll::OwnedFd> connect_many(const Address& address, std::size_t count) {
    std::vector<epoll::OwnedFd> clients;
    for (std::size_t i = 0; i != count; ++i) {
        clients.push_back(connect_to(address));
    }
    return clients;
}

/// Until the end of its life this process gets no descriptor more than it has.
class NoMoreDescriptors {
  public:
    NoMoreDescriptors() {
        testing::checked(::getrlimit(RLIMIT_NOFILE, &saved_), "getrlimit");
        // The lowest number that is free: the limit is on numbers.
        const epoll::OwnedFd next{testing::checked(::dup(0), "dup")};
        const rlimit none{static_cast<rlim_t>(next.get()), saved_.rlim_max};
        testing::checked(::setrlimit(RLIMIT_NOFILE, &none), "setrlimit");
    }
    NoMoreDescriptors(const NoMoreDescriptors&) = delete;
    NoMoreDescriptors& operator=(const NoMoreDescriptors&) = delete;
    ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &saved_); }

  private:
    rlimit saved_{};
};

int error_of_listening(const Address& address) {
    try {
        (void)epoll::make_listening_socket(address, {});
    } catch (const std::system_error& error) {
        return error.code().value();
    }
    return 0;
}

}  // namespace

TEST_CASE("a listening socket is non-blocking, close-on-exec and has a real port") {
    const epoll::OwnedFd socket = epoll::make_listening_socket(loopback(0), {});
    CHECK((::fcntl(socket.get(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(Address::local_of(socket.get()).port() != 0);
}

TEST_CASE("an occupied address is named in the error") {
    const epoll::OwnedFd socket = epoll::make_listening_socket(loopback(0), {});
    const Address address = Address::local_of(socket.get());
    CHECK(error_of_listening(address) == EADDRINUSE);
    try {
        (void)epoll::make_listening_socket(address, {});
    } catch (const std::system_error& error) {
        CHECK(std::string{error.what()}.find(address.to_string()) != std::string::npos);
    }
}

TEST_CASE("a port can be shared by sockets that both ask for it") {
    const epoll::ListenOptions shared{.backlog = 16, .reuse_port = true};
    const epoll::OwnedFd first = epoll::make_listening_socket(loopback(0), shared);
    const Address address = Address::local_of(first.get());
    const epoll::OwnedFd second = epoll::make_listening_socket(address, shared);
    CHECK(Address::local_of(second.get()).port() == address.port());
}

TEST_CASE("the wildcards of IPv4 and IPv6 can be bound side by side") {
    const epoll::OwnedFd four =
        epoll::make_listening_socket(Address::resolve("0.0.0.0", 0).front(), {});
    const std::uint16_t port = Address::local_of(four.get()).port();
    const int error = error_of_listening(Address::resolve("::", port).front());
    CHECK((error == 0 || error == EAFNOSUPPORT));  // a machine may have no IPv6
}

TEST_CASE("a Unix path must not exist") {
    const std::string path =
        std::filesystem::temp_directory_path() / ("pyepoll-listener-" + std::to_string(::getpid()));
    std::filesystem::remove(path);
    const epoll::OwnedFd socket = epoll::make_listening_socket(Address::unix_path(path), {});
    CHECK(error_of_listening(Address::unix_path(path)) == EADDRINUSE);
    CHECK(Address::local_of(socket.get()).host() == path);
    std::filesystem::remove(path);
}

TEST_CASE("an address of no family cannot be listened at") {
    CHECK(error_of_listening(Address{}) == EAFNOSUPPORT);
}

TEST_CASE("a connection is accepted non-blocking and close-on-exec, with its peer") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor);
    CHECK(host.listener->address().to_string() == host.address.to_string());
    const epoll::OwnedFd client = connect_to(host.address);
    REQUIRE(turn_until(reactor, [&] { return !host.accepted.empty(); }));
    const int fd = host.accepted.front().get();
    CHECK((::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(host.last_peer.to_string() == Address::local_of(client.get()).to_string());
    CHECK(host.listener->accepted() == 1);
    CHECK(reactor.traffic().connections_accepted.value() == 1);
    CHECK(host.listener->errors() == 0);
}

TEST_CASE("one turn accepts no more than a batch") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor);
    const auto clients = connect_many(host.address, epoll::Listener::k_batch + 10);
    reactor.run_turn(epoll::Timeout::none());
    CHECK(host.accepted.size() == epoll::Listener::k_batch);
    reactor.run_turn(epoll::Timeout::none());
    CHECK(host.accepted.size() == clients.size());
}

TEST_CASE("without descriptors it reports once, does not spin, and serves later who waited") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor);
    const auto clients = connect_many(host.address, 5);
    {
        const NoMoreDescriptors scarcity;
        REQUIRE(turn_until(reactor, [&] { return !host.errors.empty(); }));
        // It tries again every k_rest; that wakes the loop, and nothing else does. Amid a rest, not
        // at its end, the count does not hang on which of two timers is the first.
        CHECK(testing::turns_during(reactor, 7 * epoll::Listener::k_rest / 2) <= 12);
        CHECK(host.accepted.empty());
        CHECK(host.errors == std::vector<int>{EMFILE});
        CHECK(host.listener->errors() >= 2);
        CHECK(reactor.traffic().accept_errors.value() == host.listener->errors());
    }
    REQUIRE(turn_until(reactor, [&] { return host.accepted.size() == clients.size(); }));
    CHECK(host.errors.size() == 1);

    SUBCASE("the next episode is reported again") {
        const epoll::OwnedFd late = connect_to(host.address);
        const NoMoreDescriptors scarcity;
        REQUIRE(turn_until(reactor, [&] { return host.errors.size() == 2; }));
    }
}

TEST_CASE("a connection that died while it waited is no failure of the listener") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor);
    for (const int error : {ECONNABORTED, EINTR, EPROTO, ENETUNREACH}) {
        CAPTURE(error);
        host.accepted.clear();
        testing::accept_error = error;
        const epoll::OwnedFd client = connect_to(host.address);
        REQUIRE(turn_until(reactor, [&] { return !host.accepted.empty(); }));
        CHECK(testing::accept_error.load() == 0);
    }
    CHECK(host.errors.empty());
    CHECK(host.listener->errors() == 0);
}

TEST_CASE("finish accepts all who wait, then nobody gets in") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor);
    const auto clients = connect_many(host.address, epoll::Listener::k_batch * 2);
    host.listener->finish();
    CHECK(host.accepted.size() == clients.size());
    CHECK_THROWS_AS(connect_to(host.address), std::system_error);
    host.listener->finish();  // nothing left to do
    CHECK(testing::turns_during(reactor, std::chrono::milliseconds{20}) <= testing::k_handful);
}

TEST_CASE("finish within a rest is the end of the rest") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor);
    const epoll::OwnedFd client = connect_to(host.address);
    testing::accept_error = ENOBUFS;
    REQUIRE(turn_until(reactor, [&] { return !host.errors.empty(); }));
    CHECK(host.accepted.empty());
    host.listener->finish();
    CHECK(host.accepted.size() == 1);
    CHECK(reactor.timers().size() == 0);
}

TEST_CASE("a listener may be destroyed inside on_accept") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor);
    const auto clients = connect_many(host.address, 3);
    host.destroy_at = 2;
    SUBCASE("in a turn") {
        REQUIRE(turn_until(reactor, [&] { return host.listener == nullptr; }));
    }
    SUBCASE("in finish") { host.listener->finish(); }
    SUBCASE("after it was finished inside on_accept") {
        host.finish_at = 1;
        REQUIRE(turn_until(reactor, [&] { return host.listener == nullptr; }));
    }
    CHECK(host.accepted.size() >= 2);
    CHECK(testing::turns_during(reactor, std::chrono::milliseconds{20}) <= testing::k_handful);
}

TEST_CASE("a listener may be destroyed inside on_accept_error") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor);
    const epoll::OwnedFd client = connect_to(host.address);
    host.destroys_on_error = true;
    testing::accept_error = ENOMEM;
    SUBCASE("in a turn") {
        REQUIRE(turn_until(reactor, [&] { return host.listener == nullptr; }));
    }
    SUBCASE("in finish") { host.listener->finish(); }
    CHECK(host.accepted.empty());
    CHECK(reactor.timers().size() == 0);
}

TEST_CASE("a destroyed listener closes its socket and stops its rest") {
    epoll::Reactor reactor;
    const std::size_t before = testing::open_descriptors();
    Host host;
    host.listen(reactor);
    {
        const epoll::OwnedFd client = connect_to(host.address);
        testing::accept_error = EMFILE;
        REQUIRE(turn_until(reactor, [&] { return !host.errors.empty(); }));
        host.listener.reset();
    }
    CHECK(reactor.timers().size() == 0);
    CHECK(testing::open_descriptors() == before);
}

TEST_CASE("two loops that share a socket serve each peer once") {
    epoll::Reactor first_reactor;
    epoll::Reactor second_reactor;
    epoll::OwnedFd socket = epoll::make_listening_socket(loopback(0), {});
    const Address address = Address::local_of(socket.get());
    epoll::OwnedFd same{testing::checked(::dup(socket.get()), "dup")};
    Host first;
    Host second;
    epoll::Listener first_listener{first_reactor, std::move(socket), first, true};
    epoll::Listener second_listener{second_reactor, std::move(same), second, true};
    constexpr std::size_t count = 20;
    std::vector<epoll::OwnedFd> clients;
    for (std::size_t i = 0; i != count; ++i) {
        clients.push_back(connect_to(address));
        epoll::Reactor& next = i % 2 == 0 ? first_reactor : second_reactor;
        next.run_turn(epoll::Timeout::none());
    }
    REQUIRE(turn_until(first_reactor, [&] {
        second_reactor.run_turn(epoll::Timeout::none());
        return first.accepted.size() + second.accepted.size() == count;
    }));
    CHECK(first_listener.accepted() + second_listener.accepted() == count);
}

TEST_CASE("a shared listener rests and comes back as any other") {
    epoll::Reactor reactor;
    Host host;
    host.listen(reactor, true);
    const epoll::OwnedFd client = connect_to(host.address);
    testing::accept_error = EMFILE;
    REQUIRE(turn_until(reactor, [&] { return !host.errors.empty(); }));
    CHECK(testing::turns_during(reactor, epoll::Listener::k_rest / 2) <= testing::k_handful);
    REQUIRE(turn_until(reactor, [&] { return !host.accepted.empty(); }));
}
