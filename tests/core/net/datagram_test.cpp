#include <epoll/net/datagram.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/core/net/datagram_link.hpp"
#include "tests/core/net/loopback.hpp"
#include "tests/core/net/system_calls.hpp"

using epoll::Address;
using epoll::DatagramPool;
using epoll::OwnedFd;
using testing::bytes_of;
using testing::checked;
using testing::connect_datagrams;
using testing::DatagramLink;
using testing::k_handful;
using testing::make_bound_datagrams;
using testing::make_datagram_pair;
using testing::turns_during;

TEST_CASE("datagrams arrive one by one, with who sent them") {
    DatagramLink link;
    link.arrive("one");
    link.arrive("");
    link.arrive("three");
    REQUIRE(link.until_received(3));
    CHECK(link.handler.received == std::vector<std::string>{"one", "", "three"});
    CHECK(link.handler.peers[0].to_string() == link.peer_address().to_string());
}

TEST_CASE("a turn takes a batch and no more") {
    DatagramLink link;
    for (std::size_t i = 0; i != DatagramPool::k_batch + 5; ++i) {
        link.arrive(std::to_string(i));
    }
    link.turn();
    CHECK(link.handler.received.size() == DatagramPool::k_batch);
    link.turn();
    CHECK(link.handler.received.size() == DatagramPool::k_batch + 5);
    CHECK(link.handler.received.back() == std::to_string(DatagramPool::k_batch + 4));
}

TEST_CASE(
    "a socket with little to read is read one at a time, and asked for a batch now and then") {
    DatagramLink link;
    link.arrive("first");
    link.turn();
    const int before = testing::datagram_receipts;
    for (int i = 0; i != 34; ++i) {
        link.arrive("more");
        link.turn();
    }
    CHECK(link.handler.received.size() == 35);
    CHECK(testing::datagram_receipts - before == 2);
}

