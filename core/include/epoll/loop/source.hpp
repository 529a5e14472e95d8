#pragma once

#include <cstdint>

#include <epoll/base/intrusive_list.hpp>
#include <epoll/poll/events.hpp>

namespace epoll {

class Reactor;

struct ReadyTag;
struct ChangedTag;

/// One descriptor watched by a Reactor, level-triggered. The three masks are the whole state.
///
/// A resource that belongs to the reactor's thread. It does not own the descriptor: the class that
/// derives from it does, and calls leave() before it closes it. All members are for that class.
class Source : private ListHook<ReadyTag>, private ListHook<ChangedTag> {
  public:
    Source(const Source&) = delete;
    Source& operator=(const Source&) = delete;

  protected:
    /// `reactor` must outlive the source. Nothing is watched before join().
    explicit Source(Reactor& reactor) noexcept : reactor_(reactor) {}
    ~Source() { leave(); }

    /// Starts watching `fd` for `wanted`, at once. Throws std::system_error when the kernel
    /// refuses.
    ///
    /// Level-triggered: neither Events::one_shot nor Events::edge_triggered may be among `wanted`.
    /// Events::exclusive may be among `wanted`, for a listening socket that several processes
    /// share.
    void join(int fd, Events wanted);

    /// Wants `wanted` and nothing else, and tells the kernel at once. For a descriptor that
    /// somebody else may have closed: true when the kernel still watches the file that joined;
    /// false when nobody knows, and what the number stands for now was joined anew (nothing that
    /// was reported before is delivered). That is so for another file, and for any that the kernel
    /// did not watch at the moment: taken out because of an ERR or HUP that nobody wanted, or
    /// refused. Throws std::system_error when the kernel refuses; nothing is watched then. Only
    /// while is_joined(), and without Events::exclusive.
    [[nodiscard]] bool renew(Events wanted);

    /// Stops watching, at once; nothing happens when nothing was watched. on_ready() is not called
    /// any more, not even for what was reported already.
    void leave() noexcept;

    /// Adds to what is wanted. The kernel hears of it before the next wait; a wish that is taken
    /// back before costs nothing. If the kernel then refuses, on_ready(Events::error | wanted) says
    /// so.
    void want(Events events) noexcept;

    /// Takes away from what is wanted: on_ready() does not report it any more. The kernel is told
    /// when, and only if, it reports an event that nobody wants.
    void unwant(Events events) noexcept;

    [[nodiscard]] bool is_joined() const noexcept { return slot_ != k_no_slot; }
    [[nodiscard]] Events wanted() const noexcept { return wanted_; }
    [[nodiscard]] Reactor& reactor() const noexcept { return reactor_; }

  private:
    friend class Reactor;
    template <class T, class Tag>
    friend class IntrusiveList;
    static constexpr std::uint32_t k_no_slot = UINT32_MAX;

    /// Called in the dispatch phase with what is both reported and wanted at this moment, never
    /// with nothing. EPOLLERR and EPOLLHUP arrive as readable and writable: the next read or write
    /// says what has happened; who wants neither of the two does not hear of them. The source may
    /// be destroyed inside, as may any other.
    virtual void on_ready(Events ready) noexcept = 0;

    Reactor& reactor_;
    int fd_ = -1;
    std::uint32_t slot_ = k_no_slot;  ///< the reactor's table entry, which also has the generation
    Events wanted_ = Events::none;    ///< what the owner asked for
    Events armed_ = Events::none;     ///< what epoll has been told
    Events ready_ = Events::none;     ///< what epoll has reported and nobody has consumed
    bool is_in_epoll_ = false;        ///< false while joined: taken out because of an ERR or HUP
};

}  // namespace epoll
