#include <epoll/poll/events.hpp>

#include <array>
#include <cerrno>
#include <cstddef>

#include <fcntl.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <epoll/poll/poller.hpp>

#include "pair.hpp"

// The set itself, and then the kernel: what the layers above take for granted about each event is
// asked of the running kernel here.

namespace epoll {
namespace {

static_assert(bits(Events::readable | Events::writable) == 5);
static_assert((Events::readable & Events::writable) == Events::none);
static_assert((~Events::none & Events::edge_triggered) == Events::edge_triggered);
static_assert(bits(Events::edge_triggered) == 0x8000'0000U);
static_assert(has_any(Events::readable | Events::error, Events::error | Events::hang_up));
static_assert(!has_any(Events::readable, Events::error | Events::hang_up));
static_assert(!has_any(Events::readable, Events::none));
static_assert(has_all(Events::readable | Events::writable, Events::readable));
static_assert(!has_all(Events::readable, Events::readable | Events::writable));
static_assert(has_all(Events::none, Events::none));

/// An epoll and what it reports at once.
class Watch {
  public:
    int control(kernel::Operation operation, int fd, Events events) {
        return kernel::control(poller_.fd(), operation, fd, events, Token{42});
    }
    int add(int fd, Events events) { return control(kernel::Operation::add, fd, events); }
    int modify(int fd, Events events) { return control(kernel::Operation::modify, fd, events); }
    int remove(int fd) { return control(kernel::Operation::remove, fd, Events::none); }

    /// The events of the only descriptor that is ready now; none when there is not one.
    Events reported() {
        std::array<Ready, 4> room{};
        const IoResult result = poller_.wait(room, Timeout::none());
        REQUIRE(result.ok());
        REQUIRE(result.size() <= 1);
        if (result.size() == 0) {
            return Events::none;
        }
        const Token token = room[0].token;
        REQUIRE(token == 42);
        return room[0].events;
    }

  private:
    Poller poller_;
};

TEST_CASE("operators that assign change the set") {
    Events events = Events::readable;
    events |= Events::writable;
    CHECK(events == (Events::readable | Events::writable));
    events &= ~Events::readable;
    CHECK(events == Events::writable);
}

TEST_CASE("kernel: level-triggered is reported again until it is consumed") {
    const Pair pair;
    Watch watch;
    REQUIRE(watch.add(pair.near.get(), Events::readable) == 0);
    CHECK(watch.reported() == Events::none);
    pair.send_from_far();
    CHECK(watch.reported() == Events::readable);
    CHECK(watch.reported() == Events::readable);
    pair.drain_near();
    CHECK(watch.reported() == Events::none);
}

TEST_CASE("kernel: edge-triggered is reported once for each arrival") {
    const Pair pair;
    Watch watch;
    REQUIRE(watch.add(pair.near.get(), Events::readable | Events::edge_triggered) == 0);
    pair.send_from_far();
    CHECK(watch.reported() == Events::readable);
    CHECK(watch.reported() == Events::none);
    pair.send_from_far();
    CHECK(watch.reported() == Events::readable);
}

TEST_CASE("kernel: what is ready before it is added is reported, also edge-triggered") {
    const Pair pair;
    Watch watch;
    pair.send_from_far();
    REQUIRE(watch.add(pair.near.get(), Events::readable | Events::edge_triggered) == 0);
    CHECK(watch.reported() == Events::readable);
}

TEST_CASE("kernel: one_shot is disarmed by its first report and armed again by modify") {
    const Pair pair;
    Watch watch;
    REQUIRE(watch.add(pair.near.get(), Events::readable | Events::one_shot) == 0);
    pair.send_from_far();
    CHECK(watch.reported() == Events::readable);
    CHECK(watch.reported() == Events::none);
    pair.send_from_far();
    CHECK(watch.reported() == Events::none);
    REQUIRE(watch.modify(pair.near.get(), Events::readable | Events::one_shot) == 0);
    CHECK(watch.reported() == Events::readable);
}

TEST_CASE("kernel: a disarmed one_shot does not report its peer's end either") {
    Pair pair;
    Watch watch;
    REQUIRE(watch.add(pair.near.get(), Events::readable | Events::one_shot) == 0);
    pair.send_from_far();
    CHECK(watch.reported() == Events::readable);
    (void)pair.far.close();
    CHECK(watch.reported() == Events::none);
}

TEST_CASE("kernel: hang_up cannot be muted") {
    Pair pair;
    Watch watch;
    REQUIRE(watch.add(pair.near.get(), Events::none) == 0);
    pair.send_from_far();
    CHECK(watch.reported() == Events::none);
    (void)pair.far.close();
    CHECK(watch.reported() == Events::hang_up);
    REQUIRE(watch.modify(pair.near.get(), Events::none) == 0);
    CHECK(watch.reported() == Events::hang_up);
    REQUIRE(watch.remove(pair.near.get()) == 0);
    CHECK(watch.reported() == Events::none);
}

TEST_CASE("kernel: error cannot be muted") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    OwnedFd reader{ends[0]};
    const OwnedFd writer{ends[1]};
    Watch watch;
    REQUIRE(watch.add(writer.get(), Events::none) == 0);
    (void)reader.close();
    CHECK(watch.reported() == Events::error);
}

TEST_CASE("kernel: a peer that shut down writing is readable, and peer_finished if wanted") {
    const Pair pair;
    Watch watch;
    REQUIRE(watch.add(pair.near.get(), Events::readable) == 0);
    REQUIRE(::shutdown(pair.far.get(), SHUT_WR) == 0);
    CHECK(watch.reported() == Events::readable);
    REQUIRE(watch.modify(pair.near.get(), Events::peer_finished) == 0);
    CHECK(watch.reported() == Events::peer_finished);
}

TEST_CASE("kernel: exclusive can be added, but neither modified nor come by a modify") {
    const Pair pair;
    Watch watch;
    const int fd = pair.near.get();
    REQUIRE(watch.add(fd, Events::readable | Events::exclusive) == 0);
    CHECK(watch.modify(fd, Events::readable | Events::exclusive) == EINVAL);
    CHECK(watch.modify(fd, Events::readable) == EINVAL);
    REQUIRE(watch.remove(fd) == 0);
    REQUIRE(watch.add(fd, Events::readable) == 0);
    CHECK(watch.modify(fd, Events::readable | Events::exclusive) == EINVAL);
    pair.send_from_far();
    CHECK(watch.reported() == Events::readable);  // a refused modify changes nothing
}

TEST_CASE("kernel: exclusive goes with neither one_shot, peer_finished nor priority") {
    const Pair pair;
    Watch watch;
    for (const Events other : {Events::one_shot, Events::peer_finished, Events::priority}) {
        CHECK(watch.add(pair.near.get(), Events::readable | Events::exclusive | other) == EINVAL);
    }
    CHECK(watch.add(pair.near.get(), Events::exclusive) == 0);  // alone it is a paused listener
}

TEST_CASE("kernel: a registration outlives its descriptor while a duplicate holds the file") {
    Pair pair;
    Watch watch;
    const int fd = pair.near.get();
    REQUIRE(watch.add(fd, Events::readable) == 0);
    OwnedFd duplicate{::fcntl(fd, F_DUPFD_CLOEXEC, 0)};
    REQUIRE(duplicate.is_open());
    (void)pair.near.close();
    pair.send_from_far();
    CHECK(watch.reported() == Events::readable);
    CHECK(watch.remove(fd) == EBADF);
    CHECK(watch.modify(fd, Events::none) == EBADF);
    CHECK(watch.remove(duplicate.get()) == ENOENT);
    CHECK(watch.reported() == Events::readable);
    (void)duplicate.close();
    CHECK(watch.reported() == Events::none);
}

TEST_CASE("kernel: a duplicate is a registration of its own") {
    const Pair pair;
    Watch watch;
    const OwnedFd duplicate{::fcntl(pair.near.get(), F_DUPFD_CLOEXEC, 0)};
    REQUIRE(watch.add(pair.near.get(), Events::readable) == 0);
    CHECK(watch.add(pair.near.get(), Events::readable) == EEXIST);
    CHECK(watch.add(duplicate.get(), Events::readable) == 0);
}

}  // namespace
}  // namespace epoll
