#include <epoll/loop/reactor.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "../poll/pair.hpp"
#include "../poll/refusal.hpp"
#include "probe.hpp"

namespace epoll {
namespace {

using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<Reactor> && !std::is_move_constructible_v<Reactor>);
static_assert(!std::is_copy_constructible_v<Task> && !std::is_move_constructible_v<Task>);

using Log = std::vector<std::string>;

TEST_CASE("a turn is collect, deferred, dispatch, timers, and then what comes before the wait") {
    const Pair pair;
    Reactor reactor;
    Log log;
    Alarm timer{[&] { log.emplace_back("timer"); }};
    Probe probe{reactor, [&](Events) { log.emplace_back("ready"); }};
    Task last{[&] { log.emplace_back("before wait"); }};
    Task first{[&] {
        log.emplace_back("deferred");
        reactor.before_wait(last);
    }};
    reactor.timers().start(timer, reactor.now());
    pair.send_from_far();
    probe.join(pair.near.get(), Events::readable);
    reactor.defer(first);
    turn(reactor);
    CHECK(log == Log{"deferred", "ready", "timer", "before wait"});
}

TEST_CASE("what a phase adds waits for the next turn") {
    const Pair pair;
    const Pair late;
    Reactor reactor;
    Log log;
    Task again{[&] { log.emplace_back("again"); }};
    Alarm timer_again{[&] { log.emplace_back("timer again"); }};
    Probe ready_late{reactor, [&](Events) { log.emplace_back("ready late"); }};
    ready_late.join(late.near.get(), Events::readable);
    SUBCASE("deferred by a deferred item") {
        Task first{[&] { reactor.defer(again); }};
        reactor.defer(first);
        turn(reactor);
        CHECK(log.empty());
        turn(reactor);
        CHECK(log == Log{"again"});
    }
    SUBCASE("an item that defers itself") {
        Task* self = nullptr;
        Task task{[&] {
            log.emplace_back("self");
            reactor.defer(*self);
        }};
        self = &task;
        reactor.defer(task);
        turn(reactor);
        CHECK(log == Log{"self"});
        turn(reactor);
        CHECK(log == Log{"self", "self"});
    }
    SUBCASE("deferred and made ready by a ready source, started by a timer") {
        Probe probe{reactor, [&](Events) {
                        pair.drain_near();
                        reactor.defer(again);
                        late.send_from_far();
                    }};
        Alarm timer{[&] { reactor.timers().start(timer_again, reactor.now()); }};
        pair.send_from_far();
        probe.join(pair.near.get(), Events::readable);
        reactor.timers().start(timer, reactor.now());
        turn(reactor);
        CHECK(log.empty());
        turn(reactor);
        CHECK(log == Log{"again", "ready late", "timer again"});
    }
}

TEST_CASE("deferred items run once, in order; cancel and destruction take them back") {
    Reactor reactor;
    Log log;
    Task first{[&] { log.emplace_back("first"); }};
    Task second{[&] { log.emplace_back("second"); }};
    Task cancelled{[&] { log.emplace_back("cancelled"); }};
    auto destroyed = std::make_unique<Task>([&] { log.emplace_back("destroyed"); });
    reactor.defer(first);
    reactor.defer(cancelled);
    reactor.defer(*destroyed);
    reactor.defer(second);
    reactor.defer(first);  // scheduled already: keeps its place
    CHECK(first.is_scheduled());
    cancelled.cancel();
    cancelled.cancel();
    destroyed.reset();
    CHECK_FALSE(cancelled.is_scheduled());
    turn(reactor);
    CHECK(log == Log{"first", "second"});
    CHECK_FALSE(first.is_scheduled());
    reactor.defer(cancelled);
    turn(reactor);
    CHECK(log.back() == "cancelled");
}

TEST_CASE("what was posted and what was deferred stand in one queue") {
    Reactor reactor;
    Log log;
    Task inner{[&] { log.emplace_back("inner"); }};
    Task inner_posted{[&] { log.emplace_back("inner posted"); }};
    Task first{[&] {
        log.emplace_back("first");
        reactor.post(inner_posted);
        reactor.defer(inner);
    }};
    Task second{[&] { log.emplace_back("second"); }};
    Task third{[&] { log.emplace_back("third"); }};
    Task fourth{[&] { log.emplace_back("fourth"); }};
    std::thread{[&] { reactor.post(first); }}.join();
    reactor.defer(second);
    reactor.post(third);
    reactor.defer(fourth);
    turn(reactor);
    CHECK(log == Log{"first", "second", "third", "fourth"});
    turn(reactor);
    CHECK(log == Log{"first", "second", "third", "fourth", "inner posted", "inner"});
}

TEST_CASE("a deferred item may destroy itself, and one behind it") {
    Reactor reactor;
    int calls = 0;
    std::unique_ptr<Task> first;
    std::unique_ptr<Task> second;
    first = std::make_unique<Task>([&] {
        ++calls;
        second.reset();
        first.reset();
    });
    second = std::make_unique<Task>([&] { ++calls; });
    reactor.defer(*first);
    reactor.defer(*second);
    turn(reactor);
    CHECK(calls == 1);
}

TEST_CASE("before_wait runs at the end of the turn, also what such an item adds") {
    Reactor reactor;
    Log log;
    Task second{[&] { log.emplace_back("second"); }};
    Task first{[&] {
        log.emplace_back("first");
        reactor.before_wait(second);
    }};
    SUBCASE("asked for in a turn") {
        Alarm timer{[&] { reactor.before_wait(first); }};
        reactor.timers().start(timer, reactor.now());
        turn(reactor);
        CHECK(log == Log{"first", "second"});
    }
    SUBCASE("asked for between two turns") {
        Task deferred{[&] { log.emplace_back("deferred"); }};
        reactor.before_wait(first);
        reactor.defer(deferred);
        turn(reactor);
        CHECK(log == Log{"first", "second", "deferred"});
    }
}

TEST_CASE("an item that is scheduled already is not scheduled for before the wait") {
    Reactor reactor;
    int calls = 0;
    Task task{[&] { ++calls; }};
    Task first{[&] {
        reactor.defer(task);
        reactor.before_wait(task);
    }};
    reactor.defer(first);
    turn(reactor);
    CHECK(calls == 0);
    turn(reactor);
    CHECK(calls == 1);
}

class Owner {
  public:
    explicit Owner(Reactor& reactor) { reactor.defer(flush_); }
    int calls = 0;

