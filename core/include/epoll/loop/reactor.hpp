#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include <epoll/base/clock.hpp>
#include <epoll/base/counter.hpp>
#include <epoll/base/intrusive_list.hpp>
#include <epoll/loop/source.hpp>
#include <epoll/loop/timer_queue.hpp>
#include <epoll/poll/poller.hpp>
#include <epoll/poll/waker.hpp>

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
    virtual void on_turn() noexcept = 0;

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

/// Told around every wait that may block and around no other, on the reactor's thread: where a host
/// language lets go of its lock, and where it looks for signals.
class WaitObserver {
  public:
    virtual void on_block() noexcept = 0;
    virtual void on_unblock() noexcept = 0;

    /// Asked before such a wait: shall it be tried without blocking first? It costs a system call
    /// when nothing is ready, and saves letting go of the lock, which may be long in coming back,
    /// when something is.
    [[nodiscard]] virtual bool prefers_polling() noexcept = 0;

  protected:
    ~WaitObserver() = default;
};

/// What a reactor has done since it was made.
struct ReactorStatistics {
    std::uint64_t turns;     ///< rounds of the loop
    std::uint64_t waits;     ///< system calls that waited, the ones with a timeout of 0 included
    std::uint64_t events;    ///< reports of the kernel
    std::uint64_t changes;   ///< epoll_ctl calls
    std::uint64_t timers;    ///< timers fired
    std::uint64_t deferred;  ///< deferred and posted items run
};

/// The event loop: epoll, timers and deferred work of one thread.
///
/// A turn has four phases, always in this order (it is asyncio's order):
///   collect   one wait; the kernel's reports become masks. No user code runs.
///   deferred  what was deferred or posted until the wait ended.
///   dispatch  on_ready() of the sources that are ready and still want it.
///   timers    the due ones.
/// What a phase adds waits for the next turn, so nothing can starve the rest; what was given to
/// before_wait() runs at the end of the turn. The moment of the turn, now(), is read once.
///
/// One thread runs it and calls everything but post(), stop() and statistics(), which any thread
/// may call. Callbacks do not throw. After a fork the child must not use the parent's reactor: both
/// would share one epoll.
class Reactor {
  public:
    /// Throws std::system_error when the kernel has no descriptor left (it takes two).
    Reactor();
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;
    ~Reactor();

    /// Runs turns until stop(). Throws std::system_error only if epoll itself fails (EBADF:
    /// somebody closed a descriptor that is not theirs).
    void run();

    /// Runs one turn, in which it waits no longer than `limit`, nor past the next timer.
    void run_turn(Timeout limit);

    /// Makes run() return at the end of its present turn, or of its first one if it is called
    /// later; no turn waits until then. Any thread; async-signal-safe.
    void stop() noexcept;

    /// Runs `item` in the next turn's deferred phase, in order. Nothing happens when it is
    /// scheduled already.
    void defer(Deferred& item) noexcept;

    /// Runs `item` at the end of this turn, before the next wait; also what such an item adds.
    /// Nothing happens when it is scheduled already, by defer() or here. An item that adds itself
    /// again would keep the turn from ending.
    void before_wait(Deferred& item) noexcept;

    /// As defer(), from any thread. Nothing happens when it is posted already; it must not be
    /// deferred, cancelled or destroyed before it has run.
    void post(Deferred& item) noexcept;

    [[nodiscard]] TimerQueue& timers() noexcept { return timers_; }

    /// The moment at which this turn's wait ended; constant during the turn.
    [[nodiscard]] TimePoint now() const noexcept { return now_; }

    /// At most one observer; null for none. It must outlive its use.
    void set_observer(WaitObserver* observer) noexcept { observer_ = observer; }

    /// Any thread; each number is exact, their moment is not the same.
    [[nodiscard]] ReactorStatistics statistics() const noexcept;

  private:
    friend class Source;
    class WakeSource;

    /// A registration: the kernel carries slot and generation, so that a late report for a source
    /// that has left (a dup or a forked child kept the file open) meets the wrong generation.
    struct Slot {
        Source* source;
        std::uint32_t generation;
        std::uint32_t next_free;
    };
    using Deferreds = IntrusiveList<Deferred, DeferredTag>;

    [[nodiscard]] std::uint32_t take_slot(Source& source);
    void free_slot(std::uint32_t slot) noexcept;
    [[nodiscard]] Token token_of(const Source& source) const noexcept;
    void note_change(Source& source) noexcept;
    void apply_change(Source& source) noexcept;
    void apply_changes() noexcept;
    void rearm(Source& source) noexcept;
    void note_ready(Source& source, Events ready) noexcept;
    void rebuild() noexcept;

    [[nodiscard]] Timeout time_left(Timeout limit) noexcept;
    [[nodiscard]] std::size_t wait(Timeout limit);
    [[nodiscard]] IoResult block(Timeout timeout) noexcept;
    [[nodiscard]] bool collect(const Ready& report) noexcept;  ///< false: it belongs to nobody
    void take_posted() noexcept;
    void run_deferred() noexcept;
    void dispatch() noexcept;
    void finish_turn() noexcept;

    Poller poller_;
    Waker waker_;
    std::vector<Slot> slots_;
    std::uint32_t free_slots_ = Source::k_no_slot;
    IntrusiveList<Source, ReadyTag> ready_;
    IntrusiveList<Source, ChangedTag> changed_;
    Deferreds deferred_;
    Deferreds before_wait_;
    TimerQueue timers_;
    TimePoint now_;
    WaitObserver* observer_ = nullptr;
    std::vector<Ready> room_;

    std::mutex posted_mutex_;
    Deferreds posted_;                     ///< guarded by posted_mutex_
    std::atomic<bool> has_posted_{false};  ///< posted_ is not empty
    std::atomic<bool> is_waiting_{false};  ///< a wait that may block has begun, or is about to
    std::atomic<bool> stop_requested_{false};

    Counter turns_, waits_, events_, changes_, timers_fired_, deferred_run_;

    std::unique_ptr<WakeSource> wake_source_;  ///< last: it joins a reactor that is complete
};

}  // namespace epoll
