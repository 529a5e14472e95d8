#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <epoll/base/clock.hpp>
#include <epoll/base/counter.hpp>
#include <epoll/base/intrusive_list.hpp>
#include <epoll/loop/deferred.hpp>
#include <epoll/loop/source.hpp>
#include <epoll/loop/statistics.hpp>
#include <epoll/loop/timer_queue.hpp>
#include <epoll/loop/wait_observer.hpp>
#include <epoll/poll/poller.hpp>
#include <epoll/poll/waker.hpp>

namespace epoll {

/// The event loop: epoll, timers and deferred work of one thread.
///
/// A turn has four phases, always in this order (it is asyncio's order):
///   collect   one wait; the kernel's reports become masks. No user code runs. A turn that has
///             deferred work may do without: set_poll_interval().
///   deferred  what was deferred or posted until the wait ended.
///   dispatch  on_ready() of the sources that are ready and still want it.
///   timers    the due ones.
/// What a phase adds waits for the next turn, so nothing can starve the rest; what was given to
/// before_wait() runs at the end of the turn. The moment of the turn, now(), is read once.
///
/// One thread runs it and calls everything but post(), stop() and statistics(), which any thread
/// may call. Callbacks do not throw. After a fork the child must not use the parent's reactor, as
/// both would share one epoll: it calls on_fork() first.
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

    /// Ends the present turn, and run(), as soon as the present callback returns; an end by stop()
    /// goes through the whole turn. In any callback, WaitObserver's included; elsewhere nothing
    /// happens.
    ///
    /// Nothing that was scheduled is lost. What was deferred runs first in the next turn, in its
    /// order; who was reported ready is called and a timer that was due fires then, unless they do
    /// not want it any more. What was given to before_wait() still runs in this turn.
    void interrupt() noexcept;

    /// While something is deferred or posted, asks the kernel only in turns that begin `interval`
    /// or more after the last wait returned: a loop that hands itself one item after the other is
    /// not held up by a system call for each. Timers and posted items have their due in every turn,
    /// and the first turn of run() and of each run_turn() always asks; so does the turn after one
    /// in which a source has joined, or wants what the kernel was not told yet. Zero, the default:
    /// every turn asks.
    ///
    /// Nor by the clock: while no timer is started, turns that run short items and nothing else
    /// read it once for several items. So a report of the kernel waits for `interval`, and then for
    /// the turn in which the eighth item since the last reading runs. Items that take long (a
    /// quarter of `interval`, all since the last reading together) have it read in every turn.
    void set_poll_interval(Duration interval) noexcept { poll_interval_ = interval; }

    /// In the child of a fork, before anything else is done with the reactor there: replaces epoll
    /// and the eventfd by new ones, so that nothing the child does reaches the parent.
    ///
    /// Nothing is registered in them. No source is ready or will be; all that a source may still do
    /// is to leave (or be destroyed), which is no system call then. What before_wait() was given is
    /// dropped, as the parent does it; deferred items and timers stay. When the kernel has no
    /// descriptor left, run() throws. No other thread may be in post() at the moment of the fork.
    void on_fork() noexcept;

    /// Closes the descriptors before the end: who keeps sources, deferred items or timers may live
    /// longer than the loop that ran them. What was deferred or posted is taken back, nothing is
    /// ready or will be; a source may still leave, a timer be stopped. run() throws. Not while it
    /// runs, nor while another thread is in post() or stop().
    void close() noexcept;

    /// Runs `item` in the next turn's deferred phase, in order: after all that was deferred or
    /// posted before. Nothing happens when it is scheduled already.
    void defer(Deferred& item) noexcept;

    /// Runs `item` at the end of this turn, before the next wait; also what such an item adds.
    /// Nothing happens when it is scheduled already, by defer() or here. An item that adds itself
    /// again would keep the turn from ending.
    void before_wait(Deferred& item) noexcept;

    /// As defer(), from any thread. Nothing happens when it is posted already; until it has run it
    /// must not be deferred, cancelled or destroyed, nor posted when it was deferred.
    void post(Deferred& item) noexcept;

