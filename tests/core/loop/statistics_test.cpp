#include <epoll/loop/statistics.hpp>

#include <chrono>
#include <cstdint>
#include <numeric>
#include <optional>

#include <doctest/doctest.h>

#include "../poll/pair.hpp"
#include "probe.hpp"

// What a Reactor counts of itself.

namespace epoll {
namespace {

using namespace std::chrono_literals;

std::uint64_t count_of(const HistogramCounts& counts) {
    return std::accumulate(counts.buckets.begin(), counts.buckets.end(), std::uint64_t{0});
}

Duration nanoseconds(std::uint64_t count) { return Duration{static_cast<std::int64_t>(count)}; }

void spin(Duration duration) {
    for (const TimePoint end = Clock::now() + duration; Clock::now() < end;) {
    }
}

TEST_CASE("a new reactor has done nothing, and watches nothing") {
    const ReactorStatistics statistics = Reactor{}.statistics();
    CHECK(statistics.turns == 0);
    CHECK(statistics.watched == 0);
    CHECK(statistics.waiting == 0);
    CHECK(statistics.running == 0);
    CHECK(count_of(statistics.lateness) == 0);
    CHECK(count_of(statistics.stretches) == 0);
}

TEST_CASE("time is either waiting or running, and nothing is counted twice") {
    Reactor reactor;
    Alarm alarm{[&] { spin(5ms); }};
    const TimePoint begin = Clock::now();
    reactor.timers().start(alarm, begin + 50ms);
    reactor.run_turn(Timeout::forever());
    const Duration whole = Clock::now() - begin;
    const ReactorStatistics statistics = reactor.statistics();
    CHECK(nanoseconds(statistics.waiting) > 5ms);
    CHECK(nanoseconds(statistics.running) >= 5ms);
    CHECK(nanoseconds(statistics.waiting + statistics.running) <= whole);
    CHECK(statistics.stretches.sum == statistics.running);
}

TEST_CASE("the stretch before a wait and the one after it are two") {
    Reactor reactor;
    turn(reactor);
    CHECK(count_of(reactor.statistics().stretches) == 2);
}

TEST_CASE("what happens between two runs is nobody's time") {
    Reactor reactor;
    turn(reactor);
    spin(5ms);
    turn(reactor);
    CHECK(nanoseconds(reactor.statistics().running) < 5ms);
}

TEST_CASE("a timer is late by what the loop did before it came to its timers") {
    Reactor reactor;
    Alarm alarm{[] {}};
    Task task{[] { spin(3ms); }};
    SUBCASE("in the same turn") {
        reactor.timers().start(alarm, Clock::now());
        reactor.defer(task);
        turn(reactor);
    }
    SUBCASE("in the turn before") {
        reactor.timers().start(alarm, Clock::now() + 1h);
        reactor.defer(task);
        turn(reactor);
        reactor.timers().start(alarm, Clock::now() - 3ms);
        turn(reactor);
    }
    const HistogramCounts lateness = reactor.statistics().lateness;
    CHECK(count_of(lateness) == 1);
    CHECK(nanoseconds(lateness.sum) >= 3ms);
}

TEST_CASE("a timer that was due before the clock began is late since then") {
    TimerQueue queue;
    Alarm alarm{[] {}};
    queue.start(alarm, TimePoint::min());
    CHECK(queue.fire(TimePoint{7ns}) == 1);
    CHECK(queue.lateness().sum == 7);
}

TEST_CASE("the depth is that of the last turn, and the most there was is kept") {
    Reactor reactor;
    Task first{[] {}};
    Task second{[] {}};
    reactor.defer(first);
    reactor.defer(second);
    turn(reactor);
    CHECK(reactor.statistics().ready == 2);
    reactor.defer(first);
    turn(reactor);
    CHECK(reactor.statistics().ready == 1);
    CHECK(reactor.statistics().most_ready == 2);
    CHECK(reactor.calls() == 3);
}

TEST_CASE("sources are counted while they are joined, and when they are called") {
    Reactor reactor;
    Pair pair;
    std::optional<Probe> probe{std::in_place, reactor};
    probe->join(pair.near.get(), Events::writable);
    CHECK(reactor.statistics().watched == 1);
    turn(reactor);
    CHECK(reactor.statistics().dispatched == 1);
    probe.reset();
    CHECK(reactor.statistics().watched == 0);
}

TEST_CASE("a fork or a close leaves the count of sources right") {
    Reactor reactor;
    Pair pair;
    std::optional<Probe> probe{std::in_place, reactor};
    probe->join(pair.near.get(), Events::readable);
    SUBCASE("fork") { reactor.on_fork(); }
    SUBCASE("close") { reactor.close(); }
    CHECK(reactor.statistics().watched == 1);
    probe.reset();
    CHECK(reactor.statistics().watched == 0);
}

}  // namespace
}  // namespace epoll
