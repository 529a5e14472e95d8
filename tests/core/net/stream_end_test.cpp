#include <epoll/net/stream.hpp>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "tests/core/net/loopback.hpp"
#include "tests/core/net/recording_handler.hpp"
#include "tests/core/net/system_calls.hpp"

// How a stream ends: when its descriptor is closed and by whom, and what may be written until then.

using testing::bytes_of;
using testing::Connected;
using testing::make_tcp_pair;
using testing::make_unix_pair;
using testing::Shared;

namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

}  // namespace

TEST_CASE("the descriptor is closed when on_closed has returned, and not before") {
    Connected link{make_unix_pair()};
    const int fd = link.stream().fd();
    bool was_open = false;
    int told = -1;
    link.handler.inside_closed = [&] {
        was_open = is_open(fd);
        told = link.stream().fd();
    };
    SUBCASE("abort") { link.stream().abort(0); }
    SUBCASE("close") { link.stream().close(); }
    CHECK_FALSE(link.stream().is_open());
    CHECK(link.stream().fd() == fd);
    CHECK(is_open(fd));
    CHECK_FALSE(link.peer.has_ended());
    REQUIRE(link.until_closed());
    CHECK(was_open);
    CHECK(told == fd);
    CHECK_FALSE(is_open(fd));
    CHECK(link.stream().fd() == -1);
    CHECK(link.peer.has_ended());
}

TEST_CASE("a stream that is destroyed in on_closed closes the descriptor") {
    Connected link{make_unix_pair()};
    const int fd = link.stream().fd();
    link.handler.destroys_when_closed = true;
    link.handler.inside_closed = [&] { CHECK(is_open(fd)); };
    link.stream().abort(0);
    REQUIRE(link.until_closed());
    CHECK_FALSE(is_open(fd));
}

TEST_CASE("a disowned descriptor is its new owner's to close") {
    Connected link{make_unix_pair()};
    const epoll::OwnedFd owner{link.stream().fd()};
    link.stream().disown();
    bool is_destroyed = false;
    SUBCASE("after on_closed") {
        link.stream().abort(0);
        REQUIRE(link.until_closed());
        CHECK(link.stream().fd() == -1);
    }
    SUBCASE("after close, disowned meanwhile") {
        link.stream().close();
        link.stream().disown();
        REQUIRE(link.until_closed());
    }
    SUBCASE("disowned in on_closed") {
        link.handler.inside_closed = [&] { link.stream().disown(); };
        link.stream().abort(0);
        REQUIRE(link.until_closed());
    }
    SUBCASE("destroyed in on_closed") {
        link.handler.destroys_when_closed = true;
        link.stream().abort(0);
        REQUIRE(link.until_closed());
        is_destroyed = true;
    }
    SUBCASE("destroyed without a word") {
        link.handler.stream.reset();
        is_destroyed = true;
    }
    CHECK(is_destroyed == (link.handler.stream == nullptr));
    CHECK(is_open(owner.get()));
    CHECK_FALSE(link.peer.has_ended());
}

TEST_CASE("a stream over a descriptor of somebody else never closes it") {
    epoll::Reactor reactor;
    testing::RecordingHandler handler;
    testing::Pair pair = make_unix_pair();
    testing::Peer peer{std::move(pair.theirs)};
    const epoll::DisownedFd borrowed{pair.ours.get()};
    handler.stream = std::make_unique<epoll::Stream>(reactor, borrowed, handler,
                                                     epoll::WaterMarks{.high = 0, .low = 0});
    CHECK(handler.stream->fd() == pair.ours.get());
    SUBCASE("after its end") {
        handler.stream->write(bytes_of("bye"));
        handler.stream->close();
        REQUIRE(testing::turn_until(reactor, [&] { return handler.closed == 1; }));
        CHECK(handler.close_error == 0);
        CHECK(handler.stream->fd() == -1);
        CHECK(peer.received() == "bye");
    }
    SUBCASE("destroyed without a word") {
        handler.stream.reset();
        reactor.run_turn(epoll::Timeout::none());
        CHECK(handler.closed == 0);
    }
    CHECK(is_open(pair.ours.get()));
    CHECK_FALSE(peer.has_ended());
}

