#include <epoll/net/stream.hpp>

#include <cerrno>
#include <memory>
#include <new>
#include <string>
#include <system_error>

#include <doctest/doctest.h>

#include "tests/core/net/loopback.hpp"
#include "tests/core/net/recording_handler.hpp"
#include "tests/core/net/system_calls.hpp"

using epoll::OwnedBytes;
using epoll::Stream;
using testing::bytes_of;
using testing::Connected;
using testing::k_handful;
using testing::k_watch;
using testing::make_tcp_pair;
using testing::make_unix_pair;
using testing::Shared;
using testing::turns_during;

TEST_CASE("a stream reads nothing before start_reading") {
    Connected link{make_unix_pair()};
    link.peer.send("early");
    CHECK_FALSE(link.stream().is_reading());
    CHECK(turns_during(link.reactor, k_watch) <= k_handful);
    CHECK(link.handler.reads == 0);
    link.stream().start_reading();
    CHECK(link.stream().is_reading());
    REQUIRE(link.until_received(5));
    CHECK(link.handler.received == "early");
    CHECK(link.stream().bytes_in() == 5);
}

TEST_CASE("the socket of no connection is refused") {
    epoll::Reactor reactor;
    testing::RecordingHandler handler;
    CHECK_THROWS_AS(Stream(reactor, epoll::OwnedFd{}, handler, {}), std::system_error);
}

TEST_CASE("what is written inside on_data leaves with one system call, in order") {
    Connected link{make_unix_pair()};
    Shared owned{"owned "};
    std::string borrowed = "borrowed ";
    link.handler.inside_data = [&] {
        link.write("copied ");
        link.stream().write(owned.share());
        link.stream().write_borrowed(bytes_of(borrowed));
        link.write("again");
        CHECK(link.peer.received().empty());
    };
    link.stream().start_reading();
    link.peer.send("?");
    const int before = testing::sends;
    REQUIRE(link.until_received(1));
    CHECK(testing::sends.load() == before + 1);
    CHECK(link.peer.received() == "copied owned borrowed again");
    CHECK(owned.released == 1);
    CHECK(link.stream().unsent() == 0);
    CHECK(link.stream().bytes_out() == 27);
}

TEST_CASE("what is written outside leaves before the reactor waits again") {
    Connected link{make_unix_pair()};
    const int before = testing::sends;
    link.write("one ");
    link.write("two");
    CHECK(link.peer.received().empty());
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.peer.received() == "one two");
    CHECK(testing::sends.load() == before + 1);
}

TEST_CASE("an empty write sends nothing and lets its owner go") {
    Connected link{make_unix_pair()};
    Shared nothing{""};
    link.write("");
    link.stream().write(nothing.share());
    link.stream().write_borrowed({});
    link.stream().flush();
    CHECK(nothing.released == 1);
    CHECK(link.stream().unsent() == 0);
    CHECK(link.peer.received().empty());
}

