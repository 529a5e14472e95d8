#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

#include <doctest/doctest.h>

#include <epoll/loop/reactor.hpp>
#include <epoll/loop/source.hpp>
#include <epoll/loop/timer_queue.hpp>

namespace epoll {

/// A source whose members a test may call, and that does what the test wants when it is ready.
class Probe final : public Source {
  public:
    using Action = std::function<void(Events)>;

    explicit Probe(
        Reactor& reactor, Action action = [](Events) {})
        : Source(reactor), action_(std::move(action)) {}

    using Source::is_joined;
    using Source::join;
    using Source::leave;
    using Source::renew;
    using Source::unwant;
    using Source::want;
    using Source::wanted;

    void action(Action action) { action_ = std::move(action); }

    int calls = 0;
    Events seen = Events::none;  ///< of the last call

  private:
    void on_ready(Events ready) noexcept override {
        ++calls;
        seen = ready;
        const Action action = action_;  // it may destroy this source
        action(ready);
    }
    Action action_;
};

/// A deferred item that does what a test wants.
class Task final : public Deferred {
  public:
    explicit Task(std::function<void()> action) : action_(std::move(action)) {}

  private:
    void on_turn() noexcept override {
        const auto action = action_;  // it may destroy this item
        action();
    }
    std::function<void()> action_;
};

/// A timer that does what a test wants.
class Alarm final : public Timer {
  public:
    explicit Alarm(std::function<void()> action) : action_(std::move(action)) {}

  private:
    void on_due() noexcept override {
        const auto action = action_;  // it may destroy this timer
        action();
    }
    std::function<void()> action_;
};

constexpr Events k_both = Events::readable | Events::writable;

/// Counts the epoll_ctl calls from here on.
class Changes {
  public:
    explicit Changes(const Reactor& reactor) : reactor_(reactor), before_(now()) {}
    [[nodiscard]] std::uint64_t count() const { return now() - before_; }

  private:
    [[nodiscard]] std::uint64_t now() const { return reactor_.statistics().changes; }
    const Reactor& reactor_;
    std::uint64_t before_;
};

/// One turn that does not wait.
inline void turn(Reactor& reactor) { reactor.run_turn(Timeout::none()); }

/// How many turns a reactor with nothing to do makes in 200 ms: a handful, unless it spins.
inline std::uint64_t turns_while_idle(Reactor& reactor) {
    const std::uint64_t before = reactor.statistics().turns;
    const TimePoint end = Clock::now() + std::chrono::milliseconds{200};
    while (Clock::now() < end) {
        reactor.run_turn(Timeout::after(end - Clock::now()));
    }
    return reactor.statistics().turns - before;
}

constexpr std::uint64_t k_handful = 5;

/// Runs the reactor until it is stopped; after ten seconds it gives up, and the test fails.
inline void run_with_limit(Reactor& reactor) {
    bool is_late = false;
    Alarm limit{[&] {
        is_late = true;
        reactor.stop();
    }};
    reactor.timers().start(limit, Clock::now() + std::chrono::seconds{10});
    reactor.run();
    CHECK_FALSE(is_late);
}

}  // namespace epoll
