#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include <epoll/base/clock.hpp>
#include <epoll/base/histogram.hpp>

namespace epoll {

class TimerQueue;

/// Something that happens once at a time. A resource: it stays where its owner put it, and
/// destroying it stops it.
class Timer {
  public:
    Timer() noexcept = default;
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

    [[nodiscard]] bool is_started() const noexcept { return queue_ != nullptr; }

    /// When it is due. Only while is_started().
    [[nodiscard]] TimePoint due() const noexcept { return due_; }

    /// It will not fire. Nothing happens when it was not started.
    void stop() noexcept;

  protected:
    ~Timer() { stop(); }

  private:
    friend class TimerQueue;

    /// Called once, when the time has come; the timer is stopped already, so it may be started
    /// again, and it may be destroyed inside.
    virtual void on_due() noexcept = 0;

    TimerQueue* queue_ = nullptr;
    std::size_t index_ = 0;  ///< place in the heap, or among those that fire right now
    bool is_firing_ = false;
    TimePoint due_{};
    std::uint64_t order_ = 0;  ///< timers of the same moment fire in the order they were started
};

/// A Timer that calls a member function: `MemberTimer<Server, &Server::on_idle> timer_{*this};`
template <class Owner, void (Owner::*method)() noexcept>
class MemberTimer final : public Timer {
  public:
    explicit MemberTimer(Owner& owner) noexcept : owner_(owner) {}

  private:
    void on_due() noexcept override { (owner_.*method)(); }
    Owner& owner_;
};

/// The timers of one loop, earliest first: a 4-ary heap, in which each timer knows its place, so
/// that stopping one costs O(log n) and leaves nothing behind. When most are due at once they are
/// sorted instead.
///
/// It has no clock: the caller says what time it is. One thread.
class TimerQueue {
  public:
    TimerQueue() = default;
    TimerQueue(const TimerQueue&) = delete;
    TimerQueue& operator=(const TimerQueue&) = delete;
    ~TimerQueue();

    /// Starts `timer`, or moves it when it is started already. May throw std::bad_alloc.
    void start(Timer& timer, TimePoint due);

    /// The moment of the earliest timer, nothing when there is none.
    [[nodiscard]] std::optional<TimePoint> next_due() const noexcept;

    /// Fires the timers that are due at `now`, in the order of their moments, and answers how many.
    /// A timer that a callback starts waits for the next call, even when its moment has passed, so
    /// no callback can keep the loop here; one that a callback stops does not fire. Not re-entrant.
    /// When it throws std::bad_alloc nothing has fired. `moment`, not before `now`, is the one that
    /// lateness() goes by: what time it really is.
    std::size_t fire(TimePoint now, TimePoint moment);
    std::size_t fire(TimePoint now) { return fire(now, now); }

    /// Ends the present fire() as soon as its callback returns. The timers that it has not fired
    /// are as if it had not looked at them: the next one fires them, in the same order. Nothing
    /// happens outside of fire().
    void stop_firing() noexcept { is_stopping_ = true; }

    /// fire() has something to do.
    [[nodiscard]] bool has_due(TimePoint now) const noexcept {
        return !heap_.empty() && heap_.front().due <= now;
    }

    /// How late each timer was that has fired: from its moment to the one that fire() was told. Any
    /// thread.
    [[nodiscard]] HistogramCounts lateness() const noexcept { return lateness_.counts(); }

    /// How many timers are started and not about to fire.
    [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }

  private:
    friend class Timer;
    static constexpr std::size_t k_children = 4;

    /// The moment stands beside the pointer, as most comparisons need nothing else of a timer.
    struct Entry {
        TimePoint due;
        Timer* timer;
    };

    [[nodiscard]] static bool is_before(const Entry& a, const Entry& b) noexcept;
    void make_room();
    void take_due(TimePoint now);
    void take_due_together(TimePoint now);
    [[nodiscard]] bool are_many_due(TimePoint now) const noexcept;
    void put_back(std::size_t from) noexcept;
    void add_to_heap(Timer& timer) noexcept;
    void remove(Timer& timer) noexcept;
    void remove_from_heap(std::size_t index) noexcept;
    void sift_up(Entry entry, std::size_t index) noexcept;
    void sift_down(Entry entry, std::size_t index) noexcept;
    void place(Entry entry, std::size_t index) noexcept;

    std::vector<Entry> heap_;    ///< has room for those that fire, too
    std::vector<Entry> firing_;  ///< without timer where a callback has stopped it
    std::uint64_t started_ = 0;
    Histogram lateness_;
    bool is_stopping_ = false;  ///< fire() shall end
};

}  // namespace epoll
