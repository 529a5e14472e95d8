#include <epoll/loop/reactor.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "../poll/pair.hpp"
#include "probe.hpp"

// Reactor::interrupt(): the turn ends after the present callback, and nothing is lost.

namespace epoll {
namespace {

using namespace std::chrono_literals;

using Log = std::vector<std::string>;

TEST_CASE("an interrupted deferred phase: the rest runs first in the next turn, in order") {
    const Pair pair;
    Reactor reactor;
    Log log;
    Task flush{[&] { log.emplace_back("flush"); }};
    Task late{[&] { log.emplace_back("late"); }};
    Task first{[&] {
        log.emplace_back("first");
        reactor.before_wait(flush);
        reactor.defer(late);
        reactor.interrupt();
        log.emplace_back("until it returns");
    }};
    Task second{[&] { log.emplace_back("second"); }};
    Task third{[&] { log.emplace_back("third"); }};
    Probe probe{reactor, [&](Events) { log.emplace_back("ready"); }};
    Alarm timer{[&] {
        log.emplace_back("timer");
        reactor.stop();
    }};
    probe.join(pair.near.get(), Events::readable);
    pair.send_from_far();
    reactor.timers().start(timer, reactor.now());
    reactor.defer(first);
    reactor.defer(second);
    reactor.defer(third);
    run_with_limit(reactor);
    CHECK(log == Log{"first", "until it returns", "flush"});
    CHECK(reactor.statistics().turns == 1);
    CHECK(reactor.statistics().deferred == 1);
    CHECK(second.is_scheduled());
    CHECK(timer.is_started());
    log.clear();
    run_with_limit(reactor);
    CHECK(log == Log{"second", "third", "late", "ready", "timer"});
    CHECK(reactor.statistics().turns == 2);
}

TEST_CASE("what an interruption left may be cancelled, and destroyed") {
    Reactor reactor;
    int calls = 0;
    Task first{[&] { reactor.interrupt(); }};
    Task cancelled{[&] { ++calls; }};
    auto destroyed = std::make_unique<Task>([&] { ++calls; });
    Task last{[&] { calls += 10; }};
    reactor.defer(first);
    reactor.defer(cancelled);
    reactor.defer(*destroyed);
    reactor.defer(last);
    turn(reactor);
    cancelled.cancel();
    destroyed.reset();
    turn(reactor);
    CHECK(calls == 10);
}

TEST_CASE("an interrupted dispatch: the other sources are called in the next turn") {
    const Pair one;
    const Pair other;
    Reactor reactor;
    int calls = 0;
    const auto interrupt = [&](Events) {
        if (++calls == 1) {
            reactor.interrupt();
        }
    };
    Probe first{reactor, interrupt};
    Probe second{reactor, interrupt};
    Alarm timer{[] {}};
    first.join(one.near.get(), Events::readable);
    second.join(other.near.get(), Events::readable);
    one.send_from_far();
    other.send_from_far();
    reactor.timers().start(timer, reactor.now());
    turn(reactor);
    CHECK(calls == 1);
    CHECK(timer.is_started());
    reactor.run_turn(Timeout::forever());
    CHECK(first.calls >= 1);
    CHECK(second.calls >= 1);
    CHECK_FALSE(timer.is_started());
}

TEST_CASE("a failure that only the reactor knows of outlives an interruption") {
    Pair one;
    Pair other;
    Reactor reactor;
    Probe first{reactor, [&](Events) { reactor.interrupt(); }};
    Probe second{reactor};
    first.join(one.near.get(), Events::none);
    second.join(other.near.get(), Events::none);
    (void)one.near.close();
    (void)other.near.close();
    first.want(Events::readable);
    second.want(Events::readable);
    turn(reactor);
    CHECK(first.calls == 1);
    CHECK(second.calls == 0);
    reactor.run_turn(Timeout::forever());
    CHECK(second.calls == 1);
    CHECK(second.seen == (Events::error | Events::readable));
    CHECK(first.calls == 1);
}

TEST_CASE("who was ready at an interruption and leaves is not called") {
    const Pair one;
    const Pair other;
    Reactor reactor;
    std::vector<std::unique_ptr<Probe>> probes;
    int calls = 0;
    for (const Pair* const pair : {&one, &other}) {
        probes.push_back(std::make_unique<Probe>(reactor, [&](Events) {
            ++calls;
            reactor.interrupt();
        }));
        probes.back()->join(pair->near.get(), Events::readable);
        pair->send_from_far();
    }
    turn(reactor);
    CHECK(calls == 1);
    probes.clear();
    turn(reactor);
    CHECK(calls == 1);
}

TEST_CASE("interrupted timers stay due and fire in the next turn, in order") {
    Reactor reactor;
    Log log;
    Alarm again{[&] { log.emplace_back("again"); }};
    Alarm first{[&] {
        log.emplace_back("first");
        reactor.timers().start(again, reactor.now());
        reactor.interrupt();
    }};
    Alarm second{[&] { log.emplace_back("second"); }};
    Alarm third{[&] { log.emplace_back("third"); }};
    for (Alarm* const alarm : {&first, &second, &third}) {
        reactor.timers().start(*alarm, reactor.now());
    }
    reactor.run();
    CHECK(log == Log{"first"});
    CHECK(reactor.statistics().timers == 1);
    CHECK(second.is_started());
    reactor.run_turn(Timeout::forever());
    CHECK(log == Log{"first", "second", "third", "again"});
}

TEST_CASE("interrupted while it finishes a turn, a reactor flushes the rest and returns") {
    Reactor reactor;
    Log log;
    Task interrupting{[&] {
        log.emplace_back("interrupting");
        reactor.interrupt();
    }};
    Task behind{[&] { log.emplace_back("behind"); }};
    Task deferred{[&] { log.emplace_back("deferred"); }};
    SUBCASE("asked for in the turn") {
        Task asking{[&] {
            reactor.before_wait(interrupting);
            reactor.before_wait(behind);
        }};
        reactor.defer(asking);
        reactor.run();
    }
    SUBCASE("asked for between two turns: the turn waits for nothing and does nothing") {
        reactor.before_wait(interrupting);
        reactor.before_wait(behind);
        SUBCASE("with something deferred") { reactor.defer(deferred); }
        SUBCASE("with nothing to do") {}
        reactor.run();
    }
    CHECK(log == Log{"interrupting", "behind"});
}

class Interrupter final : public WaitObserver {
  public:
    explicit Interrupter(Reactor& reactor) : reactor_(reactor) {}
    enum class Place { on_block, on_unblock, prefers_polling } place{};
    void on_block() noexcept override { interrupt_in(Place::on_block); }
    void on_unblock() noexcept override { interrupt_in(Place::on_unblock); }
    bool prefers_polling() noexcept override {
        interrupt_in(Place::prefers_polling);
        return place == Place::prefers_polling;
    }

