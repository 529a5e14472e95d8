#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

/// What both modules bind: a stand-in for the core that costs next to nothing itself.
namespace binder {

/// A descriptor with the events it waits for; counts the bytes it was given.
class Endpoint {
  public:
    Endpoint(int fd, int events) noexcept : fd_{fd}, events_{events} {}

    [[nodiscard]] int fd() const noexcept { return fd_; }
    [[nodiscard]] int events() const noexcept { return events_; }

    /// Returns the number of bytes given since the beginning, this span included.
    std::uint64_t consume(std::span<const std::byte> bytes) noexcept {
        consumed_ += bytes.size();
        return consumed_;
    }

  private:
    int fd_;
    int events_;
    std::uint64_t consumed_ = 0;
};

/// Wraps around instead of overflowing, so that any three ints are a valid input.
[[nodiscard]] inline int sum(int first, int second, int third) noexcept {
    return static_cast<int>(static_cast<unsigned>(first) + static_cast<unsigned>(second) +
                            static_cast<unsigned>(third));
}

/// One hundred (fd, events) pairs, as a full turn of epoll_wait reports them.
[[nodiscard]] inline const std::vector<std::pair<int, int>>& ready_pairs() {
    static const std::vector<std::pair<int, int>> pairs = [] {
        std::vector<std::pair<int, int>> made;
        for (int fd = 1000; fd < 1100; ++fd) {
            made.emplace_back(fd, 1);
        }
        return made;
    }();
    return pairs;
}

}  // namespace binder
