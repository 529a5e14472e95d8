#include <epoll/loop/timer_queue.hpp>

#include <algorithm>
#include <cassert>

namespace epoll {

void Timer::stop() noexcept {
    if (queue_ != nullptr) {
        queue_->remove(*this);
    }
}

TimerQueue::~TimerQueue() {
    assert(firing_.empty());
    for (Timer* const timer : heap_) {
        timer->queue_ = nullptr;
    }
}

void TimerQueue::start(Timer& timer, TimePoint due) {
    assert(timer.queue_ == nullptr || timer.queue_ == this);
    timer.stop();
    heap_.push_back(&timer);
    timer.queue_ = this;
    timer.due_ = due;
    timer.order_ = started_++;
    timer.index_ = heap_.size() - 1;
    sift_up(timer.index_);
}

std::optional<TimePoint> TimerQueue::next_due() const noexcept {
    return heap_.empty() ? std::nullopt : std::optional{heap_.front()->due_};
}

std::size_t TimerQueue::fire(TimePoint now) {
    // First take out all that is due, then run: what a callback starts goes into the heap and is
    // not looked at here.
    assert(firing_.empty());
    while (!heap_.empty() && heap_.front()->due_ <= now) {
        Timer& timer = *heap_.front();
        firing_.push_back(&timer);
        remove_from_heap(timer);
        timer.is_firing_ = true;
        timer.index_ = firing_.size() - 1;
    }
    std::size_t fired = 0;
    for (Timer* const& place : firing_) {  // by reference: what runs here may stop a later one
        if (Timer* const timer = place; timer != nullptr) {
            remove(*timer);
            ++fired;
            timer->on_due();
        }
    }
    firing_.clear();
    return fired;
}

bool TimerQueue::is_before(const Timer& a, const Timer& b) noexcept {
    return a.due_ != b.due_ ? a.due_ < b.due_ : a.order_ < b.order_;
}

void TimerQueue::remove(Timer& timer) noexcept {
    if (timer.is_firing_) {
        firing_[timer.index_] = nullptr;
        timer.is_firing_ = false;
    } else {
        remove_from_heap(timer);
    }
    timer.queue_ = nullptr;
}

void TimerQueue::remove_from_heap(Timer& timer) noexcept {
    const std::size_t index = timer.index_;
    Timer& last = *heap_.back();
    heap_.pop_back();
    if (&last != &timer) {
        place(last, index);
        sift_up(index);
        sift_down(last.index_);
    }
}

void TimerQueue::sift_up(std::size_t index) noexcept {
    Timer& timer = *heap_[index];
    while (index != 0) {
        const std::size_t parent = (index - 1) / k_children;
        if (!is_before(timer, *heap_[parent])) {
            break;
        }
        place(*heap_[parent], index);
        index = parent;
    }
    place(timer, index);
}

void TimerQueue::sift_down(std::size_t index) noexcept {
    Timer& timer = *heap_[index];
    for (;;) {
        const std::size_t first = index * k_children + 1;
        if (first >= heap_.size()) {
            break;
        }
        const std::size_t end = std::min(first + k_children, heap_.size());
        std::size_t smallest = first;
        for (std::size_t child = first + 1; child != end; ++child) {
            if (is_before(*heap_[child], *heap_[smallest])) {
                smallest = child;
            }
        }
        if (!is_before(*heap_[smallest], timer)) {
            break;
        }
        place(*heap_[smallest], index);
        index = smallest;
    }
    place(timer, index);
}

void TimerQueue::place(Timer& timer, std::size_t index) noexcept {
    heap_[index] = &timer;
    timer.index_ = index;
}

}  // namespace epoll
