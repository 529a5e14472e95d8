#include <epoll/serve/message_server.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include "tests/core/net/loopback.hpp"
#define PYEPOLL_REPLACE_SYSTEM_CALLS
#include "tests/core/net/system_calls.hpp"
#include "tests/core/serve/served.hpp"

using epoll::CloseReason;
using epoll::Connection;
using epoll::Duration;
using testing::bytes_of;
using testing::Ending;
using testing::lines;
using testing::Peer;
using testing::Served;

namespace {

constexpr Duration k_long_grace = std::chrono::seconds{60};

[[nodiscard]] bool until_stopped(Served& served) {
    return served.until([&] { return served.service.stopped != 0; });
}

/// Stops a server inside a turn.
struct Stopper {
    void stop() noexcept {
        server.stop(Duration::zero());
        has_stopped = true;
    }
    epoll::MessageServer& server;
    bool has_stopped = false;
};

bool is_refused(const Served& served) {
    try {
        (void)served.connect();
    } catch (const std::system_error&) {
        return true;
    }
    return false;
}

}  // namespace

TEST_CASE("a server counts what it does") {
    Served served{lines()};
    Peer first = served.connect_and_open();
    Peer second = served.connect_and_open();
    first.send("one\ntwo\n");
    second.send("three\n");
    REQUIRE(served.until_received(first, "one\ntwo\n"));
    REQUIRE(served.until_received(second, "three\n"));
    second.close();
    REQUIRE(served.until_ended());
    const epoll::ServerStatistics statistics = served.server->statistics();
    CHECK(statistics.accepted == 2);
    CHECK(statistics.open == 1);
    CHECK(statistics.messages == 3);
    CHECK(statistics.bytes_in == 14);
    CHECK(statistics.bytes_out == 14);
    CHECK(statistics.accept_errors == 0);
    CHECK(statistics.too_long == 0);
    CHECK(statistics.idle == 0);
    CHECK(statistics.failed == 0);
}

TEST_CASE("a server may listen at several addresses") {
    Served served{lines()};
    Peer first = served.connect_and_open();
    served.listen();
    Peer second = served.connect_and_open();
    first.send("a\n");
    second.send("b\n");
    REQUIRE(served.until_received(first, "a\n"));
    REQUIRE(served.until_received(second, "b\n"));
}

TEST_CASE("what is no listening socket is refused, and the server works on") {
    Served served{lines()};
    CHECK_THROWS_AS(served.server->listen(epoll::OwnedFd{}, false), std::system_error);
    Peer peer = served.connect_and_open();
    peer.send("a\n");
    REQUIRE(served.until_received(peer, "a\n"));
    served.server->stop(k_long_grace);
    REQUIRE(until_stopped(served));
}

TEST_CASE("a failure to accept is told once, and who waited is served") {
    Served served{lines()};
    testing::accept_error = EMFILE;
    Peer peer = served.connect();
    peer.send("patience\n");
    REQUIRE(served.until([&] { return !served.service.accept_errors.empty(); }));
    REQUIRE(served.until_received(peer, "patience\n"));
    CHECK(served.service.accept_errors == std::vector<int>{EMFILE});
    CHECK(served.server->statistics().accept_errors == 1);
}

TEST_CASE("a thousand connections leave nothing behind") {
    const std::size_t before = testing::open_descriptors();
    {
        Served served{lines()};
        const std::size_t with_server = testing::open_descriptors();
        for (int round = 0; round != 10; ++round) {
            std::vector<Peer> peers;
            for (int i = 0; i != 100; ++i) {
                peers.push_back(served.connect());
                peers.back().send("hello\n");
            }
            for (int i = 0; i != 100; ++i) {
                Peer& peer = peers[static_cast<std::size_t>(i)];
                REQUIRE(served.until_received(peer, "hello\n"));
                i % 3 == 0 ? peer.reset() : peer.close();
            }
            REQUIRE(served.until_ended(static_cast<std::size_t>(round + 1) * 100));
        }
        CHECK(served.server->statistics().accepted == 1000);
        CHECK(served.server->statistics().open == 0);
        CHECK(served.service.attachments == 0);
        CHECK(testing::open_descriptors() == with_server);
    }
    CHECK(testing::open_descriptors() == before);
}

