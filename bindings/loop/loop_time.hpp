#pragma once

#include <algorithm>
#include <cstdint>

#include <epoll/base/clock.hpp>

// Between loop.time(), in seconds, and the clock. Both are CLOCK_MONOTONIC.

namespace epoll::python {

/// The number that time.monotonic() answers at this moment.
[[nodiscard]] inline double to_seconds(TimePoint moment) noexcept {
    constexpr std::int64_t k_second = 1'000'000'000;
    const std::int64_t nanoseconds = moment.time_since_epoch().count();
    if (nanoseconds % k_second == 0) {
        const std::int64_t seconds = nanoseconds / k_second;
        return static_cast<double>(seconds);
    }
    return static_cast<double>(nanoseconds) / 1e9;
}

/// The first moment at which to_seconds() is not less than `when`. A time that does not fit is as
/// far away as can be; what is not a number is due at once.
[[nodiscard]] inline TimePoint to_moment(double when) noexcept {
    constexpr double k_most = 9.2e18;  // nanoseconds: 291 years
    const double exact = when * 1e9;
    if (exact >= k_most) {
        return TimePoint::max();
    }
    if (!(exact > -k_most)) {
        return TimePoint::min();
    }
    const auto cut = static_cast<std::int64_t>(exact);
    TimePoint moment{Duration{static_cast<double>(cut) < exact ? cut + 1 : cut}};
    while (to_seconds(moment) < when) {  // the multiplication has rounded down
        moment += Duration{std::max<std::int64_t>(1, moment.time_since_epoch().count() >> 53)};
    }
    return moment;
}

}  // namespace epoll::python
