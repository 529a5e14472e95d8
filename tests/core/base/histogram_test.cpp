#include <epoll/base/histogram.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include <doctest/doctest.h>

namespace epoll {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t k_last = HistogramCounts::k_buckets - 1;

/// Notes one duration and answers the bucket that has it.
std::size_t bucket_of(Duration duration) {
    Histogram histogram;
    histogram.note(duration);
    const HistogramCounts counts = histogram.counts();
    REQUIRE(std::accumulate(counts.buckets.begin(), counts.buckets.end(), std::uint64_t{0}) == 1);
    std::size_t bucket = 0;
    while (counts.buckets[bucket] == 0) {
        ++bucket;
    }
    return bucket;
}

TEST_CASE("a histogram begins empty") {
    const HistogramCounts counts = Histogram{}.counts();
    CHECK(counts.sum == 0);
    for (const std::uint64_t count : counts.buckets) {
        CHECK(count == 0);
    }
}

TEST_CASE("the bounds are powers of two, and belong to the bucket below") {
    CHECK(HistogramCounts::bound(0) == 1024ns);
    for (std::size_t bucket = 0; bucket != k_last; ++bucket) {
        CHECK(bucket_of(HistogramCounts::bound(bucket)) == bucket);
        CHECK(bucket_of(HistogramCounts::bound(bucket) + 1ns) == bucket + 1);
    }
}

TEST_CASE("what is short, nothing or negative is in the first bucket") {
    CHECK(bucket_of(0ns) == 0);
    CHECK(bucket_of(1ns) == 0);
    CHECK(bucket_of(-5ns) == 0);
    CHECK(bucket_of(Duration::min()) == 0);
}

TEST_CASE("what is long is in the last bucket") {
    CHECK(bucket_of(18s) == k_last);
    CHECK(bucket_of(Duration::max()) == k_last);
}

TEST_CASE("the sum is that of all durations, where negative ones are zero") {
    Histogram histogram;
    histogram.note(3us);
    histogram.note(40ns);
    histogram.note(-1s);
    CHECK(histogram.counts().sum == 3'040);
}

}  // namespace
}  // namespace epoll
