#include <epoll/base/counter.hpp>

#include <atomic>
#include <cstdint>
#include <thread>

#include <doctest/doctest.h>

namespace epoll {
namespace {

TEST_CASE("a counter starts at 0 and keeps the sum") {
    Counter counter;
    CHECK(counter.value() == 0);
    counter.add(5);
    counter.add(7);
    counter.subtract(2);
    CHECK(counter.value() == 10);
}

TEST_CASE("another thread never sees a counter go back") {
    constexpr std::uint64_t k_rounds = 100'000;
    Counter counter;
    std::atomic<bool> went_back{false};
    std::thread reader{[&] {
        std::uint64_t last = 0;
        while (last != k_rounds) {
            const std::uint64_t seen = counter.value();
            if (seen < last) {
                went_back = true;
            }
            last = seen;
        }
    }};
    for (std::uint64_t i = 0; i != k_rounds; ++i) {
        counter.add(1);
    }
    reader.join();
    CHECK_FALSE(went_back);
}

}  // namespace
}  // namespace epoll