TEST_CASE("a descriptor of somebody else that epoll refuses is as it was") {
    epoll::Reactor reactor;
    testing::RecordingHandler handler;
    const epoll::OwnedFd regular{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
    const auto make = [&] {
        return epoll::Stream{reactor, epoll::DisownedFd{regular.get()}, handler, {}};
    };
    CHECK_THROWS_AS((void)make(), std::system_error);
    CHECK(is_open(regular.get()));
    reactor.run_turn(epoll::Timeout::none());
    CHECK(handler.closed == 0);
}

TEST_CASE("a disowned stream still sends, and its new owner may close it in time") {
    Connected link{make_unix_pair()};
    epoll::OwnedFd owner{link.stream().fd()};
    link.stream().disown();
    link.write("bye");
    link.stream().close();
    REQUIRE(link.until_closed());
    (void)owner.close();
    CHECK(link.peer.received() == "bye");
    CHECK(link.peer.has_ended());
}

TEST_CASE("a stream that has ended is out of epoll at once") {
    Connected link{make_tcp_pair()};
    link.stream().start_reading();
    link.peer.send("unheard");
    link.stream().abort(0);
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.reactor.statistics().events == 0);
    CHECK(link.handler.asks == 0);
}

TEST_CASE("what is written while close waits for earlier bytes is sent as well") {
    Connected link{make_unix_pair()};
    link.fill();
    const std::size_t before = link.stream().unsent() + link.stream().bytes_out();
    Shared owned{"two "};
    std::string borrowed = "three";
    link.stream().close();
    link.write("one ");
    link.stream().write(owned.share());
    link.stream().write_borrowed(bytes_of(borrowed));
    link.stream().flush();
    borrowed.assign("-----");
    REQUIRE(link.until([&] { return link.peer.has_ended(); }));
    CHECK(link.peer.received().substr(before) == "one two three");
    REQUIRE(link.until_closed());
    CHECK(link.handler.close_error == 0);
}

TEST_CASE("what is written after a close with nothing to wait for goes nowhere") {
    Connected link{make_unix_pair()};
    Shared owned{"late"};
    const auto close_and_write = [&] {
        link.stream().close();
        CHECK_FALSE(link.stream().is_open());
        link.stream().write(owned.share());
        link.write("late");
        CHECK(link.stream().unsent() == 0);
    };
    SUBCASE("outside") { close_and_write(); }
    SUBCASE("inside on_data") {
        link.handler.inside_data = close_and_write;
        link.stream().start_reading();
        link.peer.send("?");
    }
    SUBCASE("inside on_data, when all was flushed") {
        link.handler.inside_data = [&] {
            link.write("in time");
            link.stream().flush();
            close_and_write();
        };
        link.stream().start_reading();
        link.peer.send("?");
    }
    REQUIRE(link.until_closed());
    CHECK(owned.released == 1);
    CHECK(link.peer.received().find("late") == std::string::npos);
}

TEST_CASE("a shutdown keeps its word when a close follows, and after close it is nothing") {
    Connected link{make_unix_pair()};
    link.fill();
    const std::size_t total = link.stream().unsent() + link.stream().bytes_out();
    bool is_sent = false;
    SUBCASE("shut down, then closed") {
        link.stream().shutdown_writing();
        link.stream().close();
    }
    SUBCASE("closed, then shut down") {
        link.stream().close();
        link.stream().shutdown_writing();
        is_sent = true;
    }
    link.write("more");
    REQUIRE(link.until([&] { return link.peer.has_ended() && link.handler.closed == 1; }));
    CHECK(link.peer.received().size() == total + (is_sent ? 4U : 0U));
}

TEST_CASE("on_drained while close waits: what is written inside is sent before the end") {
    Connected link{make_unix_pair(), {.high = 0, .low = 0}};
    link.fill();
    REQUIRE(link.stream().is_over_high_water());
    link.handler.inside_drained = [&] {
        CHECK(link.stream().is_open());
        CHECK(link.handler.closed == 0);
        link.write("last");
    };
    link.stream().close();
    REQUIRE(link.until([&] { return link.peer.has_ended(); }));
    CHECK(link.peer.received().ends_with("last"));
    REQUIRE(link.until_closed());
    CHECK(link.handler.drained == 1);
}

// Every callback, and what may be done inside: flush, close, abort, and then flush again.

