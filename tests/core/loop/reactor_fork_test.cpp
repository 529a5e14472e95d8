#include <epoll/loop/reactor.hpp>

#include <chrono>
#include <cstdio>
#include <memory>
#include <system_error>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "../poll/pair.hpp"
#include "probe.hpp"

// Reactor::on_fork(): nothing that a child does reaches its parent's epoll.

namespace epoll {
namespace {

using namespace std::chrono_literals;

/// Whether this process is the child. A child that hangs is killed.
bool is_child(pid_t pid) {
    if (pid == 0) {
        ::alarm(20);
    }
    return pid == 0;
}

/// What the child `pid` has said by its exit code.
bool is_content(pid_t pid) {
    int status = 0;
    REQUIRE(::waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// What `check()`, which must not use doctest, says in a child.
template <class Check>
bool holds_in_child(Check check) {
    (void)std::fflush(stdout);  // or the child's end might print it again
    const pid_t pid = ::fork();
    if (is_child(pid)) {
        ::_exit(check() ? 0 : 1);
    }
    return is_content(pid);
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

/// Stops its reactor when that is about to wait: by the eventfd, then.
class Stopper final : public WaitObserver {
  public:
    explicit Stopper(Reactor& reactor) : reactor_(reactor) {}
    void on_block() noexcept override {
        reactor_.stop();
        if (exits) {
            ::_exit(0);
        }
    }
    void on_unblock() noexcept override {}
    bool prefers_polling() noexcept override { return false; }

    bool exits = false;  ///< the process, before the reactor takes notice

  private:
    Reactor& reactor_;
};

TEST_CASE("what leaves in a child stays watched in the parent") {
    const Pair one;
    const Pair other;
    const Pair third;
    Reactor reactor;
    Probe leaving{reactor};
    Probe unwanting{reactor};
    auto dying = std::make_unique<Probe>(reactor);
    leaving.join(one.near.get(), Events::readable);
    unwanting.join(other.near.get(), Events::readable);
    dying->join(third.near.get(), Events::readable);
    CHECK(holds_in_child([&] {
        reactor.on_fork();
        const Changes changes{reactor};
        leaving.leave();
        unwanting.unwant(Events::readable);
        dying.reset();
        turn(reactor);
        return changes.count() == 0;
    }));
    for (const Pair* const pair : {&one, &other, &third}) {
        pair->send_from_far();
    }
    turn(reactor);
    CHECK(leaving.calls == 1);
    CHECK(unwanting.calls == 1);
    CHECK(dying->calls == 1);
}

TEST_CASE("a child hears nothing of what its parent watches") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    Probe wishing{reactor};
    const Pair writable;
    probe.join(pair.near.get(), Events::readable);
    wishing.join(writable.near.get(), Events::none);
    wishing.want(Events::writable);  // the kernel has not heard of it yet
    pair.send_from_far();
    CHECK(holds_in_child([&] {
        reactor.on_fork();
        reactor.run_turn(Timeout::after(1ms));
        return probe.calls == 0 && wishing.calls == 0;
    }));
    turn(reactor);
    CHECK(probe.calls == 1);
    CHECK(wishing.calls == 1);
}

TEST_CASE("a child keeps what is deferred and its timers, and can be stopped") {
    Reactor reactor;
    int calls = 0;
    Task task{[&] { ++calls; }};
    Alarm timer{[&] { ++calls; }};
    reactor.defer(task);
    reactor.timers().start(timer, reactor.now());
    CHECK(holds_in_child([&] {
        reactor.on_fork();
        turn(reactor);
        Stopper stopper{reactor};
        reactor.set_observer(&stopper);
        reactor.run();
        return calls == 2;
    }));
    turn(reactor);
    CHECK(calls == 2);
}

TEST_CASE("a child that wakes itself does not wake its parent") {
    Reactor reactor;
    CHECK(holds_in_child([&] {
        reactor.on_fork();
        Stopper stopper{reactor};
        stopper.exits = true;
        reactor.set_observer(&stopper);
        reactor.run();
        return false;
    }));
    reactor.run_turn(Timeout::after(1ms));
    CHECK(reactor.statistics().events == 0);
}

TEST_CASE("forked in a callback: the child calls no other source, and flushes nothing") {
    const Pair one;
    const Pair other;
    Reactor reactor;
    int calls = 0;
    int flushes = 0;
    pid_t pid = -1;
    Task flush{[&] { ++flushes; }};
    const auto fork_once = [&](Events) {
        if (++calls == 1) {
            reactor.before_wait(flush);
            (void)std::fflush(stdout);
            pid = ::fork();
            if (is_child(pid)) {
                reactor.on_fork();
            }
        }
    };
    Probe first{reactor, fork_once};
    Probe second{reactor, fork_once};
    first.join(one.near.get(), Events::readable);
    second.join(other.near.get(), Events::readable);
    one.send_from_far();
    other.send_from_far();
    turn(reactor);
    if (pid == 0) {
        turn(reactor);
        ::_exit(calls == 1 && flushes == 0 ? 0 : 1);
    }
    CHECK(is_content(pid));
    CHECK(calls == 2);
    CHECK(flushes == 1);
}

TEST_CASE("on_fork closes the child's copies of the parent's descriptors") {
    const int first = [] {
        const OwnedFd fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        return fd.get();
    }();
    Reactor reactor;  // the first descriptors that are free
    CHECK(holds_in_child([&] {
        int before = 0;
        for (int fd = 0; fd != first + 10; ++fd) {
            before += is_open(fd) ? 1 : 0;
        }
        reactor.on_fork();
        int after = 0;
        for (int fd = 0; fd != first + 10; ++fd) {
            after += is_open(fd) ? 1 : 0;
        }
        return after == before;
    }));
}

TEST_CASE("a child without a descriptor left cannot run") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    CHECK(holds_in_child([&] {
        const rlimit none{0, 0};
        if (::setrlimit(RLIMIT_NOFILE, &none) != 0) {
            return false;
        }
        reactor.on_fork();
        probe.leave();
        try {
            reactor.run();
        } catch (const std::system_error&) {
            return true;
        }
        return false;
    }));
}

}  // namespace
}  // namespace epoll
