#include <epoll/loop/timer_queue.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

#include "probe.hpp"

namespace epoll {
namespace {

using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<Timer> && !std::is_move_constructible_v<Timer>);
static_assert(!std::is_copy_constructible_v<TimerQueue>);

constexpr TimePoint k_begin{};
constexpr TimePoint at(Duration after) { return k_begin + after; }

using Fired = std::vector<int>;

/// A timer that notes its name.
Alarm noting(Fired& fired, int name) {
    return Alarm{[&fired, name] { fired.push_back(name); }};
}

TEST_CASE("an empty queue has no moment and fires nothing") {
    TimerQueue queue;
    CHECK(queue.next_due() == std::nullopt);
    CHECK(queue.size() == 0);
    CHECK(queue.fire(TimePoint::max()) == 0);
}

TEST_CASE("timers fire in the order of their moments, and not before them") {
    Fired fired;
    Alarm late = noting(fired, 2);
    Alarm early = noting(fired, 1);
    TimerQueue queue;
    queue.start(late, at(20ns));
    queue.start(early, at(10ns));
    CHECK(queue.size() == 2);
    CHECK(queue.next_due() == at(10ns));
    CHECK(queue.fire(at(9ns)) == 0);
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(queue.next_due() == at(20ns));
    CHECK(queue.fire(at(100ns)) == 1);
    CHECK(fired == Fired{1, 2});
    CHECK(queue.size() == 0);
}

TEST_CASE("one fire runs all that are due, earliest first") {
    Fired fired;
    Alarm late = noting(fired, 2);
    Alarm early = noting(fired, 1);
    TimerQueue queue;
    queue.start(late, at(20ns));
    queue.start(early, at(10ns));
    CHECK(queue.fire(at(20ns)) == 2);
    CHECK(fired == Fired{1, 2});
}

TEST_CASE("timers of the same moment fire in the order they were started") {
    Fired fired;
    std::vector<std::unique_ptr<Alarm>> timers;
    TimerQueue queue;
    Fired expected;
    for (int name = 0; name != 100; ++name) {
        timers.push_back(std::make_unique<Alarm>([&fired, name] { fired.push_back(name); }));
        queue.start(*timers.back(), at(5ns));
        expected.push_back(name);
    }
    queue.start(*timers.front(), at(5ns));  // started again: last now
    expected.erase(expected.begin());
    expected.push_back(0);
    CHECK(queue.fire(at(5ns)) == 100);
    CHECK(fired == expected);
}

TEST_CASE("a started timer knows its moment, a stopped one does not fire") {
    Fired fired;
    Alarm timer = noting(fired, 1);
    TimerQueue queue;
    timer.stop();
    CHECK_FALSE(timer.is_started());
    queue.start(timer, at(10ns));
    CHECK(timer.is_started());
    CHECK(timer.due() == at(10ns));
    timer.stop();
    timer.stop();
    CHECK_FALSE(timer.is_started());
    CHECK(queue.next_due() == std::nullopt);
    CHECK(queue.fire(at(10ns)) == 0);
    CHECK(fired.empty());
}

TEST_CASE("starting a started timer moves it") {
    Fired fired;
    Alarm timer = noting(fired, 1);
    TimerQueue queue;
    queue.start(timer, at(10ns));
    queue.start(timer, at(30ns));
    CHECK(queue.size() == 1);
    CHECK(timer.due() == at(30ns));
    CHECK(queue.fire(at(10ns)) == 0);
    queue.start(timer, at(20ns));
    CHECK(queue.fire(at(20ns)) == 1);
}

TEST_CASE("a timer that is destroyed does not fire") {
    Fired fired;
    TimerQueue queue;
    {
        Alarm timer = noting(fired, 1);
        queue.start(timer, at(10ns));
    }
    CHECK(queue.size() == 0);
    CHECK(queue.fire(at(10ns)) == 0);
}

TEST_CASE("a queue that is destroyed stops its timers") {
    Fired fired;
    Alarm timer = noting(fired, 1);
    {
        TimerQueue queue;
        queue.start(timer, at(10ns));
    }
    CHECK_FALSE(timer.is_started());
    TimerQueue other;
    other.start(timer, at(10ns));
    CHECK(other.fire(at(10ns)) == 1);
}

TEST_CASE("in its callback a timer is stopped, and may start again for the next fire") {
    TimerQueue queue;
    int count = 0;
    std::optional<bool> was_started;
    Alarm* self = nullptr;
    Alarm timer{[&] {
        ++count;
        was_started = self->is_started();
        queue.start(*self, at(0ns));  // past already
    }};
    self = &timer;
    queue.start(timer, at(10ns));
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(count == 1);
    CHECK(was_started == false);
    CHECK(timer.is_started());
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(count == 2);
}

TEST_CASE("a timer that a callback starts waits for the next fire, though its moment has passed") {
    Fired fired;
    TimerQueue queue;
    Alarm second = noting(fired, 2);
    Alarm first{[&] { queue.start(second, at(1ns)); }};
    queue.start(first, at(10ns));
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(fired.empty());
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(fired == Fired{2});
}

TEST_CASE("a timer about to fire that a callback starts again waits too") {
    Fired fired;
    TimerQueue queue;
    Alarm second = noting(fired, 2);
    Alarm first{[&] { queue.start(second, at(10ns)); }};
    queue.start(first, at(10ns));
    queue.start(second, at(10ns));
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(fired.empty());
    CHECK(second.is_started());
    CHECK(queue.fire(at(10ns)) == 1);
}

TEST_CASE("a timer that a callback stops or destroys does not fire") {
    Fired fired;
    TimerQueue queue;
    auto victim = std::make_unique<Alarm>([&] { fired.push_back(1); });
    bool is_destroyed = false;
    SUBCASE("stopped") { is_destroyed = false; }
    SUBCASE("destroyed") { is_destroyed = true; }
    Alarm killer{[&] {
        CHECK(queue.size() == 0);  // all three are about to fire, or have
        victim->stop();
        if (is_destroyed) {
            victim.reset();
        }
    }};
    Alarm last = noting(fired, 2);
    queue.start(killer, at(10ns));
    queue.start(*victim, at(11ns));
    queue.start(last, at(12ns));
    CHECK(queue.fire(at(20ns)) == 2);
    CHECK(fired == Fired{2});
}

TEST_CASE("a timer may be destroyed in its own callback") {
    TimerQueue queue;
    std::unique_ptr<Alarm> timer;
    timer = std::make_unique<Alarm>([&] { timer.reset(); });
    queue.start(*timer, at(10ns));
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(timer == nullptr);
    CHECK(queue.size() == 0);
}

class Session {
  public:
    explicit Session(TimerQueue& queue) { queue.start(timer_, at(1ns)); }
    int calls = 0;

