#include <epoll/loop/timer_queue.hpp>

#include <algorithm>
#include <cassert>

namespace epoll {

namespace {

/// The time from `due` to `moment`, or from the clock's zero: more might not fit.
Duration since(TimePoint due, TimePoint moment) noexcept {
    return moment - std::max(due, TimePoint{});
}

}  // namespace

void Timer::stop() noexcept {
    if (queue_ != nullptr) {
        queue_->remove(*this);
    }
}

TimerQueue::~TimerQueue() {
    assert(firing_.empty());
    for (const Entry& entry : heap_) {
        entry.timer->queue_ = nullptr;
    }
}

void TimerQueue::start(Timer& timer, TimePoint due) {
    assert(timer.queue_ == nullptr || timer.queue_ == this);
    timer.stop();
    make_room();
    timer.queue_ = this;
    timer.due_ = due;
    timer.order_ = started_++;
    add_to_heap(timer);
}

std::optional<TimePoint> TimerQueue::next_due() const noexcept {
    return heap_.empty() ? std::nullopt : std::optional{heap_.front().due};
}

std::size_t TimerQueue::fire(TimePoint now, TimePoint moment) {
    // First take out all that is due, then run: what a callback starts goes into the heap and is
    // not looked at here.
    assert(firing_.empty());
    is_stopping_ = false;
    try {
        take_due(now);
    } catch (...) {
        put_back(0);
        firing_.clear();
        throw;
    }
    std::size_t fired = 0;
    std::size_t next = 0;
    while (next != firing_.size() && !is_stopping_) {
        if (Timer* const timer = firing_[next++].timer; timer != nullptr) {
            remove(*timer);
            ++fired;
            lateness_.note(since(timer->due_, moment));
            timer->on_due();
        }
    }
    put_back(next);
    firing_.clear();
    return fired;
}

/// Moves what is due at `now` from the heap to firing_, in order.
void TimerQueue::take_due(TimePoint now) {
    if (are_many_due(now)) {
        take_due_together(now);
    }
    while (has_due(now)) {
        firing_.push_back(heap_.front());
        remove_from_heap(0);
    }
    for (std::size_t i = 0; i != firing_.size(); ++i) {
        firing_[i].timer->is_firing_ = true;
        firing_[i].timer->index_ = i;
    }
}

/// Whether a look at the whole heap pays: no less than one in sixteen is due, as the first of the
/// heap are. It stops at the first that is not.
bool TimerQueue::are_many_due(TimePoint now) const noexcept {
    const std::size_t first = heap_.size() / 16;
    return first != 0 &&
           std::all_of(heap_.begin(), heap_.begin() + static_cast<std::ptrdiff_t>(first),
                       [now](const Entry& entry) { return entry.due <= now; });
}

/// As take_due(), by one look at each timer and a sort of the due ones, which is less than to take
/// one after the other from the heap.
void TimerQueue::take_due_together(TimePoint now) {
    firing_.reserve(heap_.size());
    std::size_t kept = 0;
    for (const Entry& entry : heap_) {
        if (entry.due <= now) {
            firing_.push_back(entry);
        } else {
            heap_[kept++] = entry;
        }
    }
    heap_.resize(kept);
    for (std::size_t i = 0; i != kept; ++i) {  // still in the order of a heap, nearly
        sift_up(heap_[i], i);
    }
    std::sort(firing_.begin(), firing_.end(), &is_before);
}

/// Returns those that should have fired to the heap. Each keeps its order, so it is first again.
void TimerQueue::put_back(std::size_t from) noexcept {
    for (std::size_t i = from; i != firing_.size(); ++i) {
        if (Timer* const timer = firing_[i].timer; timer != nullptr) {
            timer->is_firing_ = false;
            add_to_heap(*timer);
        }
    }
}

/// Makes sure that the heap can take one more, and behind it all that fire: to put them back must
/// not fail.
void TimerQueue::make_room() {
    const std::size_t needed = heap_.size() + firing_.size() + 1;
    if (heap_.capacity() < needed) {
        heap_.reserve(std::max(needed, 2 * heap_.capacity()));
    }
}

void TimerQueue::add_to_heap(Timer& timer) noexcept {
    assert(heap_.size() < heap_.capacity());
    const Entry entry{timer.due_, &timer};
    heap_.push_back(entry);
    sift_up(entry, heap_.size() - 1);
}

bool TimerQueue::is_before(const Entry& a, const Entry& b) noexcept {
    return a.due != b.due ? a.due < b.due : a.timer->order_ < b.timer->order_;
}

void TimerQueue::remove(Timer& timer) noexcept {
    if (timer.is_firing_) {
        firing_[timer.index_].timer = nullptr;
        timer.is_firing_ = false;
    } else {
        remove_from_heap(timer.index_);
    }
    timer.queue_ = nullptr;
}

void TimerQueue::remove_from_heap(std::size_t index) noexcept {
    const Entry last = heap_.back();
    heap_.pop_back();
    if (index == heap_.size()) {
        return;
    }
    if (index != 0 && is_before(last, heap_[(index - 1) / k_children])) {
        sift_up(last, index);
    } else {
        sift_down(last, index);
    }
}

/// Puts `entry` at `index`, or where it belongs between there and the top.
void TimerQueue::sift_up(Entry entry, std::size_t index) noexcept {
    while (index != 0) {
        const std::size_t parent = (index - 1) / k_children;
        if (!is_before(entry, heap_[parent])) {
            break;
        }
        place(heap_[parent], index);
        index = parent;
    }
    place(entry, index);
}

/// Puts `entry` at `index`, or where it belongs below.
void TimerQueue::sift_down(Entry entry, std::size_t index) noexcept {
    for (;;) {
        const std::size_t first = index * k_children + 1;
        if (first >= heap_.size()) {
            break;
        }
        const std::size_t end = std::min(first + k_children, heap_.size());
        std::size_t smallest = first;
        for (std::size_t child = first + 1; child != end; ++child) {
            if (is_before(heap_[child], heap_[smallest])) {
                smallest = child;
            }
        }
        if (!is_before(heap_[smallest], entry)) {
            break;
        }
        place(heap_[smallest], index);
        index = smallest;
    }
    place(entry, index);
}

void TimerQueue::place(Entry entry, std::size_t index) noexcept {
    heap_[index] = entry;
    entry.timer->index_ = index;
}

}  // namespace epoll
