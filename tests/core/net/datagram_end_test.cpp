#include <epoll/net/datagram.hpp>

#include <cerrno>
#include <memory>
#include <new>

#include <doctest/doctest.h>
#include <sys/socket.h>

#include "tests/core/net/datagram_link.hpp"
#include "tests/core/net/loopback.hpp"
#include "tests/core/net/system_calls.hpp"

// How a Datagram ends, and what is done to it inside its callbacks.

using epoll::Address;
using epoll::Datagram;
using epoll::DatagramPool;
using epoll::OwnedFd;
using testing::bytes_of;
using testing::DatagramLink;
using testing::DatagramRecorder;
using testing::make_bound_datagrams;
using testing::turn_until;

TEST_CASE("close() ends in a later turn") {
    DatagramLink link;
    link.socket().close();
    link.socket().close();
    CHECK(link.handler.closed == 0);
    CHECK_FALSE(link.socket().is_open());
    CHECK(link.socket().is_closing());
    CHECK(link.socket().send(bytes_of("late"), link.peer_address()) == EPIPE);
    link.turn();
    CHECK(link.handler.closed == 1);
    CHECK(link.handler.close_error == 0);
    CHECK(link.socket().fd() == -1);
}

TEST_CASE("close() sends what is queued first, and what is queued meanwhile") {
    DatagramLink link;
    testing::sendto_error = EAGAIN;
    CHECK(link.socket().send(bytes_of("first"), link.peer_address()) == 0);
    link.socket().close();
    CHECK(link.socket().is_open());
    CHECK(link.socket().send(bytes_of("second"), link.peer_address()) == 0);
    link.handler.destroys_when_closed = true;
    link.turn();
    CHECK(link.handler.closed == 1);
    CHECK(link.handler.socket == nullptr);
    CHECK(link.take() == "first");
    CHECK(link.take() == "second");
}

TEST_CASE("abort() drops what is queued") {
    DatagramLink link;
    testing::sendto_error = EAGAIN;
    CHECK(link.socket().send(bytes_of("first"), link.peer_address()) == 0);
    link.socket().abort(EIO);
    link.turn();
    CHECK(link.handler.closed == 1);
    CHECK(link.handler.close_error == EIO);
    CHECK(link.take() == "nothing");
}

TEST_CASE("abort() inside every callback") {
    DatagramLink link;
    const auto abort = [&] { link.socket().abort(0); };
    testing::sendto_error = EAGAIN;
    CHECK(link.socket().send(bytes_of("a"), link.peer_address()) == 0);
    SUBCASE("on_datagram") {
        link.handler.inside_datagram = abort;
        link.arrive("x");
        link.arrive("y");
    }
    SUBCASE("on_error, of a read") {
        link.handler.inside_error = abort;
        link.arrive("x");
        testing::recvmmsg_error = ENOBUFS;
    }
    SUBCASE("on_error, of a datagram") {
        link.handler.inside_error = abort;
        testing::sendmmsg_error = ENOBUFS;
    }
    SUBCASE("on_progress") { link.handler.inside_progress = abort; }
    REQUIRE(link.until([&] { return link.handler.closed == 1; }));
    CHECK(link.handler.received.size() <= 1);
    CHECK(link.handler.close_error == 0);
}

TEST_CASE("a handler without memory aborts the socket") {
    DatagramLink link;
    link.handler.inside_datagram = [] { throw std::bad_alloc{}; };
    link.arrive("x");
    REQUIRE(link.until([&] { return link.handler.closed == 1; }));
    CHECK(link.handler.close_error == ENOMEM);
}

TEST_CASE("a socket of somebody else stays open") {
    epoll::Reactor reactor;
    DatagramPool pool;
    DatagramRecorder handler;
    const OwnedFd socket = make_bound_datagrams();
    handler.socket =
        std::make_unique<Datagram>(reactor, epoll::DisownedFd{socket.get()}, pool, handler);
    handler.socket->close();
    REQUIRE(turn_until(reactor, [&] { return handler.closed == 1; }));
    CHECK(Address::local_of(socket.get()).family() == AF_INET);
}