TEST_CASE("the largest datagrams arrive whole") {
    SUBCASE("over UDP") {
        DatagramLink link;
        for (int i = 0; i != 3; ++i) {
            link.arrive(std::string(65'507, static_cast<char>('a' + i)));
        }
        REQUIRE(link.until_received(3));
        CHECK(link.handler.received[2] == std::string(65'507, 'c'));
    }
    SUBCASE("over a Unix socket") {
        DatagramLink link{make_datagram_pair()};
        const std::string large(150'000, 'u');
        CHECK(::send(link.peer.get(), large.data(), large.size(), 0) == 150'000);
        REQUIRE(link.until_received(1));
        CHECK(link.handler.received[0] == large);
        CHECK(link.handler.peers[0].size() <= sizeof(sa_family_t));
    }
}

TEST_CASE("nothing is read before start_reading() and after stop_reading()") {
    DatagramLink link;
    link.socket().stop_reading();
    link.arrive("later");
    CHECK(turns_during(link.reactor, testing::k_watch) <= k_handful);
    CHECK(link.handler.received.empty());
    link.socket().start_reading();
    CHECK(link.until_received(1));
}

TEST_CASE("what is left of a batch waits, in order") {
    DatagramLink link;
    for (const char* const text : {"a", "b", "c", "d"}) {
        link.arrive(text);
    }
    SUBCASE("until the next turn, when the handler wants no more") {
        link.handler.goes_on = false;
        link.turn();
        CHECK(link.handler.received.size() == 1);
        link.turn();
        CHECK(link.handler.received.size() == 2);
        link.handler.goes_on = true;
        link.turn();
        CHECK(link.handler.received == std::vector<std::string>{"a", "b", "c", "d"});
    }
    SUBCASE("for start_reading(), after stop_reading()") {
        link.handler.inside_datagram = [&] { link.socket().stop_reading(); };
        link.turn();
        link.turn();
        CHECK(link.handler.received.size() == 1);
        link.arrive("e");
        link.handler.inside_datagram = nullptr;
        link.socket().start_reading();
        REQUIRE(link.until_received(5));
        CHECK(link.handler.received == std::vector<std::string>{"a", "b", "c", "d", "e"});
    }
    SUBCASE("but not for who has closed") {
        link.handler.inside_datagram = [&] { link.socket().close(); };
        link.turn();
        link.turn();
        CHECK(link.handler.received.size() == 1);
        CHECK(link.handler.closed == 1);
    }
}

TEST_CASE("sending: at once, to an address or to where the socket is connected") {
    DatagramLink link;
    CHECK(link.socket().send(bytes_of("hello"), link.peer_address()) == 0);
    CHECK(link.take() == "hello");
    CHECK(link.socket().send(bytes_of(""), link.peer_address()) == 0);
    CHECK(link.take().empty());
    CHECK(link.socket().send(bytes_of("nobody"), Address{}) == EDESTADDRREQ);
    checked(::connect(link.socket().fd(), link.peer_address().data(), link.peer_address().size()),
            "connect");
    CHECK(link.socket().send(bytes_of("you"), Address{}) == 0);
    CHECK(link.take() == "you");
    CHECK(link.socket().unsent() == 0);
}

TEST_CASE("an error of send() is told to its caller, and the socket goes on") {
    DatagramLink link;
    CHECK(link.socket().send(bytes_of(std::string(70'000, 'x')), link.peer_address()) == EMSGSIZE);
    for (const int error : {ENOBUFS, ENETUNREACH, EPERM}) {
        testing::sendto_error = error;
        CHECK(link.socket().send(bytes_of("lost"), link.peer_address()) == error);
    }
    testing::sendto_error = EINTR;
    CHECK(link.socket().send(bytes_of("sent"), link.peer_address()) == 0);
    CHECK(link.take() == "sent");
    CHECK(link.handler.errors.empty());
}

TEST_CASE("a refused datagram is an error of the next call, and of nothing else") {
    OwnedFd ours = make_bound_datagrams();
    Address gone;
    {
        const OwnedFd nobody = make_bound_datagrams();
        gone = Address::local_of(nobody.get());
    }
    connect_datagrams(ours, gone);
    DatagramLink link{std::move(ours), make_bound_datagrams()};
    CHECK(link.socket().send(bytes_of("one"), Address{}) == 0);
    REQUIRE(link.until([&] { return !link.handler.errors.empty(); }));
    CHECK(link.handler.errors == std::vector{ECONNREFUSED});
    CHECK(link.socket().is_open());
    CHECK(link.socket().send(bytes_of("two"), Address{}) == 0);
    CHECK(link.socket().send(bytes_of("three"), Address{}) == ECONNREFUSED);
}

TEST_CASE("what the kernel does not take is queued and sent in order with one call") {
    DatagramLink link;
    testing::sendto_error = EAGAIN;
    CHECK(link.socket().send(bytes_of("first"), link.peer_address()) == 0);
    int released = 0;
    epoll::OwnedBytes owned{bytes_of("second"), &released,
                            [](void* count) noexcept { ++*static_cast<int*>(count); }};
    CHECK(link.socket().send(std::move(owned), link.peer_address()) == 0);
    CHECK(link.socket().send(bytes_of(""), link.peer_address()) == 0);
    CHECK(link.socket().unsent() == 3);
    CHECK(link.socket().unsent_bytes() == 11);
    CHECK(link.take() == "nothing");
    CHECK(released == 0);
    const int before = testing::datagram_sends;
    link.turn();
    CHECK(testing::datagram_sends - before == 1);
    CHECK(link.handler.progress == 1);
    CHECK(link.socket().unsent() == 0);
    CHECK(link.socket().unsent_bytes() == 0);
    CHECK(released == 1);
    CHECK(link.take() == "first");
    CHECK(link.take() == "second");
    CHECK(link.take().empty());
    link.turn();
    CHECK(link.handler.progress == 1);
}

TEST_CASE("sendmmsg that fails: the datagram is lost or waits, by the error") {
    DatagramLink link;
    testing::sendto_error = EAGAIN;
    CHECK(link.socket().send(bytes_of("a"), link.peer_address()) == 0);
    CHECK(link.socket().send(bytes_of("b"), link.peer_address()) == 0);
    SUBCASE("interrupted") {
        testing::sendmmsg_error = EINTR;
        link.turn();
        CHECK(link.take() == "a");
        CHECK(link.handler.errors.empty());
    }
    SUBCASE("not now") {
        testing::sendmmsg_error = EAGAIN;
        link.turn();
        CHECK(link.socket().unsent() == 2);
        CHECK(link.handler.progress == 0);
        REQUIRE(link.until([&] { return link.socket().unsent() == 0; }));
        CHECK(link.take() == "a");
        CHECK(link.handler.errors.empty());
    }
    SUBCASE("an error") {
        for (const int error : {ENOBUFS, EMSGSIZE, ECONNREFUSED}) {
            (void)link.socket().send(bytes_of("more"), link.peer_address());
            testing::sendmmsg_error = error;
            link.turn();
            CHECK(link.handler.errors.back() == error);
        }
        CHECK(link.handler.errors.size() == 3);
        REQUIRE(link.until([&] { return link.socket().unsent() == 0; }));
        CHECK(link.take() == "more");
    }
    SUBCASE("an error of one in the middle") {
        CHECK(link.socket().send(bytes_of(std::string(70'000, 'x')), link.peer_address()) == 0);
        CHECK(link.socket().send(bytes_of("c"), link.peer_address()) == 0);
        REQUIRE(link.until([&] { return link.socket().unsent() == 0; }));
        CHECK(link.handler.errors == std::vector{EMSGSIZE});
        CHECK(link.take() == "a");
        CHECK(link.take() == "b");
        CHECK(link.take() == "c");
    }
}

TEST_CASE("reading that fails: an error is told, and reading goes on") {
    DatagramLink link;
    SUBCASE("recvmmsg") {
        for (const int error : {ECONNREFUSED, ENOBUFS}) {
            link.arrive("x");
            testing::recvmmsg_error = error;
            link.turn();
            CHECK(link.handler.errors.back() == error);
        }
        for (const int error : {EAGAIN, EINTR}) {
            testing::recvmmsg_error = error;
            link.turn();
        }
    }
    SUBCASE("recvfrom") {
        link.arrive("x");
        link.turn();
        link.arrive("x");
        for (const int error : {ECONNREFUSED, ENOBUFS, EAGAIN, EINTR}) {
            testing::recvfrom_error = error;
            link.turn();
        }
    }
    REQUIRE(link.until_received(2));
    CHECK(link.handler.errors == std::vector{ECONNREFUSED, ENOBUFS});
}

TEST_CASE("a Unix peer that does not read: the queue waits without spinning") {
    DatagramLink link{make_datagram_pair()};
    while (link.socket().unsent() == 0) {
        REQUIRE(link.socket().send(bytes_of("filler"), Address{}) == 0);
    }
    REQUIRE(link.socket().send(bytes_of("last"), Address{}) == 0);
    CHECK(turns_during(link.reactor, std::chrono::milliseconds{50}) <= 120);
    CHECK(link.socket().unsent() == 2);
    std::string taken;
    REQUIRE(link.until([&] {
        for (std::string text = link.take(); text != "nothing"; text = link.take()) {
            taken = text;
        }
        return taken == "last";
    }));
    CHECK(link.socket().unsent() == 0);
}

TEST_CASE("datagrams that the kernel has merged are told apart") {
    constexpr int k_gro = 104, k_segment = 103;
    OwnedFd ours = make_bound_datagrams();
    OwnedFd theirs = make_bound_datagrams();
    const int on = 1, size = 1000;
    if (::setsockopt(ours.get(), IPPROTO_UDP, k_gro, &on, sizeof on) != 0 ||
        ::setsockopt(theirs.get(), IPPROTO_UDP, k_segment, &size, sizeof size) != 0) {
        MESSAGE("this kernel has no UDP_GRO");
        return;
    }
    DatagramLink link{std::move(ours), std::move(theirs)};
    std::string sent;
    for (int i = 0; i != 25; ++i) {
        sent.append(100, static_cast<char>('a' + i));
    }
    const auto check = [&] {
        link.arrive(sent);
        REQUIRE(link.until_received(3));
        CHECK(link.handler.received[0] == sent.substr(0, 1000));
        CHECK(link.handler.received[1] == sent.substr(1000, 1000));
        CHECK(link.handler.received[2] == sent.substr(2000));
        CHECK(link.handler.peers[2].to_string() == link.peer_address().to_string());
    };
    check();
    link.handler.received.clear();
    link.handler.goes_on = false;
    check();
}

TEST_CASE("bytes are counted when the kernel has taken or given them") {
    DatagramLink link;
    const epoll::Traffic& traffic = link.reactor.traffic();
    link.arrive("seven..");
    link.arrive("four");
    REQUIRE(link.until_received(2));
    CHECK(traffic.bytes_received.value() == 11);
    REQUIRE(link.socket().send(bytes_of("answer"), link.peer_address()) == 0);
    CHECK(traffic.bytes_sent.value() == 6);
}

TEST_CASE("queued bytes are counted when they go") {
    DatagramLink link{make_datagram_pair()};
    const epoll::Traffic& traffic = link.reactor.traffic();
    std::uint64_t size = 0;
    while (link.socket().unsent() == 0) {
        REQUIRE(link.socket().send(bytes_of("filler"), Address{}) == 0);
        size += 6;
    }
    CHECK(traffic.bytes_sent.value() == size - 6);
    REQUIRE(link.until([&] { return link.take() == "nothing" && link.socket().unsent() == 0; }));
    CHECK(traffic.bytes_sent.value() == size);
}
