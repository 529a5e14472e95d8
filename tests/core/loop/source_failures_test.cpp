#include <epoll/loop/source.hpp>

#include <cerrno>
#include <memory>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <doctest/doctest.h>

#include "../poll/pair.hpp"
#include "probe.hpp"

// What a source hears, and a reactor does, when a connection fails or a descriptor is lost. "Busy
// spin" marks the tests of one promise: a reactor with nothing to do makes no turns.

namespace epoll {
namespace {

TEST_CASE("hang_up arrives as readable and writable, as far as they are wanted") {
    for (const Events wanted : {Events::readable, Events::writable, k_both}) {
        Pair pair;
        Reactor reactor;
        Probe probe{reactor};
        probe.join(pair.near.get(), wanted);
        (void)pair.far.close();
        turn(reactor);
        CHECK(probe.seen == wanted);
    }
}

TEST_CASE("hang_up is not heard of where neither readable nor writable is wanted") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::priority);
    (void)pair.far.close();
    CHECK(turns_while_idle(reactor) <= k_handful);
    CHECK(probe.calls == 0);
}

TEST_CASE("busy spin: hang_up with nothing wanted") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    SUBCASE("from the beginning") { probe.join(pair.near.get(), Events::none); }
    SUBCASE("after a pause") {
        probe.join(pair.near.get(), Events::readable);
        probe.unwant(Events::readable);
    }
    (void)pair.far.close();
    const Changes changes{reactor};
    CHECK(turns_while_idle(reactor) <= k_handful);
    CHECK(probe.calls == 0);
    CHECK(changes.count() == 1);
    probe.want(Events::readable);
    turn(reactor);
    CHECK(probe.calls == 1);
    CHECK(probe.seen == Events::readable);
    CHECK(changes.count() == 2);
    probe.unwant(Events::readable);
    CHECK(turns_while_idle(reactor) <= k_handful);
}

/// A TCP connection over the loopback.
struct Connection {
    OwnedFd near;
    OwnedFd far;

    Connection() {
        constexpr int k_type = SOCK_STREAM | SOCK_CLOEXEC;
        const OwnedFd listener{::socket(AF_INET, k_type, 0)};
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto* const name = reinterpret_cast<sockaddr*>(&address);
        socklen_t size = sizeof address;
        REQUIRE(::bind(listener.get(), name, size) == 0);
        REQUIRE(::listen(listener.get(), 1) == 0);
        REQUIRE(::getsockname(listener.get(), name, &size) == 0);
        near = OwnedFd{::socket(AF_INET, k_type, 0)};
        REQUIRE(::connect(near.get(), name, size) == 0);
        far = OwnedFd{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        REQUIRE(far.is_open());
    }

    void reset_from_far() {
        const linger at_once{1, 0};
        REQUIRE(::setsockopt(far.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
        (void)far.close();
    }
};

TEST_CASE("busy spin: a reset while reading is paused") {
    Connection connection;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(connection.near.get(), Events::readable);
    probe.unwant(Events::readable);
    connection.reset_from_far();
    CHECK(turns_while_idle(reactor) <= k_handful);
    CHECK(probe.calls == 0);
    probe.want(Events::readable);
    turn(reactor);
    CHECK(probe.calls == 1);
    char room[1];
    CHECK(::recv(connection.near.get(), room, sizeof room, 0) == -1);
    CHECK(errno == ECONNRESET);
}

TEST_CASE("busy spin: an event that is not wanted, while another that is wanted is reported") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor, [&](Events) { probe.unwant(Events::writable); }};
    pair.send_from_far();
    probe.join(pair.near.get(), k_both);
    probe.unwant(Events::readable);
    turn(reactor);
    CHECK(probe.calls == 1);
    CHECK(turns_while_idle(reactor) <= k_handful);
    CHECK(probe.calls == 1);
}

/// Closes a descriptor that is watched, as no program should, and keeps its file open.
OwnedFd close_behind_the_back(OwnedFd& fd) {
    OwnedFd duplicate{::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)};
    REQUIRE(duplicate.is_open());
    (void)fd.close();
    return duplicate;
}

TEST_CASE("busy spin: a registration that nobody can remove, after its source has left") {
    Pair pair;
    const Pair bystander;
    Reactor reactor;
    Probe other{reactor, [&](Events) { bystander.drain_near(); }};
    other.join(bystander.near.get(), Events::readable);
    auto probe = std::make_unique<Probe>(reactor);
    probe->join(pair.near.get(), Events::readable);
    const OwnedFd duplicate = close_behind_the_back(pair.near);
    probe.reset();
    pair.send_from_far();
    CHECK(turns_while_idle(reactor) <= k_handful);
    bystander.send_from_far();
    turn(reactor);
    CHECK(other.calls == 1);
    Task task{[] {}};
    reactor.post(task);  // the waker is watched by the new epoll, too
    turn(reactor);
    reactor.stop();
    run_with_limit(reactor);
}

TEST_CASE("a late report for a source that left does not reach the one that has its slot") {
    Pair pair;
    const Pair silent;
    Reactor reactor;
    auto former = std::make_unique<Probe>(reactor);
    former->join(pair.near.get(), Events::readable);
    const OwnedFd duplicate = close_behind_the_back(pair.near);
    former.reset();
    Probe latter{reactor};
    latter.join(silent.near.get(), Events::readable);
    pair.send_from_far();
    for (int i = 0; i != 3; ++i) {
        turn(reactor);
    }
    CHECK(latter.calls == 0);
    silent.send_from_far();
    turn(reactor);
    CHECK(latter.calls == 1);
}

TEST_CASE("a wish that the kernel refuses is reported as an error") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    (void)pair.near.close();
    probe.want(Events::writable);
    turn(reactor);
    CHECK(probe.calls == 1);
    CHECK(probe.seen == (k_both | Events::error));
    turn(reactor);
    CHECK(probe.calls == 1);
}

TEST_CASE("busy spin: a descriptor closed by somebody else while its source wants less") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    const OwnedFd duplicate = close_behind_the_back(pair.near);
    probe.unwant(Events::readable);
    pair.send_from_far();
    CHECK(turns_while_idle(reactor) <= k_handful);
    probe.want(Events::readable);
    turn(reactor);
    CHECK(probe.seen == (Events::readable | Events::error));
}

TEST_CASE("a disarming that the kernel refuses is reported as an error") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable | Events::priority);
    const OwnedFd duplicate = close_behind_the_back(pair.near);
    probe.unwant(Events::readable);
    pair.send_from_far();
    CHECK(turns_while_idle(reactor) <= k_handful);
    CHECK(probe.calls == 1);
    CHECK(probe.seen == (Events::priority | Events::error));
}

}  // namespace
}  // namespace epoll
