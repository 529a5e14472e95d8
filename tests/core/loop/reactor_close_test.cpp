#include <epoll/loop/reactor.hpp>

#include <memory>
#include <system_error>

#include <fcntl.h>

#include <doctest/doctest.h>

#include "../poll/pair.hpp"
#include "probe.hpp"

// Reactor::close(): the end comes before the end of those who use it.

namespace epoll {
namespace {

/// The lowest descriptor that is free.
int next_descriptor() {
    OwnedFd free{::fcntl(0, F_DUPFD_CLOEXEC, 0)};
    return free.get();
}

TEST_CASE("close() gives the descriptors back and drops what is deferred") {
    const int before = next_descriptor();
    int ran = 0;
    Task task{[&] { ++ran; }};
    Task posted{[&] { ++ran; }};
    Reactor reactor;
    reactor.defer(task);
    reactor.post(posted);
    reactor.close();
    CHECK(next_descriptor() == before);
    CHECK_FALSE(task.is_scheduled());
    CHECK_FALSE(posted.is_scheduled());
    CHECK(ran == 0);
    CHECK_THROWS_AS(reactor.run_turn(Timeout::none()), std::system_error);
}

TEST_CASE("what was posted to a closed reactor may be destroyed or given to another") {
    auto task = std::make_unique<Task>([] {});
    int ran = 0;
    Task other{[&] { ++ran; }};
    {
        Reactor reactor;
        reactor.post(*task);
        reactor.post(other);
        reactor.close();
        task.reset();
    }
    Reactor next;
    next.post(other);
    next.run_turn(Timeout::none());
    CHECK(ran == 1);
}

TEST_CASE("what was posted and stood in the queue at close() may be given to another reactor") {
    int ran = 0;
    Task posted{[&] { ++ran; }};
    Task deferred{[] {}};
    {
        Reactor reactor;
        reactor.post(posted);
        reactor.defer(deferred);  // stands behind what was posted, which is taken for that
        reactor.close();
    }
    Reactor next;
    next.post(posted);
    next.run_turn(Timeout::none());
    CHECK(ran == 1);
}

TEST_CASE("sources leave and timers stop after close()") {
    const Pair pair;
    Reactor reactor;
    auto probe = std::make_unique<Probe>(reactor);
    auto alarm = std::make_unique<Alarm>([] {});
    probe->join(pair.near.get(), Events::readable);
    reactor.timers().start(*alarm, Clock::now());
    reactor.close();
    probe->want(Events::writable);
    probe->leave();
    CHECK_FALSE(probe->is_joined());
    alarm->stop();
    CHECK_FALSE(alarm->is_started());
    reactor.close();
}

}  // namespace
}  // namespace epoll
