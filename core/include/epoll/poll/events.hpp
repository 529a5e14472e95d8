#pragma once

#include <cstdint>

namespace epoll {

/// What can be wanted of a descriptor, and what can be reported of it: EPOLL* of epoll_ctl(2) as a
/// typed set. Unsigned: `edge_triggered` is bit 31.
enum class Events : std::uint32_t {
    none = 0,
    readable = 0x001,           ///< EPOLLIN
    priority = 0x002,           ///< EPOLLPRI
    writable = 0x004,           ///< EPOLLOUT
    error = 0x008,              ///< EPOLLERR: always reported, wanted or not
    hang_up = 0x010,            ///< EPOLLHUP: always reported, wanted or not
    peer_finished = 0x2000,     ///< EPOLLRDHUP: the peer shut down its writing side
    exclusive = 1U << 28,       ///< EPOLLEXCLUSIVE: wake one of several epolls; only with add
    wake_up = 1U << 29,         ///< EPOLLWAKEUP: no suspend while handled; needs CAP_BLOCK_SUSPEND
    one_shot = 1U << 30,        ///< EPOLLONESHOT: disarmed by its first report
    edge_triggered = 1U << 31,  ///< EPOLLET: report changes, not states
};

[[nodiscard]] constexpr std::uint32_t bits(Events events) noexcept {
    return static_cast<std::uint32_t>(events);
}
[[nodiscard]] constexpr Events operator|(Events a, Events b) noexcept {
    return Events{bits(a) | bits(b)};
}
[[nodiscard]] constexpr Events operator&(Events a, Events b) noexcept {
    return Events{bits(a) & bits(b)};
}
[[nodiscard]] constexpr Events operator~(Events a) noexcept { return Events{~bits(a)}; }
constexpr Events& operator|=(Events& a, Events b) noexcept { return a = a | b; }
constexpr Events& operator&=(Events& a, Events b) noexcept { return a = a & b; }

/// True when the two sets have an event in common.
[[nodiscard]] constexpr bool has_any(Events set, Events of) noexcept {
    return (set & of) != Events::none;
}

/// True when every event of `of` is in `set`.
[[nodiscard]] constexpr bool has_all(Events set, Events of) noexcept { return (set & of) == of; }

}  // namespace epoll