  private:
    void on_idle() noexcept { ++calls; }
    MemberTimer<Session, &Session::on_idle> timer_{*this};
};

TEST_CASE("a MemberTimer calls its owner") {
    TimerQueue queue;
    Session session{queue};
    CHECK(queue.fire(at(1ns)) == 1);
    CHECK(session.calls == 1);
}

/// The timers of one random run, and beside them what should happen.
class Model {
  public:
    Model() {
        for (int name = 0; name != k_timers; ++name) {
            timers_.push_back(make(name));
        }
    }

    void step() {
        const int name = any_name();
        switch (random_() % 8) {
            case 0: stop(name); break;
            case 1:
                stop(name);
                timers_[static_cast<std::size_t>(name)] = make(name);
                break;
            case 2: fire(); break;
            default: start(name);
        }
        check();
    }

  private:
    static constexpr int k_timers = 200;
    using Key = std::pair<TimePoint, int>;  // moment, and when it was started

    std::unique_ptr<Alarm> make(int name) {
        return std::make_unique<Alarm>([this, name] {
            in_order_ = in_order_ && !due_now_.empty() && due_now_.front() == name;
            ++fired_;
            std::erase(due_now_, name);
            if (random_() % 4 == 0) {
                start(name);
            }
            if (random_() % 4 == 0) {
                stop(any_name());
            }
            if (random_() % 4 == 0) {
                start(any_name());
            }
        });
    }

    int any_name() { return static_cast<int>(random_() % k_timers); }
    Alarm& timer(int name) { return *timers_[static_cast<std::size_t>(name)]; }

    void start(int name) {
        forget(name);
        const TimePoint due = now_ + Duration{static_cast<int>(random_() % 60) - 10};
        queue_.start(timer(name), due);
        waiting_.emplace(Key{due, ++started_}, name);
    }

    void stop(int name) {
        forget(name);
        timer(name).stop();
    }

    void forget(int name) {
        std::erase_if(waiting_, [name](const auto& entry) { return entry.second == name; });
        std::erase(due_now_, name);
    }

    void fire() {
        now_ += Duration{random_() % 30};
        for (auto entry = waiting_.begin();
             entry != waiting_.end() && entry->first.first <= now_;) {
            due_now_.push_back(entry->second);
            entry = waiting_.erase(entry);
        }
        fired_ = 0;
        REQUIRE(queue_.fire(now_) == fired_);
        REQUIRE(in_order_);
        REQUIRE(due_now_.empty());
    }

    void check() {
        REQUIRE(queue_.size() == waiting_.size());
        const auto due = queue_.next_due();
        REQUIRE(due.has_value() == !waiting_.empty());
        if (due) {
            REQUIRE(*due == waiting_.begin()->first.first);
        }
    }

