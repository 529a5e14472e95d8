#include <epoll/base/clock.hpp>

#include <limits>

namespace epoll {

int Timeout::milliseconds() const noexcept {
    if (is_forever()) {
        return -1;
    }
    const auto rounded_up = std::chrono::ceil<std::chrono::milliseconds>(left_).count();
    constexpr auto longest = std::numeric_limits<int>::max();
    return rounded_up < longest ? static_cast<int>(rounded_up) : longest;
}

}  // namespace epoll
