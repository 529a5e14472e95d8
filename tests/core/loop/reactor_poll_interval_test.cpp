#include <epoll/loop/reactor.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

#include <doctest/doctest.h>

#include "../poll/pair.hpp"
#include "probe.hpp"

// Reactor::set_poll_interval(): a loop with work at hand asks the kernel now and then only.

namespace epoll {
namespace {

using namespace std::chrono_literals;

/// Hands itself on, turn by turn, until a condition holds; then it stops the reactor.
class Chain {
  public:
    Chain(Reactor& reactor, std::function<bool()> is_over)
        : reactor_(reactor), is_over_(std::move(is_over)) {}

    void run() {
        reactor_.defer(step_);
        run_with_limit(reactor_);
    }

    int steps = 0;

  private:
    void step() noexcept {
        ++steps;
        if (is_over_()) {
            reactor_.stop();
        } else {
            reactor_.defer(step_);
        }
    }
    Reactor& reactor_;
    std::function<bool()> is_over_;
    MemberDeferred<Chain, &Chain::step> step_{*this};
};

TEST_CASE("every turn asks, unless told otherwise") {
    Reactor reactor;
    Chain chain{reactor, [&] { return chain.steps == 100; }};
    chain.run();
    CHECK(reactor.statistics().turns == 100);
    CHECK(reactor.statistics().waits == 100);
    SUBCASE("told, it asks in the first turn of a run") {
        reactor.set_poll_interval(1h);
        chain.steps = 0;
        chain.run();
        CHECK(reactor.statistics().turns == 200);
        CHECK(reactor.statistics().waits == 101);
        chain.steps = 0;
        chain.run();
        CHECK(reactor.statistics().waits == 102);
    }
    SUBCASE("told, it asks in every run_turn") {
        reactor.set_poll_interval(1h);
        Task task{[] {}};
        for (int i = 0; i != 10; ++i) {
            reactor.defer(task);
            turn(reactor);
        }
        CHECK(reactor.statistics().waits == 110);
    }
    SUBCASE("told to ask always again") {
        reactor.set_poll_interval(1h);
        reactor.set_poll_interval(Duration::zero());
        chain.steps = 0;
        chain.run();
        CHECK(reactor.statistics().waits == 200);
    }
}

TEST_CASE("when the interval has passed, the kernel is asked") {
    const Pair pair;
    Reactor reactor;
    reactor.set_poll_interval(50ms);
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    Chain chain{reactor, [&] {
                    if (chain.steps == 1) {
                        pair.send_from_far();
                    }
                    return probe.calls != 0;
                }};
    const TimePoint begin = Clock::now();
    chain.run();
    CHECK(Clock::now() - begin >= 50ms);
    CHECK(probe.calls == 1);
    CHECK(reactor.statistics().waits == 2);
}

TEST_CASE("items that take long have the clock read in every turn") {
    constexpr Duration interval = 1ms;
    Reactor reactor;
    reactor.set_poll_interval(interval);
    Chain chain{reactor, [&] {
                    const TimePoint begin = Clock::now();
                    while (Clock::now() - begin < interval) {
                    }
                    return chain.steps == 5;
                }};
    chain.run();
    CHECK(reactor.statistics().waits == 5);
}

TEST_CASE("between two waits, timers are fired and posted items run, and now() goes on") {
    Reactor reactor;
    reactor.set_poll_interval(1h);
    bool is_over = false;
    Chain chain{reactor, [&] { return is_over; }};
    SUBCASE("a timer") {
        Alarm timer{[&] { is_over = true; }};
        const TimePoint due = Clock::now() + 1ms;
        reactor.timers().start(timer, due);
        chain.run();
        CHECK(reactor.now() >= due);
    }
    SUBCASE("a posted item") {
        Task task{[&] { is_over = true; }};
        std::thread other;
        Task starting{[&] { other = std::thread{[&] { reactor.post(task); }}; }};
        reactor.defer(starting);
        chain.run();
        other.join();
    }
    CHECK(is_over);
    CHECK(reactor.statistics().waits == 1);
}

TEST_CASE("posted items count as work at hand") {
    Reactor reactor;
    reactor.set_poll_interval(1h);
    int calls = 0;
    Task* self = nullptr;
    Task task{[&] {
        if (++calls == 100) {
            reactor.stop();
        } else {
            reactor.post(*self);
        }
    }};
    self = &task;
    reactor.post(task);
    run_with_limit(reactor);
    CHECK(calls == 100);
    CHECK(reactor.statistics().waits == 1);
}

TEST_CASE("with nothing at hand every turn waits, whatever the interval") {
    const Pair pair;
    Reactor reactor;
    reactor.set_poll_interval(1h);
    Probe probe{reactor};
    probe.action([&](Events) {
        if (probe.calls == 10) {
            reactor.stop();
        }
    });
    probe.join(pair.near.get(), Events::readable);
    pair.send_from_far();
    run_with_limit(reactor);
    CHECK(reactor.statistics().waits == 10);
}

TEST_CASE("the kernel hears of a new wish at once") {
    const Pair pair;
    Reactor reactor;
    reactor.set_poll_interval(1h);
    Probe probe{reactor};
    std::function<void()> wish;
    SUBCASE("of a source that has joined before") {
        probe.join(pair.near.get(), Events::none);
        wish = [&] { probe.want(Events::writable); };
    }
    SUBCASE("of a source that joins") {
        wish = [&] { probe.join(pair.near.get(), Events::writable); };
    }
    SUBCASE("of a source that is renewed") {
        probe.join(pair.near.get(), Events::none);
        wish = [&] { CHECK(probe.renew(Events::writable)); };
    }
    Chain chain{reactor, [&] {
                    if (chain.steps == 5) {
                        wish();
                    }
                    return chain.steps == 10;
                }};
    probe.action([&](Events) {
        CHECK(chain.steps == 6);
        probe.unwant(Events::writable);
    });
    chain.run();
    CHECK(probe.seen == Events::writable);
    CHECK(probe.calls == 1);
    CHECK(reactor.statistics().waits == 2);
}

}  // namespace
}  // namespace epoll
