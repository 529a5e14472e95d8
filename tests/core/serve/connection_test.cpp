#include <epoll/serve/connection.hpp>

#include <cerrno>
#include <chrono>
#include <new>
#include <string>
#include <string_view>

#include <doctest/doctest.h>

#include "tests/core/net/loopback.hpp"
#include "tests/core/net/system_calls.hpp"
#include "tests/core/serve/served.hpp"

using epoll::CloseReason;
using epoll::Connection;
using epoll::Framing;
using testing::bytes_of;
using testing::Ending;
using testing::lines;
using testing::Peer;
using testing::Served;

namespace {

using Message = std::span<const std::byte>;

/// The far end sends without reading until it can send no more: a reader who is too slow.
void send_until_held_back(Served& served, Peer& peer, std::string_view text) {
    for (int quiet = 0; quiet != 20;) {
        quiet = peer.send_some(text) == 0 ? quiet + 1 : 0;
        served.reactor.run_turn(epoll::Timeout::none());
    }
}

epoll::ServerOptions with_idle_timeout(std::chrono::milliseconds time) {
    epoll::ServerOptions options = lines();
    options.idle_timeout = time;
    return options;
}

}  // namespace

TEST_CASE("messages of one read are answered in order by one write") {
    Served served{lines()};
    Peer peer = served.connect_and_open();
    const std::string text = testing::numbered_lines(500);
    peer.send(text);
    const int before = testing::sends;
    REQUIRE(served.until_received(peer, text));
    CHECK(testing::sends.load() == before + 1);
    CHECK(served.service.messages.size() == 500);
    CHECK(served.server->statistics().messages == 500);
    CHECK(served.server->statistics().bytes_in == text.size());
    CHECK(served.server->statistics().bytes_out == text.size());
}

TEST_CASE("a message that arrives byte by byte is one message") {
    Served served{lines()};
    Peer peer = served.connect_and_open();
    for (const char letter : std::string_view{"in small pieces\r\nnext\n"}) {
        peer.send({&letter, 1});
        served.reactor.run_turn(epoll::Timeout::none());
    }
    REQUIRE(served.until_received(peer, "in small pieces\nnext\n"));
    CHECK(served.service.messages == std::vector<std::string>{"in small pieces", "next"});
}

TEST_CASE("an answer is framed, whoever owns its bytes") {
    epoll::ServerOptions options;
    options.framing = Framing::length16;
    Served served{options};
    static int released = 0;
    released = 0;
    served.service.answer = [](Connection& connection, Message message) {
        CHECK(connection.send(message));
        CHECK(
            connection.send(epoll::OwnedBytes{bytes_of("own"), &released, [](void* count) noexcept {
                                                  ++*static_cast<int*>(count);
                                              }}));
        CHECK(connection.send_borrowed(message));
        CHECK(connection.send({}));
    };
    Peer peer = served.connect_and_open();
    peer.send({"\0\2ab", 4});
    REQUIRE(served.until_received(peer, {"\0\2ab\0\3own\0\2ab\0\0", 15}));
    CHECK(released == 1);
}

TEST_CASE("an answer that its framing cannot carry is refused and nothing is queued") {
    epoll::ServerOptions options;
    options.framing = Framing::length16;
    Served served{options};
    const std::string large(0x10000, 'l');
    served.service.answer = [&](Connection& connection, Message) {
        CHECK_FALSE(connection.send(bytes_of(large)));
        CHECK_FALSE(connection.send_borrowed(bytes_of(large)));
        CHECK_FALSE(connection.send(epoll::OwnedBytes{bytes_of(large), nullptr, nullptr}));
        CHECK(connection.unsent() == 0);
        CHECK(connection.send_borrowed(bytes_of(large).first(0xFFFF)));
    };
    Peer peer = served.connect_and_open();
    peer.send({"\0\1a", 3});
    REQUIRE(served.until_received(peer, "\xFF\xFF" + large.substr(1)));
}

