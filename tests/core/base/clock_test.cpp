#include <epoll/base/clock.hpp>

#include <chrono>
#include <limits>

#include <doctest/doctest.h>

namespace epoll {
namespace {

using namespace std::chrono_literals;

constexpr int k_longest = std::numeric_limits<int>::max();

static_assert(Timeout::none().is_none() && !Timeout::none().is_forever());
static_assert(Timeout::forever().is_forever() && !Timeout::forever().is_none());
static_assert(Timeout::after(5ns).duration() == 5ns);
static_assert(Timeout::after(0ns).is_none());
static_assert(Clock::is_steady);

TEST_CASE("a moment that has passed is no time at all") {
    CHECK(Timeout::after(-1ns).is_none());
    CHECK(Timeout::after(Duration::min()).is_none());
    CHECK_FALSE(Timeout::after(-1ns).is_forever());
}

TEST_CASE("milliseconds are rounded up, never down") {
    CHECK(Timeout::none().milliseconds() == 0);
    CHECK(Timeout::after(1ns).milliseconds() == 1);
    CHECK(Timeout::after(999'999ns).milliseconds() == 1);
    CHECK(Timeout::after(1ms).milliseconds() == 1);
    CHECK(Timeout::after(1ms + 1ns).milliseconds() == 2);
    CHECK(Timeout::after(1s).milliseconds() == 1000);
}

TEST_CASE("milliseconds of forever are -1") { CHECK(Timeout::forever().milliseconds() == -1); }

TEST_CASE("milliseconds are cut at the largest int") {
    constexpr auto longest = std::chrono::milliseconds{k_longest};
    CHECK(Timeout::after(longest - 1ms).milliseconds() == k_longest - 1);
    CHECK(Timeout::after(longest - 1ns).milliseconds() == k_longest);
    CHECK(Timeout::after(longest).milliseconds() == k_longest);
    CHECK(Timeout::after(longest + 1ns).milliseconds() == k_longest);
    CHECK(Timeout::after(Duration::max()).milliseconds() == k_longest);
}

TEST_CASE("forever is longer than any other timeout") {
    const Timeout longest = Timeout::after(Duration::max());
    CHECK_FALSE(Timeout::shorter(Timeout::forever(), longest).is_forever());
    CHECK_FALSE(Timeout::shorter(longest, Timeout::forever()).is_forever());
    CHECK(Timeout::shorter(Timeout::forever(), Timeout::forever()).is_forever());
    CHECK(Timeout::shorter(Timeout::forever(), Timeout::none()).is_none());
    CHECK(Timeout::shorter(Timeout::none(), Timeout::forever()).is_none());
}

TEST_CASE("the shorter of two durations does not depend on their order") {
    CHECK(Timeout::shorter(Timeout::after(1ns), Timeout::after(2ns)).duration() == 1ns);
    CHECK(Timeout::shorter(Timeout::after(2ns), Timeout::after(1ns)).duration() == 1ns);
}

}  // namespace
}  // namespace epoll