  private:
    void interrupt_in(Place here) noexcept {
        if (here == place) {
            reactor_.interrupt();
        }
    }
    Reactor& reactor_;
};

TEST_CASE("interrupted by the observer of its wait, a reactor does not wait on and runs nothing") {
    const Pair pair;
    Reactor reactor;
    Interrupter observer{reactor};
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    SUBCASE("on_block") { observer.place = Interrupter::Place::on_block; }
    SUBCASE("prefers_polling") { observer.place = Interrupter::Place::prefers_polling; }
    SUBCASE("on_unblock, with something ready") {
        observer.place = Interrupter::Place::on_unblock;
        pair.send_from_far();
    }
    reactor.set_observer(&observer);
    const TimePoint begin = Clock::now();
    run_with_limit(reactor);
    CHECK(Clock::now() - begin < 5s);
    CHECK(probe.calls == 0);
    reactor.set_observer(nullptr);
    pair.send_from_far();
    reactor.run_turn(Timeout::forever());
    CHECK(probe.calls == 1);
}

TEST_CASE("interrupt outside of a turn is nothing") {
    Reactor reactor;
    int calls = 0;
    Alarm timer{[&] { ++calls; }};
    Task task{[&] {
        ++calls;
        reactor.stop();
    }};
    reactor.defer(task);
    reactor.timers().start(timer, reactor.now());
    reactor.interrupt();
    run_with_limit(reactor);
    CHECK(calls == 2);
}

TEST_CASE("an interruption takes the place of a stop, and leaves none behind") {
    Reactor reactor;
    int calls = 0;
    Task interrupting{[&] {
        reactor.stop();
        reactor.interrupt();
    }};
    Task* self = nullptr;
    Task last{[&] {
        if (++calls == 3) {
            reactor.stop();
        } else {
            reactor.defer(*self);
        }
    }};
    self = &last;
    reactor.defer(interrupting);
    reactor.defer(last);
    run_with_limit(reactor);
    CHECK(calls == 0);
    run_with_limit(reactor);
    CHECK(calls == 3);
}

}  // namespace
}  // namespace epoll
