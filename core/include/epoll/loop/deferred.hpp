#pragma once

#include <atomic>
#include <cstdint>

#include <epoll/base/intrusive_list.hpp>

namespace epoll {

struct DeferredTag;

/// Something to run once, soon, on the reactor's thread. A resource; destroying it (on the
/// reactor's thread) or cancel() takes it back.
class Deferred : private ListHook<DeferredTag> {
  public:
    Deferred() noexcept = default;

    [[nodiscard]] bool is_scheduled() const noexcept { return is_linked(); }
    void cancel() noexcept { unlink(); }

  protected:
    ~Deferred() = default;

  private:
    friend class Reactor;
    template <class T, class Tag>
    friend class IntrusiveList;
    template <class T, class Tag>
    friend class IntrusiveInbox;
    virtual void on_turn() noexcept = 0;

    std::uint32_t round_ = 0;  ///< Reactor::round_ when it was scheduled
    std::atomic<bool> is_posted_{false};
};

/// A Deferred that calls a member function: `MemberDeferred<Stream, &Stream::flush> flush_{*this};`
template <class Owner, void (Owner::*method)() noexcept>
class MemberDeferred final : public Deferred {
  public:
    explicit MemberDeferred(Owner& owner) noexcept : owner_(owner) {}

  private:
    void on_turn() noexcept override { (owner_.*method)(); }
    Owner& owner_;
};

}  // namespace epoll