    std::mt19937 random_{11};
    TimerQueue queue_;
    std::vector<std::unique_ptr<Alarm>> timers_;
    std::map<Key, int> waiting_;
    std::vector<int> due_now_;  // in the order in which they must fire
    std::size_t fired_ = 0;
    bool in_order_ = true;
    TimePoint now_ = k_begin;
    int started_ = 0;
};

TEST_CASE("random starts, stops, ends and callbacks agree with a sorted map") {
    Model model;
    for (int i = 0; i != 20'000; ++i) {
        model.step();
    }
}

TEST_CASE("stop_firing leaves the other timers due, in their order") {
    Fired fired;
    TimerQueue queue;
    Alarm later = noting(fired, 5);
    Alarm first{[&] {
        fired.push_back(1);
        queue.start(later, at(10ns));
        queue.stop_firing();
    }};
    Alarm second = noting(fired, 2);
    Alarm third = noting(fired, 3);
    Alarm fourth = noting(fired, 4);
    for (Alarm* const alarm : {&first, &second, &third, &fourth}) {
        queue.start(*alarm, at(10ns));
    }
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(queue.size() == 4);
    CHECK(queue.next_due() == at(10ns));
    CHECK(second.is_started());
    third.stop();
    CHECK_FALSE(queue.has_due(at(9ns)));
    CHECK(queue.has_due(at(10ns)));
    CHECK(queue.fire(at(10ns)) == 3);
    CHECK(fired == Fired{1, 2, 4, 5});
    CHECK_FALSE(queue.has_due(TimePoint::max()));
}

TEST_CASE("stop_firing leaves a timer alone that was stopped, moved or destroyed in the callback") {
    Fired fired;
    TimerQueue queue;
    Alarm stopped = noting(fired, 2);
    Alarm moved = noting(fired, 3);
    auto destroyed = std::make_unique<Alarm>([&] { fired.push_back(4); });
    Alarm first{[&] {
        stopped.stop();
        queue.start(moved, at(20ns));
        destroyed.reset();
        queue.stop_firing();
    }};
    for (Alarm* const alarm : {&first, &stopped, &moved, destroyed.get()}) {
        queue.start(*alarm, at(10ns));
    }
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(queue.size() == 1);
    CHECK(queue.fire(at(20ns)) == 1);
    CHECK(fired == Fired{3});
}

TEST_CASE("there is room for the timers that go back, however many a callback starts") {
    Fired fired;
    TimerQueue queue;
    std::vector<std::unique_ptr<Alarm>> started;
    std::vector<std::unique_ptr<Alarm>> left;
    for (int i = 0; i != 100; ++i) {
        started.push_back(std::make_unique<Alarm>([&] { fired.push_back(2); }));
        left.push_back(std::make_unique<Alarm>([&] { fired.push_back(1); }));
    }
    Alarm first{[&] {
        for (const auto& timer : started) {
            queue.start(*timer, at(10ns));
        }
        queue.stop_firing();
    }};
    queue.start(first, at(10ns));
    for (const auto& timer : left) {
        queue.start(*timer, at(10ns));
    }
    CHECK(queue.fire(at(10ns)) == 1);
    CHECK(queue.size() == 200);
    CHECK(queue.fire(at(10ns)) == 200);
    CHECK(fired.front() == 1);
    CHECK(fired[99] == 1);
    CHECK(fired[100] == 2);
}

TEST_CASE("stop_firing outside of fire is nothing") {
    Fired fired;
    TimerQueue queue;
    Alarm first = noting(fired, 1);
    Alarm second = noting(fired, 2);
    queue.start(first, at(10ns));
    queue.start(second, at(10ns));
    queue.stop_firing();
    CHECK(queue.fire(at(10ns)) == 2);
}

TEST_CASE("when most of very many are due, these fire in order and the rest stays") {
    // The number of the due ones decides whether they are taken together: both ways are tried.
    for (const int due : {1, 60, 500, 900, 1000}) {
        CAPTURE(due);
        std::vector<std::pair<Duration, int>> fired;
        TimerQueue queue;
        std::vector<std::unique_ptr<Alarm>> timers;
        std::minstd_rand random{static_cast<unsigned>(due)};
        for (int i = 0; i != 1000; ++i) {
            const bool is_due = i < due;
            const Duration when = 1ns * static_cast<int>(random() % 50) + (is_due ? 0ns : 100ns);
            timers.push_back(
                std::make_unique<Alarm>([&fired, when, i] { fired.emplace_back(when, i); }));
            queue.start(*timers.back(), at(when));
        }
        CHECK(queue.fire(at(50ns)) == static_cast<std::size_t>(due));
        CHECK(std::is_sorted(fired.begin(), fired.end()));
        CHECK(queue.size() == static_cast<std::size_t>(1000 - due));
        fired.clear();
        queue.fire(at(200ns));
        CHECK(fired.size() == static_cast<std::size_t>(1000 - due));
        CHECK(std::is_sorted(fired.begin(), fired.end()));
    }
}

TEST_CASE("of very many due timers one may stop the others") {
    int fired = 0;
    TimerQueue queue;
    std::vector<std::unique_ptr<Alarm>> timers;
    for (int i = 0; i != 1000; ++i) {
        timers.push_back(std::make_unique<Alarm>([&] {
            ++fired;
            timers.back()->stop();
            timers[500]->stop();
        }));
        queue.start(*timers.back(), at(1ns));
    }
    CHECK(queue.fire(at(1ns)) == 998);
    CHECK(fired == 998);
    CHECK(queue.size() == 0);
}

}  // namespace
}  // namespace epoll
