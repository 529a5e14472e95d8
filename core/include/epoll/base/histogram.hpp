#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <epoll/base/clock.hpp>
#include <epoll/base/counter.hpp>

namespace epoll {

/// What a Histogram has counted, at one moment.
struct HistogramCounts {
    /// 1,024 ns, 2,048 ns, 4,096 ns … 17.2 s, and the rest.
    static constexpr std::size_t k_buckets = 26;
    static constexpr unsigned k_first_bound = 10;  ///< log2 of the first bound

    std::array<std::uint64_t, k_buckets> buckets;
    std::uint64_t sum;  ///< of all durations, ns

    /// The longest duration that belongs to a bucket. The last one has no bound.
    [[nodiscard]] static constexpr Duration bound(std::size_t bucket) noexcept {
        return Duration{std::int64_t{1} << (k_first_bound + bucket)};
    }
};

/// How many durations there were of which length, in buckets whose bounds are powers of two. One
/// thread notes, every thread may read; it costs as little as a Counter: no locked instruction, no
/// allocation, no branch that depends on the length.
class Histogram {
  public:
    /// A negative duration counts as zero.
    void note(Duration duration) noexcept {
        const auto length = static_cast<std::uint64_t>(std::max<std::int64_t>(duration.count(), 0));
        const auto width =
            static_cast<unsigned>(std::bit_width(length - std::min<std::uint64_t>(length, 1)));
        const unsigned above = std::max(width, HistogramCounts::k_first_bound);
        const std::size_t bucket = above - HistogramCounts::k_first_bound;
        buckets_[std::min(bucket, buckets_.size() - 1)].add(1);
        sum_.add(length);
    }

    /// Any thread; each number is exact, their moment is not the same.
    [[nodiscard]] HistogramCounts counts() const noexcept {
        HistogramCounts counts{{}, sum_.value()};
        std::ranges::transform(buckets_, counts.buckets.begin(), &Counter::value);
        return counts;
    }

  private:
    std::array<Counter, HistogramCounts::k_buckets> buckets_;
    Counter sum_;
};

}  // namespace epoll
