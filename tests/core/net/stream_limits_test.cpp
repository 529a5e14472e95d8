#include <epoll/net/stream.hpp>

#include <cerrno>
#include <string>

#include <doctest/doctest.h>

#include "tests/core/net/loopback.hpp"
#include "tests/core/net/recording_handler.hpp"

// How much: water marks that change, a handler without room, and what a stream says of itself.

using epoll::Stream;
using testing::Connected;
using testing::k_handful;
using testing::make_tcp_pair;
using testing::make_unix_pair;
using testing::turns_during;

TEST_CASE("new water marks take effect at once") {
    Connected link{make_unix_pair(), {.high = 1'000'000, .low = 0}};
    SUBCASE("with nothing queued they change nothing") {
        link.stream().set_water_marks({.high = 0, .low = 0});
        CHECK_FALSE(link.stream().is_over_high_water());
    }
    SUBCASE("what is queued and not refused yet does not count") {
        link.write("some");
        link.stream().set_water_marks({.high = 0, .low = 0});
        CHECK_FALSE(link.stream().is_over_high_water());
    }
    SUBCASE("lowered below what is queued") {
        link.fill();
        REQUIRE_FALSE(link.stream().is_over_high_water());
        const std::size_t unsent = link.stream().unsent();
        link.stream().set_water_marks({.high = unsent, .low = 0});
        CHECK_FALSE(link.stream().is_over_high_water());
        link.stream().set_water_marks({.high = unsent - 1, .low = 0});
        CHECK(link.stream().is_over_high_water());
        REQUIRE(link.until([&] {
            (void)link.peer.received();
            return link.handler.drained == 1;
        }));
        CHECK(link.stream().unsent() == 0);
        CHECK_FALSE(link.stream().is_over_high_water());
    }
    SUBCASE("raised above what is queued: over until on_drained, which comes by the new ones") {
        link.fill();
        link.stream().set_water_marks({.high = 0, .low = 0});
        CHECK(link.stream().is_over_high_water());
        const std::string more(2'000'000, 'm');
        link.write(more);
        const std::size_t unsent = link.stream().unsent();
        link.stream().set_water_marks({.high = 10'000'000, .low = unsent});
        CHECK(link.stream().is_over_high_water());
        CHECK(link.handler.drained == 0);
        REQUIRE(link.until([&] {
            link.peer.receive_some(64 * 1024);
            return link.handler.drained == 1;
        }));
        CHECK(link.stream().unsent() != 0);
        CHECK_FALSE(link.stream().is_over_high_water());
    }
}

TEST_CASE("water marks of 0: over when anything is refused, drained when all is sent, each time") {
    Connected link{make_unix_pair(), {.high = 0, .low = 0}};
    for (int round = 1; round != 4; ++round) {
        link.write("a little");
        link.stream().flush();
        CHECK_FALSE(link.stream().is_over_high_water());
        link.fill();
        CHECK(link.stream().is_over_high_water());
        link.handler.inside_drained = [&] { CHECK(link.stream().unsent() == 0); };
        REQUIRE(link.until([&] {
            (void)link.peer.received();
            return link.handler.drained == round;
        }));
        CHECK_FALSE(link.stream().is_over_high_water());
    }
}

TEST_CASE("a stream says whether its socket is full") {
    Connected link{make_unix_pair()};
    CHECK_FALSE(link.stream().is_writing_blocked());
    link.write("not refused");
    CHECK_FALSE(link.stream().is_writing_blocked());
    link.fill();
    CHECK(link.stream().is_writing_blocked());
    SUBCASE("until there is room") {
        REQUIRE(link.until([&] {
            (void)link.peer.received();
            return link.stream().unsent() == 0;
        }));
    }
    SUBCASE("until its end") { link.stream().abort(0); }
    CHECK_FALSE(link.stream().is_writing_blocked());
}

TEST_CASE("a stream says whether its peer has finished") {
    Connected link{make_unix_pair()};
    link.stream().start_reading();
    bool was_ended_inside = false;
    link.handler.inside_end = [&] { was_ended_inside = link.stream().has_ended(); };
    CHECK_FALSE(link.stream().has_ended());
    link.peer.finish();
    REQUIRE(link.until([&] { return link.handler.ends == 1; }));
    CHECK(was_ended_inside);
    CHECK(link.stream().has_ended());
}