TEST_CASE("a destroyed server closes its connections and lets their attachments go") {
    const std::size_t before = testing::open_descriptors();
    {
        Served served{lines()};
        Peer idle = served.connect_and_open();
        Peer waiting = served.connect_and_open();
        waiting.send("half a mess");
        served.reactor.run_turn(epoll::Timeout::none());
        Peer full = served.connect_and_open();
        (void)served.service.last->send(bytes_of(std::string(8'000'000, 'f')));
        served.reactor.run_turn(epoll::Timeout::none());
        served.server.reset();
        CHECK(served.service.attachments == 0);
        CHECK(served.service.endings == std::vector<Ending>(3, Ending{CloseReason::stopped, 0}));
        CHECK(served.service.stopped == 0);
        CHECK(idle.has_ended());
        CHECK(waiting.has_ended());
        CHECK(full.has_ended());
        CHECK(served.reactor.timers().size() == 0);
    }
    CHECK(testing::open_descriptors() == before);
}

TEST_CASE("stop closes who is at rest and tells its end once, in a later turn") {
    Served served{lines()};
    Peer peer = served.connect_and_open();
    peer.send("one\n");
    REQUIRE(served.until_received(peer, "one\n"));
    CHECK_FALSE(served.server->is_stopping());
    served.server->stop(k_long_grace);
    CHECK(served.server->is_stopping());
    CHECK(served.service.stopped == 0);
    REQUIRE(until_stopped(served));
    CHECK(served.service.endings == std::vector<Ending>{{CloseReason::stopped, 0}});
    CHECK(peer.has_ended());
    CHECK(peer.error() == 0);
    CHECK(is_refused(served));
    CHECK(served.reactor.timers().size() == 0);
    CHECK(testing::turns_during(served.reactor, std::chrono::milliseconds{20}) <=
          testing::k_handful);
    CHECK(served.service.stopped == 1);
}

TEST_CASE("stop without a connection tells its end in a later turn, whatever the grace") {
    Served served{lines()};
    Duration grace = k_long_grace;
    SUBCASE("long") {}
    SUBCASE("none") { grace = Duration::zero(); }
    served.server->stop(grace);
    CHECK(served.service.stopped == 0);
    REQUIRE(until_stopped(served));
}

TEST_CASE("stop answers what has arrived, also from those whom nobody has accepted yet") {
    Served served{lines()};
    Peer open = served.connect_and_open();
    open.send("arrived\n");
    Peer waiting = served.connect();
    waiting.send("waited\n");
    served.server->stop(k_long_grace);
    REQUIRE(until_stopped(served));
    CHECK(open.received() == "arrived\n");
    CHECK(waiting.received() == "waited\n");
    CHECK(open.has_ended());
    CHECK(waiting.has_ended());
    CHECK(served.service.endings == std::vector<Ending>(2, Ending{CloseReason::stopped, 0}));
}

TEST_CASE("stop waits for the rest of a message") {
    Served served{lines()};
    Peer peer = served.connect_and_open();
    peer.send("first ha");
    served.reactor.run_turn(epoll::Timeout::none());
    served.server->stop(k_long_grace);
    for (int i = 0; i != 10; ++i) {
        served.reactor.run_turn(epoll::Timeout::none());
    }
    CHECK(served.service.endings.empty());
    peer.send("lf\n");
    REQUIRE(until_stopped(served));
    CHECK(peer.received() == "first half\n");
    CHECK(peer.has_ended());
}