TEST_CASE("borrowed bytes may go away after flush, although the socket is full") {
    Connected link{make_unix_pair()};
    link.fill();
    const std::size_t before = link.stream().unsent() + link.stream().bytes_out();
    auto borrowed = std::make_unique<std::string>(100'000, 'b');
    link.stream().write_borrowed(bytes_of(*borrowed));
    link.stream().flush();
    borrowed.reset();
    link.write("end");
    REQUIRE(link.until([&] { return link.peer.received().size() == before + 100'003; }));
    CHECK(link.peer.received().substr(before) == std::string(100'000, 'b') + "end");
}

TEST_CASE("borrowed bytes that a partial send leaves may go away when on_data returns") {
    Connected link{make_unix_pair()};
    std::string large(4'000'000, 'b');
    link.handler.inside_data = [&] { link.stream().write_borrowed(bytes_of(large)); };
    link.stream().start_reading();
    link.peer.send("?");
    REQUIRE(link.until_received(1));
    CHECK(link.stream().unsent() > 0);
    large.assign(large.size(), 'x');
    REQUIRE(link.until([&] { return link.peer.received().size() == large.size(); }));
    CHECK(link.peer.received().find('x') == std::string::npos);
}

TEST_CASE("the water marks: over after the high one, drained once at the low one") {
    Connected link{make_unix_pair(), {.high = 100'000, .low = 10'000}};
    CHECK_FALSE(link.stream().is_over_high_water());
    link.fill();
    CHECK_FALSE(link.stream().is_over_high_water());
    link.write(std::string(100'000, 'q'));
    CHECK(link.stream().is_over_high_water());
    CHECK(turns_during(link.reactor, k_watch) <= k_handful);  // a full socket does not spin
    while (link.stream().unsent() > 10'000) {
        CHECK(link.handler.drained == 0);
        CHECK(link.stream().is_over_high_water());
        link.peer.receive_some(4096);
        link.reactor.run_turn(epoll::Timeout::none());
    }
    REQUIRE(link.until([&] { return link.handler.drained != 0; }));
    CHECK_FALSE(link.stream().is_over_high_water());
    REQUIRE(
        link.until([&] { return !link.peer.received().empty() && link.stream().unsent() == 0; }));
    CHECK(link.handler.drained == 1);
}

TEST_CASE("what is written inside on_drained is sent") {
    Connected link{make_unix_pair(), {.high = 1, .low = 0}};
    std::string borrowed = "after";
    link.fill();
    REQUIRE(link.stream().is_over_high_water());
    link.handler.inside_drained = [&] { link.stream().write_borrowed(bytes_of(borrowed)); };
    REQUIRE(link.until([&] { return link.peer.received().ends_with("after"); }));
}

TEST_CASE("reads go on while the buffer is filled, up to the budget of a turn") {
    Connected link{make_unix_pair()};
    link.handler.room_size = 8 * 1024;
    const std::string text(100 * 1024, 'r');
    link.peer.send(text);
    link.stream().start_reading();
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.handler.received.size() == text.size());
    CHECK(link.handler.reads == 13);
}

TEST_CASE("one stream reads no more than its budget in a turn") {
    Connected link{make_tcp_pair()};
    link.handler.room_size = 16 * 1024;
    const std::string block(256 * 1024, 'r');
    link.handler.inside_data = [&] { (void)link.peer.send_some(block); };
    (void)link.peer.send_some(block);
    link.stream().start_reading();
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.handler.received.size() <= Stream::k_read_budget + link.handler.room_size);
}

TEST_CASE("stop_reading inside on_data: it is not called again for bytes that wait") {
    Connected link{make_unix_pair()};
    link.handler.room_size = 4;
    link.handler.inside_data = [&] { link.stream().stop_reading(); };
    link.stream().start_reading();
    link.peer.send("firstsecond");
    REQUIRE(link.until_received(4));
    CHECK(turns_during(link.reactor, k_watch) <= k_handful);
    CHECK(link.handler.received == "firs");
    link.handler.inside_data = nullptr;
    link.stream().start_reading();
    REQUIRE(link.until_received(11));
    CHECK(link.handler.received == "firstsecond");
}

TEST_CASE("when the peer half-closes, that is told once, and the loop does not spin") {
    Connected link{make_tcp_pair()};
    link.stream().start_reading();
    link.peer.send("last words");
    link.peer.finish();
    REQUIRE(link.until([&] { return link.handler.ends != 0; }));
    CHECK(link.handler.received == "last words");
    CHECK(turns_during(link.reactor, k_watch) <= k_handful);
    CHECK(link.handler.ends == 1);
    CHECK(link.stream().is_open());

    link.write("an answer all the same");
    REQUIRE(link.until([&] { return !link.peer.received().empty(); }));
    CHECK(link.peer.received() == "an answer all the same");
    link.stream().start_reading();
    CHECK_FALSE(link.stream().is_reading());
    CHECK(turns_during(link.reactor, k_watch) <= k_handful);
    CHECK(link.handler.ends == 1);
}

TEST_CASE("what is written inside on_end_of_stream is sent, then close closes") {
    Connected link{make_unix_pair()};
    std::string borrowed = "good";
    link.handler.inside_end = [&] {
        link.stream().write_borrowed(bytes_of(borrowed));
        link.write("bye");
        link.stream().close();
    };
    link.stream().start_reading();
    link.peer.finish();
    REQUIRE(link.until_closed());
    CHECK(link.peer.received() == "goodbye");
    CHECK(link.peer.has_ended());
    CHECK(link.handler.close_error == 0);
}

TEST_CASE("shutdown_writing sends what is queued, and reading goes on") {
    Connected link{make_tcp_pair()};
    link.stream().start_reading();
    link.write("all I have to say");
    link.stream().shutdown_writing();
    link.write("this is too late");
    REQUIRE(link.until([&] { return link.peer.has_ended(); }));
    CHECK(link.peer.received() == "all I have to say");
    CHECK(link.peer.error() == 0);
    link.peer.send("go on");
    REQUIRE(link.until_received(5));
    CHECK(link.stream().is_open());
}

TEST_CASE("shutdown_writing waits for a full socket") {
    Connected link{make_unix_pair()};
    link.fill();
    const std::size_t total = link.stream().unsent() + link.stream().bytes_out();
    link.stream().shutdown_writing();
    REQUIRE(link.until([&] { return link.peer.has_ended(); }));
    CHECK(link.peer.received().size() == total);
    CHECK(link.handler.closed == 0);
}

TEST_CASE("both sides half-closed: the stream stays open, the loop sleeps") {
    Connected link{make_tcp_pair()};
    link.stream().start_reading();
    link.stream().shutdown_writing();
    link.peer.finish();
    REQUIRE(link.until([&] { return link.handler.ends != 0; }));
    CHECK(turns_during(link.reactor, k_watch) <= k_handful);
    CHECK(link.stream().is_open());
    link.stream().close();
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == 0);
}

TEST_CASE("a release that ends the stream does so in good order") {
    const std::string large(8'000'000, 'l');
    Connected link{make_unix_pair()};
    const std::string first = "first";
    const auto abort = [](void* stream) noexcept {
        static_cast<Stream*>(stream)->abort(ECANCELED);
    };
    link.stream().write(OwnedBytes{bytes_of(first), &link.stream(), abort});
    link.write(large);
    link.stream().flush();
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == ECANCELED);
    CHECK(link.handler.closed == 1);
}

TEST_CASE("close sends what is queued, then tells its end in a later turn, once") {
    Connected link{make_unix_pair()};
    link.fill();
    const std::size_t total = link.stream().unsent() + link.stream().bytes_out();
    link.stream().start_reading();
    link.stream().close();
    link.stream().close();
    CHECK(link.stream().is_closing());
    CHECK_FALSE(link.stream().is_reading());
    CHECK(link.stream().is_open());
    REQUIRE(link.until([&] { return link.peer.received().size() == total; }));
    REQUIRE(link.until_closed());
    CHECK(link.peer.has_ended());
    CHECK(link.peer.received().size() == total);
    CHECK(link.handler.close_error == 0);
    CHECK(turns_during(link.reactor, std::chrono::milliseconds{20}) <= k_handful);
    CHECK(link.handler.closed == 1);
}

TEST_CASE("close inside on_data sends what on_data wrote") {
    Connected link{make_unix_pair()};
    link.handler.inside_data = [&] {
        link.write("answer");
        link.stream().close();
        CHECK(link.stream().is_open());
    };
    link.stream().start_reading();
    link.peer.send("?");
    REQUIRE(link.until_closed());
    CHECK(link.peer.received() == "answer");
    CHECK(link.peer.has_ended());
}

TEST_CASE("abort drops what is queued and releases its owners") {
    Connected link{make_unix_pair()};
    link.fill();
    Shared owned{"never sent"};
    link.stream().write(owned.share());
    link.stream().abort(ETIMEDOUT);
    link.stream().abort(EIO);
    CHECK(owned.released == 1);
    CHECK(link.stream().unsent() == 0);
    CHECK_FALSE(link.stream().is_open());
    CHECK(link.handler.closed == 0);
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == ETIMEDOUT);
}

TEST_CASE("nothing does anything after the end, which is told in a later turn") {
    Connected link{make_unix_pair()};
    SUBCASE("abort") { link.stream().abort(0); }
    SUBCASE("close with nothing queued") { link.stream().close(); }
    CHECK_FALSE(link.stream().is_open());
    CHECK(link.handler.closed == 0);
    REQUIRE(link.until_closed());
    CHECK(link.peer.has_ended());
    Shared owned{"text"};
    link.write("text");
    link.stream().write(owned.share());
    link.stream().write_borrowed(bytes_of("text"));
    link.stream().flush();
    link.stream().start_reading();
    link.stream().stop_reading();
    link.stream().shutdown_writing();
    link.stream().close();
    link.stream().abort(EIO);
    CHECK(owned.released == 1);
    CHECK(link.stream().unsent() == 0);
    CHECK(link.stream().fd() == -1);
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.handler.closed == 1);
    CHECK(link.handler.close_error == 0);
}

TEST_CASE("abort inside a callback is the last of them but on_closed") {
    Connected link{make_unix_pair(), {.high = 1, .low = 0}};
    const auto abort = [&] { link.stream().abort(ECANCELED); };
    SUBCASE("on_data") {
        link.handler.room_size = 1;
        link.handler.inside_data = abort;
        link.stream().start_reading();
        link.peer.send("many bytes");
    }
    SUBCASE("on_end_of_stream") {
        link.handler.inside_end = abort;
        link.stream().start_reading();
        link.peer.finish();
    }
    SUBCASE("on_drained") {
        link.handler.inside_drained = [&] {
            link.peer.send("unheard");
            abort();
        };
        link.stream().start_reading();
        link.fill();
        REQUIRE(
            link.until([&] { return !link.peer.received().empty() && !link.stream().is_open(); }));
    }
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == ECANCELED);
    CHECK(link.handler.reads + link.handler.ends + link.handler.drained == 1);
}

TEST_CASE("the stream may be destroyed in on_closed, and its descriptor is closed") {
    const std::size_t before = testing::open_descriptors();
    {
        Connected link{make_unix_pair()};
        link.handler.destroys_when_closed = true;
        link.stream().abort(0);
        REQUIRE(link.until_closed());
        CHECK(link.handler.stream == nullptr);
    }
    CHECK(testing::open_descriptors() == before);
}

TEST_CASE("a destroyed stream closes its descriptor without a word") {
    Connected link{make_unix_pair()};
    Shared owned{"unsent"};
    SUBCASE("open") { link.stream().write(owned.share()); }
    SUBCASE("ended, before on_closed") {
        link.stream().write(owned.share());
        link.stream().abort(EIO);
    }
    link.handler.stream.reset();
    CHECK(owned.released == 1);
    CHECK(link.peer.has_ended());
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.handler.closed == 0);
}