TEST_CASE("an empty receive buffer: nothing is read now, and it is asked for again") {
    Connected link{make_unix_pair()};
    link.handler.room_size = 0;
    link.stream().start_reading();
    link.peer.send("patience");
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.handler.asks == 1);
    CHECK(link.handler.reads == 0);
    CHECK(link.stream().bytes_in() == 0);
    CHECK(link.stream().is_reading());
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.handler.asks == 2);
    link.handler.room_size = 64;
    REQUIRE(link.until_received(8));
    CHECK(link.handler.received == "patience");
}

TEST_CASE("receive_buffer may stop reading and end the stream") {
    Connected link{make_unix_pair()};
    bool ends = true;
    int error = 0;
    bool has_room = true;
    SUBCASE("abort without room") {
        link.handler.room_size = 0;
        has_room = false;
    }
    SUBCASE("abort") {}
    SUBCASE("stop_reading") {
        link.handler.inside_ask = [&] { link.stream().stop_reading(); };
        ends = false;
    }
    SUBCASE("close") {
        link.handler.inside_ask = [&] { link.stream().close(); };
    }
    if (!link.handler.inside_ask) {
        link.handler.inside_ask = [&] { link.stream().abort(ECANCELED); };
        error = ECANCELED;
    }
    link.stream().start_reading();
    link.peer.send("in time");
    REQUIRE(link.until([&] { return link.handler.asks == 1; }));
    if (ends) {
        REQUIRE(link.until_closed());
        CHECK(link.handler.close_error == error);
    } else {
        CHECK(turns_during(link.reactor, std::chrono::milliseconds{50}) <= k_handful);
        CHECK(link.stream().is_open());
    }
    CHECK(link.handler.asks == 1);
    CHECK(link.handler.received == (has_room ? "in time" : ""));
}

TEST_CASE("a handler that runs out of room in the middle of a turn gets the rest later") {
    Connected link{make_unix_pair()};
    link.handler.room_size = 4;
    link.handler.inside_data = [&] { link.handler.room_size = 0; };
    link.stream().start_reading();
    link.peer.send("firstsecond");
    REQUIRE(link.until_received(4));
    CHECK(link.handler.received == "firs");
    link.handler.inside_data = nullptr;
    link.handler.room_size = 64;
    REQUIRE(link.until_received(11));
    CHECK(link.handler.received == "firstsecond");
}

TEST_CASE("on_nothing_received follows each question for room that no bytes came for") {
    Connected link{make_tcp_pair()};
    link.handler.room_size = 4;
    link.stream().start_reading();
    SUBCASE("a buffer that was filled, and nothing left") {
        link.peer.send("four");
        REQUIRE(link.until_received(4));
        CHECK(link.handler.asks == 2);
        CHECK(link.handler.nothings == 1);
        CHECK(link.stream().is_open());
    }
    SUBCASE("none after a buffer that was not filled") {
        link.peer.send("two");
        REQUIRE(link.until_received(3));
        CHECK(link.handler.asks == 1);
        CHECK(link.handler.nothings == 0);
    }
    SUBCASE("the end is told by itself") {
        link.peer.finish();
        REQUIRE(link.until([&] { return link.handler.ends == 1; }));
        CHECK(link.handler.nothings == 0);
    }
    SUBCASE("a failure, before the end; the stream is still open") {
        bool was_open = false;
        link.handler.inside_nothing = [&] { was_open = link.stream().is_open(); };
        link.peer.reset();
        REQUIRE(link.until_closed());
        CHECK(link.handler.close_error == ECONNRESET);
        CHECK(was_open);
        CHECK(link.handler.asks == 1);
        CHECK(link.handler.nothings == 1);
    }
    SUBCASE("who ends the stream inside is not overruled") {
        link.handler.inside_nothing = [&] { link.stream().abort(ECANCELED); };
        link.peer.reset();
        REQUIRE(link.until_closed());
        CHECK(link.handler.close_error == ECANCELED);
        CHECK(link.handler.closed == 1);
    }
}