    /// Ends a wait that may block; nothing happens when there is none. Any thread. For a host
    /// language whose lock keeps the reactor's thread out of all but such a wait: who has the lock
    /// may call what is for that thread, and then this.
    void wake() noexcept;

    [[nodiscard]] TimerQueue& timers() noexcept { return timers_; }

    /// The moment at which this turn's wait ended, or, in a turn without one, at which somebody
    /// asked first; constant from then on during the turn.
    [[nodiscard]] TimePoint now() noexcept;

    /// At most one observer; null for none. It must outlive its use.
    void set_observer(WaitObserver* observer) noexcept { observer_ = observer; }

    /// Any thread; each number is exact, their moment is not the same. calls(): deferred items and
    /// sources so far, the present one included, for who only asks whether something happens.
    [[nodiscard]] ReactorStatistics statistics() const noexcept;
    [[nodiscard]] std::uint64_t turns() const noexcept { return turns_.value(); }
    [[nodiscard]] std::uint64_t calls() const noexcept {
        return deferred_run_.value() + dispatched_.value();
    }

    /// Where those who move bytes over this reactor count them.
    [[nodiscard]] Traffic& traffic() noexcept { return traffic_; }

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
    void add_to_epoll(const Source& source, Events wanted);
    void take_number(const Source& source) noexcept;
    [[nodiscard]] Token token_of(const Source& source) const noexcept;
    void note_change(Source& source) noexcept;
    void apply_change(Source& source) noexcept;
    void apply_changes() noexcept;
    void rearm(Source& source) noexcept;
    void note_ready(Source& source, Events ready) noexcept;
    void rebuild() noexcept;

    void abandon() noexcept;
    void begin_run() noexcept;
    void make_turn(Timeout limit);
    [[nodiscard]] bool may_skip_wait() noexcept;
    void wait_and_collect(Timeout limit);
    [[nodiscard]] Timeout time_left(Timeout limit) noexcept;
    [[nodiscard]] std::size_t wait(Timeout limit);
    [[nodiscard]] IoResult block(Timeout timeout) noexcept;
    [[nodiscard]] bool collect(const Ready& report) noexcept;  ///< false: it belongs to nobody
    void take_posted() noexcept;
    void run_deferred() noexcept;
    void dispatch() noexcept;
    void fire_timers(bool is_late);
    void finish_turn() noexcept;
    void note_stretch(TimePoint end) noexcept;

    Poller poller_;
    Waker waker_;
    std::vector<Slot> slots_;
    std::uint32_t free_slots_ = Source::k_no_slot;
    std::vector<std::uint32_t>
        slots_by_fd_;  ///< who registered the number last, if he still has it
    IntrusiveList<Source, ReadyTag> ready_;
    IntrusiveList<Source, ChangedTag> changed_;
    Deferreds deferred_;
    Deferreds before_wait_;
    std::uint32_t round_ = 0;  ///< counts the deferred phases: what one adds the next one runs
    TimerQueue timers_;
    TimePoint now_;
    bool is_now_read_ = true;      ///< now_ belongs to this turn
    TimePoint waited_at_{};        ///< when the last wait ended, or the run began
    TimePoint rested_at_{};        ///< when the present wait began, if it may block
    TimePoint looked_at_{};        ///< when may_skip_wait() has read the clock last, or that
    std::uint64_t next_look_ = 0;  ///< it does so again when so many deferred items have run
    Duration poll_interval_{0};
    bool must_wait_ = true;        ///< the first turn of a run, and after a new wish
    bool is_interrupted_ = false;  ///< nothing but before_wait_ runs any more in this turn
    WaitObserver* observer_ = nullptr;
    std::vector<Ready> room_;

    IntrusiveInbox<Deferred, DeferredTag> posted_;
    /// A wait that may block has begun, or is about to, and nobody has woken it.
    std::atomic<bool> is_waiting_{false};
    std::atomic<bool> stop_requested_{false};

    Counter turns_, waits_, events_, changes_, timers_fired_, deferred_run_, dispatched_;
    Counter watched_, depth_, most_depth_, waiting_, running_;
    Histogram stretches_;
    Traffic traffic_;

    std::unique_ptr<WakeSource> wake_source_;  ///< last: it joins a reactor that is complete
};

}  // namespace epoll