TEST_CASE("a reset is told by its errno, once") {
    Connected link{make_tcp_pair()};
    link.stream().start_reading();
    link.peer.reset();
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == ECONNRESET);
    CHECK(link.handler.ends == 0);
    CHECK(turns_during(link.reactor, k_watch) <= k_handful);
    CHECK(link.handler.closed == 1);
}

TEST_CASE("a reset while reading is paused: no spin, and the next wish hears of it") {
    Connected link{make_tcp_pair()};
    link.peer.reset();
    CHECK(turns_during(link.reactor, k_watch) <= k_handful);
    CHECK(link.handler.closed == 0);
    SUBCASE("to read") {
        link.stream().start_reading();
        REQUIRE(link.until_closed());
        CHECK(link.handler.close_error == ECONNRESET);
    }
    SUBCASE("to write") {
        link.write("anybody there?");
        REQUIRE(link.until_closed());
        CHECK(link.handler.close_error != 0);
    }
}

TEST_CASE("a reset while the socket is full ends the stream") {
    Connected link{make_tcp_pair()};
    link.fill();
    SUBCASE("that is open") {}
    SUBCASE("whose close waits for room") { link.stream().close(); }
    link.peer.reset();
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == ECONNRESET);
    CHECK(link.stream().unsent() == 0);
}