namespace {

struct Deed {
    const char* name;
    std::function<void(Connected&)> act;
    int error;  ///< what on_closed() is told; -1: the stream lives on
};

const Deed k_deeds[] = {
    {"flush", [](Connected& link) { link.stream().flush(); }, -1},
    {"close", [](Connected& link) { link.stream().close(); }, 0},
    {"abort", [](Connected& link) { link.stream().abort(ECANCELED); }, ECANCELED},
    {"a send that fails",
     [](Connected& link) {
         testing::send_error = EPIPE;
         link.stream().flush();
     },
     EPIPE},
};

/// Writes, does the deed, and does all the rest that should then be harmless.
void write_and_do(Connected& link, const Deed& deed) {
    std::string borrowed = "borrowed ";
    link.write("copied ");
    link.stream().write_borrowed(bytes_of(borrowed));
    deed.act(link);
    link.stream().flush();
    borrowed.assign("---------");
    link.write("end");
    link.stream().flush();
}

void check_end(Connected& link, const Deed& deed) {
    if (deed.error == -1) {
        CHECK(link.stream().is_open());
        CHECK(link.handler.closed == 0);
        REQUIRE(link.until([&] { return link.peer.received().ends_with("copied borrowed end"); }));
    } else {
        REQUIRE(link.until_closed());
        CHECK(link.handler.close_error == deed.error);
    }
    CHECK(testing::send_error.load() == 0);
    CHECK(link.peer.received().find('-') == std::string::npos);
}

}  // namespace

TEST_CASE("flush, close and abort inside on_data, on_end_of_stream and on_drained") {
    for (const Deed& deed : k_deeds) {
        CAPTURE(deed.name);
        {
            Connected link{make_unix_pair()};
            link.handler.inside_data = [&] { write_and_do(link, deed); };
            link.stream().start_reading();
            link.peer.send("?");
            REQUIRE(link.until_received(1));
            check_end(link, deed);
        }
        {
            Connected link{make_unix_pair()};
            link.handler.inside_end = [&] { write_and_do(link, deed); };
            link.stream().start_reading();
            link.peer.finish();
            REQUIRE(link.until([&] { return link.handler.ends == 1; }));
            check_end(link, deed);
        }
        {
            Connected link{make_unix_pair(), {.high = 0, .low = 0}};
            link.fill();
            link.handler.inside_drained = [&] { write_and_do(link, deed); };
            REQUIRE(link.until([&] {
                (void)link.peer.received();
                return link.handler.drained == 1;
            }));
            check_end(link, deed);
        }
    }
}

TEST_CASE("an owner whose release flushes, writes or closes does no harm to what is being sent") {
    Connected link{make_unix_pair()};
    struct Owner {
        Connected& link;
        std::function<void()> act;
        static void release(void* self) noexcept { static_cast<Owner*>(self)->act(); }
    };
    const std::string first = "first ";
    const std::string second = "second ";
    Owner owner{link, {}};
    Shared other{second};
    std::string expected;
    SUBCASE("flush") {
        owner.act = [&] { link.stream().flush(); };
        expected = "first second ";
    }
    SUBCASE("write and flush") {
        std::string borrowed;
        owner.act = [&] {
            std::string text = "third";
            link.stream().write_borrowed(bytes_of(text));
            link.stream().flush();
            text.assign("-----");
        };
        expected = "first second third";
    }
    SUBCASE("close") {
        owner.act = [&] { link.stream().close(); };
        expected = "first second ";
    }
    link.stream().write(epoll::OwnedBytes{bytes_of(first), &owner, &Owner::release});
    link.stream().write(other.share());
    link.stream().flush();
    CHECK(other.released == 1);
    REQUIRE(link.until([&] { return link.peer.received().size() >= expected.size(); }));
    link.reactor.run_turn(epoll::Timeout::none());
    CHECK(link.peer.received() == expected);
}

TEST_CASE("the end is told again when its handler asks for that") {
    Connected link{make_unix_pair()};
    link.handler.inside_end = [&] {
        if (link.handler.ends == 1) {
            link.stream().repeat_end_of_stream();
        }
    };
    link.stream().start_reading();
    link.peer.finish();
    REQUIRE(link.until([&] { return link.handler.ends == 2; }));
    CHECK(link.stream().has_ended());
    CHECK_FALSE(link.stream().is_reading());
}