TEST_CASE("a large message goes there and back") {
    epoll::ServerOptions options;
    options.framing = Framing::length32;
    Served served{options};
    served.service.answer = [](Connection& connection, Message message) {
        CHECK(connection.send_borrowed(message));
    };
    Peer peer = served.connect_and_open();
    const std::string message = std::string{"\0\x10\0\0", 4} + std::string(1 << 20, 'm');
    std::size_t sent = 0;
    REQUIRE(served.until([&] {
        sent += peer.send_some(std::string_view{message}.substr(sent));
        return peer.received().size() == message.size();
    }));
    CHECK(peer.received() == message);
}

TEST_CASE("a message that is too long ends the connection, and earlier answers arrive") {
    epoll::ServerOptions options = lines();
    options.max_message = 100;
    Served served{options};
    served.service.apology = [](Connection& connection) {
        CHECK(connection.send(bytes_of("sorry")));
    };
    Peer peer = served.connect_and_open();
    // What comes behind it is read and dropped, so that no reset destroys the answer.
    peer.send("first\n" + std::string(200'000, 'x'));
    REQUIRE(served.until([&] { return peer.has_ended(); }));
    peer.send(std::string(100'000, 'y') + "\nlate\n");
    for (int i = 0; i != 20; ++i) {
        served.reactor.run_turn(epoll::Timeout::none());
    }
    CHECK(peer.received() == "first\nsorry\n");
    CHECK(peer.error() == 0);
    peer.close();
    REQUIRE(served.until_ended());
    CHECK(served.service.endings.front() == Ending{CloseReason::too_long, 0});
    CHECK(served.service.messages == std::vector<std::string>{"first"});
    CHECK(served.service.too_long == 1);
    CHECK(served.server->statistics().too_long == 1);
}

TEST_CASE("the handler may end the connection itself when a message is too long") {
    epoll::ServerOptions options = lines();
    options.max_message = 5;
    Served served{options};
    served.service.apology = [](Connection& connection) { connection.abort(); };
    Peer peer = served.connect_and_open();
    peer.send("far too long\n");
    REQUIRE(served.until_ended());
    CHECK(served.service.endings.front() == Ending{CloseReason::closed, 0});
    CHECK(peer.has_ended());
}

TEST_CASE("a peer that does not go is cut off after a while") {
    epoll::ServerOptions options = lines();
    options.max_message = 5;
    Served served{options};
    Peer peer = served.connect_and_open();
    const auto begin = epoll::Clock::now();
    peer.send("first\nfar too long\n");
    REQUIRE(served.until([&] {
        (void)peer.send_some("and on");
        return !served.service.endings.empty();
    }));
    const auto lasted = epoll::Clock::now() - begin;
    CHECK(lasted >= epoll::MessageServer::k_linger);
    CHECK(lasted < 3 * epoll::MessageServer::k_linger);
    CHECK(served.service.endings.front() == Ending{CloseReason::too_long, 0});
}

TEST_CASE("close inside on_message: no further message, and all answers") {
    Served served{lines()};
    served.service.answer = [](Connection& connection, Message message) {
        testing::echo(connection, message);
        if (testing::text_of(message) == "quit") {
            connection.close();
            CHECK(connection.is_closing());
            CHECK(connection.send(bytes_of("too late")));
        }
    };
    Peer peer = served.connect_and_open();
    peer.send("one\nquit\nthree\n");
    REQUIRE(served.until([&] { return peer.has_ended(); }));
    CHECK(peer.received() == "one\nquit\n");
    peer.close();
    REQUIRE(served.until_ended());
    CHECK(served.service.endings.front() == Ending{CloseReason::closed, 0});
    CHECK(served.service.messages.size() == 2);
}

TEST_CASE("close does not cost an eager peer its answer") {
    Served served{lines()};
    const std::string large(6'000'000, 'l');
    const auto answer_and_close = [&](Connection& connection, Message) {
        (void)connection.send(bytes_of(large));
        connection.close();
    };
    const auto stop = [&](Connection& connection, Message) {
        (void)connection.send(bytes_of(large));
        served.server->stop(std::chrono::seconds{5});
    };
    SUBCASE("Connection::close") { served.service.answer = answer_and_close; }
    SUBCASE("MessageServer::stop") { served.service.answer = stop; }
    Peer peer = served.connect_and_open();
    peer.send("give\n");
    REQUIRE(served.until([&] { return !served.service.messages.empty(); }));
    for (int i = 0; i != 20; ++i) {
        peer.send("more\n");  // while the answer is on its way
        served.reactor.run_turn(epoll::Timeout::none());
    }
    REQUIRE(served.until([&] { return peer.has_ended(); }));
    CHECK(peer.error() == 0);
    CHECK(peer.received().size() == large.size() + 1);
}

TEST_CASE("abort loses what is queued") {
    Served served{lines()};
    served.service.answer = [](Connection& connection, Message message) {
        testing::echo(connection, message);
        connection.abort();
    };
    Peer peer = served.connect_and_open();
    peer.send("one\ntwo\n");
    REQUIRE(served.until_ended());
    CHECK(peer.received().empty());
    CHECK(served.service.messages.size() == 1);
    CHECK(served.service.endings.front() == Ending{CloseReason::closed, 0});
}

TEST_CASE("a peer that takes nothing is held back, and gets everything when it reads") {
    epoll::ServerOptions options = lines();
    options.water_marks = {.high = 100'000, .low = 10'000};
    Served served{options};
    const std::string large(20'000, 'a');
    served.service.answer = [&](Connection& connection, Message) {
        CHECK(connection.unsent() <= 100'000);
        (void)connection.send(bytes_of(large));
    };
    Peer peer = served.connect_and_open();
    send_until_held_back(served, peer, std::string(4096, '\n'));
    CHECK(served.service.last->unsent() <= 100'000 + large.size() + 1);
    const std::size_t messages = served.service.messages.size();
    const std::uint64_t bytes_in = served.server->statistics().bytes_in;
    CHECK(testing::turns_during(served.reactor, testing::k_watch) <= testing::k_handful);
    CHECK(served.service.messages.size() == messages);
    CHECK(served.server->statistics().bytes_in == bytes_in);
    CHECK(bytes_in - messages <= epoll::MessageServer::k_read_size + 4096);

    for (int i = 0; i != 3000 && served.service.messages.size() < messages + 100; ++i) {
        peer.receive_some(1 << 20);
        served.reactor.run_turn(epoll::Timeout::none());
    }
    CHECK(served.service.messages.size() >= messages + 100);
    CHECK(served.service.endings.empty());
}

TEST_CASE("a half-close: everything is answered, also to a slow reader; a fragment is not") {
    epoll::ServerOptions options = lines();
    options.water_marks = {.high = 50'000, .low = 1'000};
    Served served{options};
    std::size_t size = 1;
    SUBCASE("small answers") { size = 10; }
    SUBCASE("answers that fill the socket") { size = 20'000; }
    served.service.answer = [&](Connection& connection, Message) {
        (void)connection.send(bytes_of(std::string(size, 'a')));
    };
    Peer peer = served.connect_and_open();
    peer.send(testing::numbered_lines(500) + "fragment");
    peer.finish();
    for (int i = 0; i != 20; ++i) {
        served.reactor.run_turn(epoll::Timeout::none());
    }
    REQUIRE(served.until([&] { return peer.has_ended(); }));
    CHECK(peer.received().size() == 500 * (size + 1));
    CHECK(served.service.messages.size() == 500);
    REQUIRE(served.until_ended());
    CHECK(served.service.endings.front() == Ending{CloseReason::peer_finished, 0});
    CHECK(served.server->statistics().open == 0);
    CHECK(served.server->statistics().bytes_out == 500 * (size + 1));
}

TEST_CASE("a silent peer is closed after the idle timeout") {
    Served served{with_idle_timeout(std::chrono::milliseconds{50})};
    const auto begin = epoll::Clock::now();
    Peer peer = served.connect_and_open();
    SUBCASE("that never said a word") {}
    SUBCASE("in the middle of a message") { peer.send("half a mess"); }
    REQUIRE(served.until_ended());
    CHECK(epoll::Clock::now() - begin >= std::chrono::milliseconds{50});
    CHECK(served.service.endings.front() == Ending{CloseReason::idle, 0});
    CHECK(served.server->statistics().idle == 1);
    CHECK(peer.has_ended());
}

TEST_CASE("a peer that says something in time is not idle") {
    Served served{with_idle_timeout(std::chrono::milliseconds{50})};
    Peer peer = served.connect_and_open();
    const auto end = epoll::Clock::now() + std::chrono::milliseconds{200};
    while (epoll::Clock::now() < end) {
        peer.send(".");  // not even a whole message
        served.reactor.run_turn(epoll::Timeout::after(std::chrono::milliseconds{1}));
    }
    CHECK(served.service.endings.empty());
}

TEST_CASE("a peer that takes some of its answers is not idle, one that takes none is") {
    Served served{with_idle_timeout(std::chrono::milliseconds{50})};
    const std::string large(64'000'000, 'l');
    served.service.answer = [&](Connection& connection, Message) {
        (void)connection.send(bytes_of(large));
    };
    Peer peer = served.connect_and_open();
    peer.send("?\n");
    const auto end = epoll::Clock::now() + std::chrono::milliseconds{200};
    while (epoll::Clock::now() < end) {
        peer.receive_some(100'000);  // the kernel reports room by the megabyte
        served.reactor.run_turn(epoll::Timeout::after(std::chrono::milliseconds{1}));
    }
    CHECK(served.service.endings.empty());
    REQUIRE(served.until_ended());  // now it takes none
    CHECK(served.service.endings.front() == Ending{CloseReason::idle, 0});
}

TEST_CASE("a reset is a failure with its errno") {
    Served served{lines()};
    Peer peer = served.connect_and_open();
    peer.send("fragment");
    served.reactor.run_turn(epoll::Timeout::none());
    peer.reset();
    REQUIRE(served.until_ended());
    CHECK(served.service.endings.front() == Ending{CloseReason::failed, ECONNRESET});
    CHECK(served.server->statistics().failed == 1);
}

TEST_CASE("a handler without memory fails its connection, and only that") {
    Served served{lines()};
    SUBCASE("on_open") {
        served.service.inside_open = [](Connection&) { throw std::bad_alloc(); };
    }
    SUBCASE("on_message") {
        served.service.answer = [](Connection&, Message) { throw std::bad_alloc(); };
    }
    Peer peer = served.connect();
    peer.send("?\n");
    REQUIRE(served.until_ended());
    CHECK(served.service.endings.front() == Ending{CloseReason::failed, ENOMEM});
    CHECK(served.server->statistics().failed == 1);
    CHECK(served.service.attachments == 0);

    served.service.inside_open = nullptr;
    served.service.answer = testing::echo;
    Peer next = served.connect();
    next.send("well\n");
    REQUIRE(served.until_received(next, "well\n"));
}

TEST_CASE("a connection may be ended inside on_open") {
    Served served{lines()};
    std::string expected;
    SUBCASE("by close") {
        served.service.inside_open = [](Connection& c) { c.close(); };
    }
    SUBCASE("by abort") {
        served.service.inside_open = [](Connection& c) { c.abort(); };
    }
    SUBCASE("after a greeting") {
        expected = "hello and goodbye\n";
        served.service.inside_open = [](Connection& c) {
            (void)c.send(bytes_of("hello and goodbye"));
            c.close();
        };
    }
    Peer peer = served.connect();
    REQUIRE(served.until([&] { return peer.has_ended(); }));
    CHECK(peer.received() == expected);
    peer.close();
    REQUIRE(served.until_ended());
    CHECK(served.service.endings.front() == Ending{CloseReason::closed, 0});
    CHECK(served.service.attachments == 0);
}

TEST_CASE("a connection knows its peer and may speak first") {
    Served served{lines()};
    std::string peer_name;
    served.service.inside_open = [&](Connection& connection) {
        peer_name = connection.peer().to_string();
        (void)connection.send(bytes_of("welcome"));
    };
    Peer peer = served.connect();
    REQUIRE(served.until_received(peer, "welcome\n"));
    CHECK(peer_name == epoll::Address::local_of(peer.fd()).to_string());
    CHECK_FALSE(served.service.last->is_closing());
}
