#include <epoll/loop/reactor.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <thread>
#include <vector>

#include <sys/time.h>

#include <doctest/doctest.h>

#include "probe.hpp"

// What other threads, and signal handlers, may do with a reactor.

namespace epoll {
namespace {

using namespace std::chrono_literals;

TEST_CASE("another thread stops a reactor that waits, or is about to") {
    Reactor reactor;
    for (int i = 0; i != 200; ++i) {
        std::thread other{[&] { reactor.stop(); }};
        run_with_limit(reactor);
        other.join();
    }
}

Reactor* stopped_by_signal = nullptr;

TEST_CASE("a signal handler stops a reactor") {
    Reactor reactor;
    stopped_by_signal = &reactor;
    struct sigaction action{};
    struct sigaction before{};
    action.sa_handler = [](int) { stopped_by_signal->stop(); };
    REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
    const itimerval soon{{0, 0}, {0, 2000}};
    REQUIRE(::setitimer(ITIMER_REAL, &soon, nullptr) == 0);
    run_with_limit(reactor);
    CHECK(::sigaction(SIGALRM, &before, nullptr) == 0);
}

TEST_CASE("a signal whose handler does nothing ends the wait and no more") {
    Reactor reactor;
    struct sigaction action{};
    struct sigaction before{};
    action.sa_handler = [](int) {};
    REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
    const itimerval every_millisecond{{0, 1000}, {0, 1000}};
    const itimerval never{};
    REQUIRE(::setitimer(ITIMER_REAL, &every_millisecond, nullptr) == 0);
    reactor.run_turn(Timeout::forever());
    REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
    CHECK(reactor.statistics().events == 0);
    CHECK(::sigaction(SIGALRM, &before, nullptr) == 0);
}

TEST_CASE("posted from many threads, nothing is lost and each thread's order is kept") {
    constexpr int k_threads = 4;
    constexpr int k_items = 2000;
    Reactor reactor;
    int left = k_threads * k_items;
    std::vector<int> next(k_threads, 0);
    bool in_order = true;
    std::vector<std::vector<std::unique_ptr<Task>>> items(k_threads);
    for (int thread = 0; thread != k_threads; ++thread) {
        const auto of = static_cast<std::size_t>(thread);
        for (int i = 0; i != k_items; ++i) {
            items[of].push_back(std::make_unique<Task>([&, of, i] {
                in_order = in_order && next[of]++ == i;
                if (--left == 0) {
                    reactor.stop();
                }
            }));
        }
    }
    std::vector<std::thread> threads;
    for (auto& own : items) {
        threads.emplace_back([&reactor, &own] {
            for (const auto& item : own) {
                reactor.post(*item);
            }
        });
    }
    run_with_limit(reactor);
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(left == 0);
    CHECK(in_order);
}

TEST_CASE("a post just before, in and after a wait always ends it") {
    constexpr int k_rounds = 5000;
    Reactor reactor;
    std::atomic<int> ran{0};
    std::atomic<bool> is_over{false};
    Task task{[&] {
        if (ran.fetch_add(1) + 1 == k_rounds) {
            reactor.stop();
        }
    }};
    std::thread poster{[&] {
        for (int round = 0; round != k_rounds && !is_over; ++round) {
            reactor.post(task);
            while (ran == round && !is_over) {
                std::this_thread::yield();
            }
        }
    }};
    run_with_limit(reactor);
    is_over = true;
    poster.join();
    CHECK(ran == k_rounds);
}

TEST_CASE("an item posted during the wait runs in the same turn") {
    Reactor reactor;
    Task task{[] {}};
    std::thread other{[&] { reactor.post(task); }};
    reactor.run_turn(Timeout::after(10s));
    other.join();
    CHECK(reactor.statistics().deferred == 1);
}

TEST_CASE("what is posted while the observer holds the reactor up ends the wait") {
    Reactor reactor;
    int calls = 0;
    Task task{[&] { ++calls; }};
    class Poster final : public WaitObserver {
      public:
        Poster(Reactor& posted_to, Deferred& item) : reactor_(posted_to), item_(item) {}
        void on_block() noexcept override {
            std::thread{[this] { reactor_.post(item_); }}.join();
        }
        void on_unblock() noexcept override {}
        bool prefers_polling() noexcept override { return false; }

      private:
        Reactor& reactor_;
        Deferred& item_;
    } poster{reactor, task};
    reactor.set_observer(&poster);
    const TimePoint begin = Clock::now();
    reactor.run_turn(Timeout::after(10s));
    CHECK(Clock::now() - begin < 5s);
    CHECK(calls == 1);
}

}  // namespace
}  // namespace epoll