TEST_CASE("a peer that is gone raises no signal") {
    Connected link{make_unix_pair()};
    link.peer.close();
    link.write("into the void");
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == EPIPE);
}

TEST_CASE("an interrupted send is repeated, any other failure ends the stream") {
    Connected link{make_unix_pair()};
    link.write("text");
    SUBCASE("EINTR") {
        testing::send_error = EINTR;
        link.stream().flush();
        CHECK(link.peer.received() == "text");
        CHECK(link.stream().is_open());
    }
    SUBCASE("EAGAIN, though the socket has room") {
        testing::send_error = EAGAIN;
        link.stream().flush();
        CHECK(link.stream().unsent() == 4);
        REQUIRE(link.until([&] { return link.peer.received() == "text"; }));
    }
    SUBCASE("ENOBUFS") {
        testing::send_error = ENOBUFS;
        link.stream().flush();
        REQUIRE(link.until_closed());
        CHECK(link.handler.close_error == ENOBUFS);
    }
    CHECK(testing::send_error.load() == 0);
}

TEST_CASE("a callback without memory ends the stream with ENOMEM") {
    Connected link{make_unix_pair(), {.high = 1, .low = 0}};
    const auto fail = [] { throw std::bad_alloc(); };
    std::string borrowed = "never sent";
    SUBCASE("on_data") {
        link.handler.inside_data = [&] {
            link.stream().write_borrowed(bytes_of(borrowed));
            throw std::bad_alloc();
        };
        link.stream().start_reading();
        link.peer.send("?");
    }
    SUBCASE("on_end_of_stream") {
        link.handler.inside_end = fail;
        link.stream().start_reading();
        link.peer.finish();
    }
    SUBCASE("on_drained") {
        link.handler.inside_drained = fail;
        link.fill();
        REQUIRE(
            link.until([&] { return !link.peer.received().empty() && !link.stream().is_open(); }));
    }
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == ENOMEM);
    CHECK(link.handler.closed == 1);
    CHECK(link.peer.received().find("never") == std::string::npos);
}