TEST_CASE("stop waits for a slow reader, until the grace is over") {
    Served served{lines()};
    const std::string large(8'000'000, 'l');
    served.service.answer = [&](Connection& connection, std::span<const std::byte>) {
        (void)connection.send(bytes_of(large));
    };
    Peer peer = served.connect_and_open();
    peer.send("?\n");
    REQUIRE(served.until([&] { return !served.service.messages.empty(); }));
    SUBCASE("who reads in time") {
        served.server->stop(k_long_grace);
        REQUIRE(served.until([&] { return peer.has_ended(); }));
        CHECK(peer.received().size() == large.size() + 1);
        peer.close();
    }
    SUBCASE("who does not") { served.server->stop(std::chrono::milliseconds{20}); }
    SUBCASE("whose grace is cut short by a second stop") {
        served.server->stop(k_long_grace);
        served.reactor.run_turn(epoll::Timeout::none());
        served.server->stop(std::chrono::milliseconds{20});
    }
    REQUIRE(until_stopped(served));
    CHECK(served.service.endings == std::vector<Ending>{{CloseReason::stopped, 0}});
    CHECK(served.service.attachments == 0);
}

TEST_CASE("the grace cuts off a message that never ends") {
    Served served{lines()};
    Peer peer = served.connect_and_open();
    peer.send("never");
    served.reactor.run_turn(epoll::Timeout::none());
    served.server->stop(std::chrono::milliseconds{20});
    REQUIRE(until_stopped(served));
    CHECK(served.service.endings == std::vector<Ending>{{CloseReason::stopped, 0}});
    CHECK(peer.has_ended());
}

TEST_CASE("stop may be called from a handler") {
    Served served{lines()};
    Duration grace = k_long_grace;
    const auto stop = [&](Connection& connection) {
        served.server->stop(grace);
        (void)connection.send(bytes_of("stopping"));
        CHECK(served.service.stopped == 0);
    };
    SUBCASE("on_open") { served.service.inside_open = stop; }
    SUBCASE("on_message") {
        served.service.answer = [&](Connection& connection, std::span<const std::byte>) {
            stop(connection);
        };
    }
    Peer peer = served.connect();
    peer.send("?");
    peer.send("\n");
    REQUIRE(until_stopped(served));
    CHECK(peer.received().starts_with("stopping\n"));
    CHECK(served.service.endings == std::vector<Ending>{{CloseReason::stopped, 0}});
}

TEST_CASE("without grace, on_stopped comes in a later turn too, and may destroy the server") {
    Served served{lines()};
    Stopper stopper{*served.server};
    served.service.inside_stopped = [&] { served.server.reset(); };
    epoll::MemberDeferred<Stopper, &Stopper::stop> stop{stopper};
    served.reactor.defer(stop);
    served.reactor.run_turn(epoll::Timeout::none());
    CHECK(stopper.has_stopped);
    CHECK(served.service.stopped == 0);
    REQUIRE(until_stopped(served));
    CHECK(served.server == nullptr);
}

TEST_CASE("on_stopped after the last connection may destroy the server") {
    Served served{lines()};
    served.service.inside_stopped = [&] { served.server.reset(); };
    Peer peer = served.connect_and_open();
    served.server->stop(k_long_grace);
    REQUIRE(until_stopped(served));
    CHECK(served.server == nullptr);
    CHECK(peer.has_ended());
}

TEST_CASE("statistics may be read by any thread while the server works") {
    Served served{lines()};
    std::atomic<bool> is_over{false};
    std::uint64_t largest = 0;
    std::thread reader{[&] {
        while (!is_over.load()) {
            const std::uint64_t messages = served.server->statistics().messages;
            CHECK(messages >= largest);
            largest = messages;
        }
    }};
    Peer peer = served.connect_and_open();
    for (int i = 0; i != 200; ++i) {
        peer.send("more\n");
        served.reactor.run_turn(epoll::Timeout::none());
    }
    const bool has_answered = served.until([&] { return peer.received().size() == 1000; });
    is_over.store(true);
    reader.join();
    CHECK(has_answered);
    CHECK(served.server->statistics().messages == 200);
}

TEST_CASE("a reason has a name") {
    CHECK(std::string{epoll::name_of(CloseReason::too_long)} == "message too long");
    CHECK(std::string{epoll::name_of(CloseReason{255})} == "unknown");
}
