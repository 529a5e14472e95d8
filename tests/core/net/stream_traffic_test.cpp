#include <epoll/net/stream.hpp>

#include <optional>
#include <utility>

#include <doctest/doctest.h>

#include "tests/core/net/loopback.hpp"
#include "tests/core/net/recording_handler.hpp"

// What streams count in Reactor::traffic().

using epoll::Stream;
using epoll::Traffic;
using testing::Connected;
using testing::make_unix_pair;

TEST_CASE("bytes are counted both ways, once they have moved") {
    Connected link{make_unix_pair()};
    const Traffic& traffic = link.reactor.traffic();
    link.stream().start_reading();
    link.peer.send("four");
    REQUIRE(link.until_received(4));
    CHECK(traffic.bytes_received.value() == 4);
    link.write("answer");
    CHECK(traffic.bytes_sent.value() == 0);
    link.stream().flush();
    CHECK(traffic.bytes_sent.value() == 6);
}

TEST_CASE("a stream is open from its making to its end, and counted once") {
    epoll::Reactor reactor;
    testing::RecordingHandler handler;
    testing::Pair pair = make_unix_pair();
    std::optional<Stream> stream{std::in_place, reactor, std::move(pair.ours), handler,
                                 epoll::WaterMarks{}};
    const Traffic& traffic = reactor.traffic();
    CHECK(traffic.connections_opened.value() == 1);
    CHECK(traffic.connections_closed.value() == 0);
    SUBCASE("destroyed while open") {}
    SUBCASE("ended before") {
        stream->abort(0);
        CHECK(traffic.connections_closed.value() == 1);
        REQUIRE(testing::turn_until(reactor, [&] { return handler.closed == 1; }));
    }
    stream.reset();
    CHECK(traffic.connections_closed.value() == 1);
    CHECK(traffic.connections_opened.value() == 1);
}

TEST_CASE("what epoll refuses was never open") {
    epoll::Reactor reactor;
    testing::RecordingHandler handler;
    CHECK_THROWS(Stream(reactor, epoll::OwnedFd{}, handler, {}));
    CHECK(reactor.traffic().connections_opened.value() == 0);
    CHECK(reactor.traffic().connections_closed.value() == 0);
}