  private:
    void flush() noexcept { ++calls; }
    MemberDeferred<Owner, &Owner::flush> flush_{*this};
};

TEST_CASE("a MemberDeferred calls its owner") {
    Reactor reactor;
    Owner owner{reactor};
    turn(reactor);
    CHECK(owner.calls == 1);
}

TEST_CASE("now() is the moment at which the wait ended, and constant in the turn") {
    const Pair pair;
    Reactor reactor;
    std::vector<TimePoint> seen;
    const auto note = [&] { seen.push_back(reactor.now()); };
    const auto spend_time_and_note = [&] {
        const TimePoint begin = Clock::now();
        while (Clock::now() == begin) {
        }
        note();
    };
    Task task{spend_time_and_note};
    Probe probe{reactor, [&](Events) { spend_time_and_note(); }};
    Alarm timer{spend_time_and_note};
    reactor.timers().start(timer, reactor.now());
    reactor.defer(task);
    pair.send_from_far();
    probe.join(pair.near.get(), Events::readable);
    const TimePoint before = Clock::now();
    turn(reactor);
    REQUIRE(seen.size() == 3);
    CHECK(seen[0] >= before);
    CHECK(seen[0] == seen[1]);
    CHECK(seen[1] == seen[2]);
    CHECK(seen[2] == reactor.now());
}

TEST_CASE("a turn waits no longer than its limit, nor past the next timer") {
    Reactor reactor;
    Alarm timer{[] {}};
    const TimePoint begin = Clock::now();
    reactor.run_turn(Timeout::after(3ms));
    CHECK(Clock::now() - begin >= 3ms);
    SUBCASE("the limit is nearer") {
        reactor.timers().start(timer, Clock::now() + 1h);
        reactor.run_turn(Timeout::after(1ms));
        CHECK(timer.is_started());
    }
    SUBCASE("the timer is nearer") {
        reactor.timers().start(timer, Clock::now() + 3ms);
        reactor.run_turn(Timeout::after(1h));
        CHECK_FALSE(timer.is_started());
    }
    SUBCASE("the timer is nearer than forever") {
        reactor.timers().start(timer, Clock::now() + 3ms);
        reactor.run_turn(Timeout::forever());
        CHECK_FALSE(timer.is_started());
    }
    SUBCASE("something is deferred") {
        Task task{[] {}};
        reactor.defer(task);
        reactor.run_turn(Timeout::forever());
    }
    SUBCASE("something is posted") {
        Task task{[] {}};
        reactor.post(task);
        reactor.run_turn(Timeout::forever());
    }
}

TEST_CASE("a timer is never early") {
    Reactor reactor;
    for (const Duration span : {1ns, 300'000ns, 1'000'001ns, 2'900'000ns}) {
        TimePoint fired{};
        Alarm timer{[&] { fired = Clock::now(); }};
        const TimePoint due = Clock::now() + span;
        const std::uint64_t turns = reactor.statistics().turns;
        reactor.timers().start(timer, due);
        while (timer.is_started()) {
            reactor.run_turn(Timeout::forever());
        }
        CHECK(fired >= due);
        CHECK(reactor.statistics().turns - turns <= 2);
    }
}

TEST_CASE("timers at the ends of time") {
    Reactor reactor;
    Alarm first{[] {}};
    Alarm last{[] {}};
    reactor.timers().start(last, TimePoint::max());
    reactor.run_turn(Timeout::after(1ms));
    reactor.timers().start(first, TimePoint::min());
    reactor.run_turn(Timeout::forever());
    CHECK_FALSE(first.is_started());
    CHECK(last.is_started());
}

TEST_CASE("statistics count since the beginning") {
    const Pair pair;
    Reactor reactor;
    const ReactorStatistics fresh = reactor.statistics();
    CHECK(fresh.turns == 0);
    CHECK(fresh.changes == 1);  // its own waker
    Probe probe{reactor};
    Task task{[] {}};
    Alarm timer{[] {}};
    probe.join(pair.near.get(), Events::readable);
    pair.send_from_far();
    reactor.defer(task);
    reactor.timers().start(timer, reactor.now());
    turn(reactor);
    turn(reactor);
    probe.leave();
    const ReactorStatistics after = reactor.statistics();
    CHECK(after.turns == 2);
    CHECK(after.waits == 2);
    CHECK(after.events == 2);
    CHECK(after.changes == 3);
    CHECK(after.timers == 1);
    CHECK(after.deferred == 1);
}

TEST_CASE("run returns at the end of the turn in which it is stopped") {
    Reactor reactor;
    Log log;
    Alarm timer{[&] { log.emplace_back("timer"); }};
    Task behind{[&] { log.emplace_back("behind"); }};
    Task task{[&] {
        reactor.stop();
        reactor.defer(behind);
    }};
    reactor.timers().start(timer, reactor.now());
    reactor.defer(task);
    reactor.defer(behind);
    reactor.run();
    CHECK(log == Log{"behind", "timer"});
    CHECK(reactor.statistics().turns == 1);
    SUBCASE("and runs again") {
        reactor.defer(task);
        run_with_limit(reactor);
    }
}

TEST_CASE("a stop before run lets it make one turn") {
    Reactor reactor;
    reactor.stop();
    reactor.run();
    CHECK(reactor.statistics().turns == 1);
}

TEST_CASE("a posted item runs once, however often it is posted before, and can be posted again") {
    Reactor reactor;
    int calls = 0;
    Task task{[&] { ++calls; }};
    reactor.post(task);
    reactor.post(task);
    turn(reactor);
    CHECK(calls == 1);
    turn(reactor);
    CHECK(calls == 1);
    reactor.post(task);
    turn(reactor);
    CHECK(calls == 2);
}

TEST_CASE("an item that posts itself runs once a turn") {
    Reactor reactor;
    int calls = 0;
    Task* self = nullptr;
    Task task{[&] {
        if (++calls < 3) {
            reactor.post(*self);
        }
    }};
    self = &task;
    reactor.post(task);
    turn(reactor);
    CHECK(calls == 1);
    reactor.run_turn(Timeout::forever());
    CHECK(calls == 2);
    reactor.run_turn(Timeout::forever());
    CHECK(calls == 3);
}

class Observer final : public WaitObserver {
  public:
    int blocks = 0;
    int unblocks = 0;
    bool polls = false;
    void on_block() noexcept override { ++blocks; }
    void on_unblock() noexcept override { ++unblocks; }
    bool prefers_polling() noexcept override { return polls; }
};

TEST_CASE("an observer that prefers polling is told only when nothing is ready") {
    const Pair pair;
    Reactor reactor;
    Observer observer;
    observer.polls = true;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    reactor.set_observer(&observer);
    pair.send_from_far();
    reactor.run_turn(Timeout::forever());
    CHECK(observer.blocks == 0);
    CHECK(reactor.statistics().waits == 1);
    CHECK(probe.calls == 1);
    probe.leave();
    reactor.run_turn(Timeout::after(1us));
    CHECK(observer.blocks == 1);
    CHECK(observer.unblocks == 1);
    CHECK(reactor.statistics().waits == 3);
}

TEST_CASE("an observer is not told of a wait that cannot block") {
    Reactor reactor;
    Observer observer;
    reactor.set_observer(&observer);
    Task task{[] {}};
    SUBCASE("a turn without waiting") { turn(reactor); }
    SUBCASE("something is deferred") {
        reactor.defer(task);
        reactor.run_turn(Timeout::forever());
    }
    SUBCASE("something is posted") {
        reactor.post(task);
        reactor.run_turn(Timeout::forever());
    }
    SUBCASE("a timer is due") {
        Alarm timer{[] {}};
        reactor.timers().start(timer, reactor.now());
        reactor.run_turn(Timeout::forever());
    }
    SUBCASE("a stop is asked for") {
        reactor.stop();
        reactor.run_turn(Timeout::forever());
    }
    CHECK(observer.blocks == 0);
    CHECK(observer.unblocks == 0);
}

TEST_CASE("an observer is told once on each side of a wait that may block") {
    const Pair pair;
    Reactor reactor;
    Observer observer;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    reactor.set_observer(&observer);
    SUBCASE("and nothing is ready") { reactor.run_turn(Timeout::after(1us)); }
    SUBCASE("though something is ready") {
        pair.send_from_far();
        reactor.run_turn(Timeout::forever());
    }
    CHECK(observer.blocks == 1);
    CHECK(observer.unblocks == 1);
    reactor.set_observer(nullptr);
    reactor.run_turn(Timeout::after(1us));
    CHECK(observer.blocks == 1);
}

bool is_reactor_refused() {
    try {
        const Reactor reactor;
    } catch (const std::system_error& error) {
        return error.code().value() == EMFILE;
    }
    return false;
}

TEST_CASE("without a descriptor left, a reactor throws") {
    for (const long call : {SYS_epoll_create1, SYS_eventfd2}) {
        CHECK(holds_when_refused(call, EMFILE, is_reactor_refused).value_or(true));
    }
}

TEST_CASE("an epoll that fails ends run with an exception") {
    const int next_free = [] {
        const OwnedFd fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        return fd.get();
    }();
    Reactor reactor;  // its epoll is the first descriptor that it opens
    OwnedFd epoll_fd{next_free};
    (void)epoll_fd.close();
    CHECK_THROWS_WITH_AS(reactor.run(), doctest::Contains("epoll"), std::system_error);
}

}  // namespace
}  // namespace epoll
