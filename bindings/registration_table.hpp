#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <epoll/poll/poller.hpp>

#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

/// A tuple that reported `events` before. It is immutable, so it may be handed out again.
struct CachedReport {
    Events events = Events::none;
    Ref pair;  ///< empty: nothing was reported yet
};

/// What Python attached to one descriptor when it was registered.
struct Registration {
    std::uint32_t generation =
        0;  ///< tells it from earlier ones of the same number; 0: there is none
    Events events = Events::none;
    Ref data;  ///< empty: nothing was attached
    CachedReport by_fd;
    CachedReport by_data;

    [[nodiscard]] bool exists() const noexcept { return generation != 0; }
};

// A report carries a token: the descriptor and the generation of its registration. A descriptor
// number alone could be a stranger's: closed and reused while its report was on the way, or kept
// alive by a dup(2) after its number was given away.

[[nodiscard]] constexpr Token make_token(int fd, std::uint32_t generation) noexcept {
    return (Token{generation} << 32U) | static_cast<std::uint32_t>(fd);
}
[[nodiscard]] constexpr int fd_of(Token token) noexcept {
    return static_cast<int>(static_cast<std::uint32_t>(token));
}
[[nodiscard]] constexpr std::uint32_t generation_of(Token token) noexcept {
    return static_cast<std::uint32_t>(token >> 32U);
}

/// The registrations of one epoll by descriptor: two array look-ups, no hashing.
///
/// A Registration stays where it is until the table is destroyed. The owner locks; replaced and
/// taken registrations are answered, so that the caller can drop what they refer to outside of its
/// lock.
class RegistrationTable {
  public:
    /// The registration of a descriptor, or null.
    [[nodiscard]] Registration* find(int fd) noexcept;

    /// The registration that a report belongs to, or null when it is not (or no longer) in the
    /// table.
    [[nodiscard]] Registration* find(Token token) noexcept;

    /// Makes room for a descriptor, so that put() cannot fail. Throws std::bad_alloc.
    void reserve(int fd);

    /// Puts a registration in its reserved place and answers what was there.
    [[nodiscard]] Registration put(int fd, Registration registration) noexcept;

    /// Takes out a registration, if there is one.
    [[nodiscard]] Registration take(int fd) noexcept;

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// No descriptor in the table is as large as this.
    [[nodiscard]] int bound() const noexcept {
        return static_cast<int>(pages_.size() * k_page_size);
    }

    /// Calls visit(fd, Registration&) by ascending descriptor until it answers false; answers
    /// whether all were visited. The table must not be changed meanwhile.
    template <class Visit>
    bool for_each(Visit&& visit);

  private:
    static constexpr std::size_t k_page_size = 64;
    using Page = std::array<Registration, k_page_size>;

    [[nodiscard]] Registration* place(int fd) noexcept;

    std::vector<std::unique_ptr<Page>> pages_;
    std::size_t size_ = 0;
};

template <class Visit>
bool RegistrationTable::for_each(Visit&& visit) {
    int fd = 0;
    for (const std::unique_ptr<Page>& page : pages_) {
        if (page == nullptr) {
            fd += static_cast<int>(k_page_size);
            continue;
        }
        for (Registration& registration : *page) {
            if (registration.exists() && !visit(fd, registration)) {
                return false;
            }
            ++fd;
        }
    }
    return true;
}

inline Registration* RegistrationTable::place(int fd) noexcept {
    const auto index = static_cast<std::size_t>(static_cast<unsigned int>(fd));
    const std::size_t page = index / k_page_size;
    return page < pages_.size() && pages_[page] != nullptr ? &(*pages_[page])[index % k_page_size]
                                                           : nullptr;
}

inline Registration* RegistrationTable::find(int fd) noexcept {
    Registration* const found = place(fd);
    return found != nullptr && found->exists() ? found : nullptr;
}

inline Registration* RegistrationTable::find(Token token) noexcept {
    Registration* const found = find(fd_of(token));
    return found != nullptr && found->generation == generation_of(token) ? found : nullptr;
}

}  // namespace epoll::python
