#include <epoll/loop/reactor.hpp>

#include <algorithm>
#include <cassert>
#include <exception>
#include <utility>

// Two phases. epoll reports into an array, and a callback may destroy any source, also one whose
// report stands further down in that array. So the array never meets user code: collect() turns all
// of it into masks and an intrusive ready list, and only then dispatch() calls on_ready(). A source
// that is destroyed meanwhile unlinks itself; a mask that is no longer wanted is masked out.
//
// Level-triggered, armed late and disarmed lazily. A wish goes to the kernel before the next wait,
// if it still exists then. A wish that is gone stays armed until it is reported once in vain. In
// the steady state of a server that means no epoll_ctl at all.
//
// An interrupted turn keeps what it has not done. Level-triggering would bring most reports back,
// but not those that the reactor made up itself, for descriptors that the kernel refused. So the
// ready list stays, and the next turn does not wait. A report that is stale by then does no more
// harm than one that a deferred item of the same turn has made stale: who is called finds nothing
// to read.
//
// EPOLLERR and EPOLLHUP cannot be muted. A source that wants nothing when one of them is reported
// (its reading is paused, it has nothing to send) would be reported for ever, and the loop would
// spin. It is taken out of epoll and comes back with its next wish.

namespace epoll {

namespace {

constexpr std::size_t k_reports = 1024;
constexpr std::uint64_t k_items_between_looks = 8;
constexpr Events k_failure = Events::error | Events::hang_up;
constexpr Events k_both_ways = Events::readable | Events::writable;

}  // namespace

/// The reactor's own end of its Waker.
class Reactor::WakeSource final : public Source {
  public:
    WakeSource(Reactor& reactor, const Waker& waker) : Source(reactor), waker_(waker) {
        join(waker_.fd(), Events::readable);
        reactor.watched_.subtract(1);  // nobody else's business
    }
    ~WakeSource() {
        reactor().watched_.add(1);
        leave();
    }

  private:
    void on_ready(Events) noexcept override { waker_.drain(); }
    const Waker& waker_;
};

Reactor::Reactor()
    : now_(Clock::now()),
      room_(k_reports),
      wake_source_(std::make_unique<WakeSource>(*this, waker_)) {}

Reactor::~Reactor() {
    wake_source_.reset();
#ifndef NDEBUG
    for (const Slot& slot : slots_) {
        assert(slot.source == nullptr && "a source outlived its reactor");
    }
#endif
}

void Reactor::run() {
    begin_run();
    do {
        make_turn(Timeout::forever());
    } while (!is_interrupted_ && !stop_requested_.load());
    note_stretch(Clock::now());
    stop_requested_.store(false);
}

void Reactor::run_turn(Timeout limit) {
    begin_run();
    make_turn(limit);
    note_stretch(Clock::now());
}

void Reactor::begin_run() noexcept {
    is_interrupted_ = false;
    must_wait_ = true;
    waited_at_ = Clock::now();
}

void Reactor::make_turn(Timeout limit) {
    finish_turn();  // what was asked for between two turns
    if (!may_skip_wait()) {
        wait_and_collect(limit);
    }
    turns_.add(1);
    take_posted();
    const std::uint64_t before = calls();
    run_deferred();
    dispatch();
    fire_timers(calls() != before);
    finish_turn();
}

/// Whether there is enough to do without new reports.
bool Reactor::may_skip_wait() noexcept {
    if (must_wait_ || poll_interval_ == Duration::zero() ||
        (deferred_.is_empty() && posted_.is_empty())) {
        return false;
    }
    is_now_read_ = false;
    if (deferred_run_.value() < next_look_ && timers_.size() == 0) {
        return true;
    }
    const bool are_short = now() - looked_at_ < poll_interval_ / 4;
    looked_at_ = now_;
    next_look_ = are_short ? deferred_run_.value() + k_items_between_looks : 0;
    return now_ - waited_at_ < poll_interval_;
}

void Reactor::wait_and_collect(Timeout limit) {
    apply_changes();
    rested_at_ = TimePoint::max();
    const std::size_t count = wait(limit);
    const TimePoint now = Clock::now();
    rested_at_ = std::min(rested_at_, now);
    note_stretch(rested_at_);
    waiting_.add(static_cast<std::uint64_t>((now - rested_at_).count()));
    now_ = looked_at_ = waited_at_ = now;
    is_now_read_ = true;
    must_wait_ = false;
    events_.add(count);
    bool has_stale = false;
    for (std::size_t i = 0; i != count; ++i) {
        has_stale = !collect(room_[i]) || has_stale;
    }
    if (has_stale) {
        rebuild();
    }
}

void Reactor::stop() noexcept {
    stop_requested_.store(true);
    wake();
}

void Reactor::interrupt() noexcept {
    is_interrupted_ = true;
    timers_.stop_firing();
}

void Reactor::on_fork() noexcept {
    abandon();
    try {
        poller_ = Poller{};
        waker_ = Waker{};
        wake_source_ = std::make_unique<WakeSource>(*this, waker_);
    } catch (const std::exception&) {
        poller_ = Poller{OwnedFd{}};  // without any: run() says so
    }
}

void Reactor::close() noexcept {
    abandon();
    const Waker closed{std::move(waker_)};
    while (Deferred* const item = deferred_.pop_front()) {
        item->is_posted_.store(false);  // it may have been posted, and taken since
    }
    posted_.take_all([](Deferred& item) { item.is_posted_.store(false); });
}

/// Closes epoll, as if every source had left it.
void Reactor::abandon() noexcept {
    poller_ = Poller{OwnedFd{}};
    for (const Slot& slot : slots_) {
        if (slot.source != nullptr) {
            slot.source->is_in_epoll_ = false;
            slot.source->armed_ = slot.source->ready_ = Events::none;
        }
    }
    while (changed_.pop_front() != nullptr) {
    }
    while (before_wait_.pop_front() != nullptr) {
    }
    wake_source_.reset();
}

void Reactor::defer(Deferred& item) noexcept {
    take_posted();  // what came first runs first, whichever thread it came from
    if (!item.is_linked()) {
        item.round_ = round_;
        deferred_.push_back(item);
    }
}

void Reactor::before_wait(Deferred& item) noexcept {
    if (!item.is_linked()) {
        before_wait_.push_back(item);
    }
}

void Reactor::post(Deferred& item) noexcept {
    if (item.is_posted_.exchange(true)) {
        return;
    }
    posted_.put(item);
    wake();
}

// Either the flag that wait() has set is seen here, or wait() sees what the caller has stored
// before. One of those who come during a wait is enough.
void Reactor::wake() noexcept {
    if (is_waiting_.load() && is_waiting_.exchange(false)) {
        waker_.wake();
    }
}

TimePoint Reactor::now() noexcept {
    if (!is_now_read_) {
        now_ = Clock::now();
        is_now_read_ = true;
    }
    return now_;
}

ReactorStatistics Reactor::statistics() const noexcept {
    return {turns_.value(),        waits_.value(),        events_.value(),     changes_.value(),
            timers_fired_.value(), deferred_run_.value(), dispatched_.value(), watched_.value(),
            depth_.value(),        most_depth_.value(),   waiting_.value(),    running_.value(),
            timers_.lateness(),    stretches_.counts()};
}

std::uint32_t Reactor::take_slot(Source& source) {
    if (free_slots_ == Source::k_no_slot) {
        slots_.push_back({&source, 0, Source::k_no_slot});
        return static_cast<std::uint32_t>(slots_.size() - 1);
    }
    const std::uint32_t slot = free_slots_;
    free_slots_ = slots_[slot].next_free;
    slots_[slot].source = &source;
    return slot;
}

void Reactor::free_slot(std::uint32_t slot) noexcept {
    slots_[slot].source = nullptr;
    ++slots_[slot].generation;
    slots_[slot].next_free = free_slots_;
    free_slots_ = slot;
}

/// Nothing has happened when it throws. There is room for the number only when it is known to be
/// one.
void Reactor::add_to_epoll(const Source& source, Events wanted) {
    poller_.add(source.fd_, wanted, token_of(source));
    changes_.add(1);
    const auto number = static_cast<std::size_t>(source.fd_);
    try {
        slots_by_fd_.resize(std::max(slots_by_fd_.size(), number + 1), Source::k_no_slot);
    } catch (...) {
        poller_.remove(source.fd_);
        throw;
    }
    take_number(source);
}

/// The kernel has added the number of `source`. If another source has it registered, then for a
/// file that somebody closed under it: from now on that one's epoll_ctl would hit what is not its
/// own.
void Reactor::take_number(const Source& source) noexcept {
    std::uint32_t& holder = slots_by_fd_[static_cast<std::size_t>(source.fd_)];
    const std::uint32_t former = std::exchange(holder, source.slot_);
    if (former == Source::k_no_slot || former == source.slot_) {
        return;
    }
    Source* const displaced = slots_[former].source;
    if (displaced != nullptr && displaced->fd_ == source.fd_) {
        displaced->is_in_epoll_ = false;
        displaced->armed_ = Events::none;
    }
}

Token Reactor::token_of(const Source& source) const noexcept {
    return Token{source.slot_} << 32 | slots_[source.slot_].generation;
}

void Reactor::note_change(Source& source) noexcept {
    if (!source.ListHook<ChangedTag>::is_linked()) {
        changed_.push_back(source);
    }
}

void Reactor::apply_changes() noexcept {
    while (Source* const source = changed_.pop_front()) {
        apply_change(*source);
    }
}

void Reactor::apply_change(Source& source) noexcept {
    if (source.is_in_epoll_ && has_all(source.armed_, source.wanted_)) {
        return;  // the wish was taken back
    }
    if (source.wanted_ != Events::none) {
        rearm(source);
    }
}

void Reactor::rearm(Source& source) noexcept {
    const bool is_shared = has_any(source.armed_ | source.wanted_, Events::exclusive);
    if (source.is_in_epoll_ && is_shared) {
        poller_.remove(source.fd_);  // EPOLLEXCLUSIVE can be added, but not modified
        changes_.add(1);
        source.is_in_epoll_ = false;
    }
    const auto operation = source.is_in_epoll_ ? kernel::Operation::modify : kernel::Operation::add;
    const int error =
        kernel::control(poller_.fd(), operation, source.fd_, source.wanted_, token_of(source));
    changes_.add(1);
    source.is_in_epoll_ = error == 0;
    source.armed_ = error == 0 ? source.wanted_ : Events::none;
    if (error == 0 && operation == kernel::Operation::add) {
        take_number(source);
    }
    // The kernel does not watch it (somebody else closed the descriptor, or memory is short): the
    // owner hears of it as of any other failure, from its next read or write.
    if (error != 0 && source.wanted_ != Events::none) {
        note_ready(source, source.wanted_ | Events::error);
    }
}

void Reactor::note_ready(Source& source, Events ready) noexcept {
    source.ready_ |= ready;
    if (!source.ListHook<ReadyTag>::is_linked()) {
        ready_.push_back(source);
    }
}

Timeout Reactor::time_left(Timeout limit) noexcept {
    if (!ready_.is_empty() || !deferred_.is_empty() || is_interrupted_ || stop_requested_.load()) {
        return Timeout::none();
    }
    rested_at_ = Clock::now();
    const auto due = timers_.next_due();
    if (!due) {
        return limit;
    }
    // A moment long past is not subtracted: the difference might not fit.
    return *due <= rested_at_ ? Timeout::none()
                              : Timeout::shorter(limit, Timeout::after(*due - rested_at_));
}

std::size_t Reactor::wait(Timeout limit) {
    Timeout timeout = time_left(limit);
    if (!timeout.is_none()) {
        is_waiting_.store(true);
        if (!posted_.is_empty() || stop_requested_.load()) {
            timeout = Timeout::none();
        }
    }
    const bool may_block = !timeout.is_none();
    const IoResult result = may_block ? block(timeout) : poller_.wait(room_, timeout);
    is_waiting_.store(false, std::memory_order_relaxed);
    waits_.add(1);
    if (!result.ok() && !result.interrupted()) {
        throw_error(result.error, "epoll_wait");
    }
    return result.size();
}

/// A wait that may block, as the observer likes it.
IoResult Reactor::block(Timeout timeout) noexcept {
    if (observer_ == nullptr) {
        return poller_.wait(room_, timeout);
    }
    if (observer_->prefers_polling()) {
        const IoResult ready = poller_.wait(room_, Timeout::none());
        if (!ready.ok() || ready.count != 0) {
            return ready;
        }
        waits_.add(1);
    }
    observer_->on_block();
    const IoResult result = poller_.wait(room_, is_interrupted_ ? Timeout::none() : timeout);
    observer_->on_unblock();
    return result;
}

bool Reactor::collect(const Ready& report) noexcept {
    const auto slot = static_cast<std::uint32_t>(report.token >> 32);
    const auto generation = static_cast<std::uint32_t>(report.token);
    if (slot >= slots_.size() || slots_[slot].source == nullptr ||
        slots_[slot].generation != generation || !slots_[slot].source->is_in_epoll_) {
        return false;
    }
    Source& source = *slots_[slot].source;
    const Events reported =
        has_any(report.events, k_failure) ? report.events | k_both_ways : report.events;
    const Events ready = reported & source.wanted_;
    if (ready == Events::none && has_any(report.events, k_failure)) {
        poller_.remove(source.fd_);
        changes_.add(1);
        source.is_in_epoll_ = false;
        source.armed_ = Events::none;
        return true;
    }
    if (has_any(report.events & source.armed_, ~source.wanted_)) {
        rearm(source);
    }
    if (ready != Events::none) {
        note_ready(source, ready);
    }
    return true;
}

// A report that belongs to nobody: its source left or was disarmed, but the kernel could not be
// told, because somebody had closed the descriptor while a dup or a forked child kept the file
// open. There is no descriptor any more by which to remove it, and level-triggered it would be
// reported for ever. The only way to be rid of it is a new epoll.
void Reactor::rebuild() noexcept {
    const IoResult created = kernel::create();
    if (!created.ok()) {
        return;  // no descriptor left: the next report tries again
    }
    poller_ = Poller{OwnedFd{static_cast<int>(created.count)}};
    for (const Slot& slot : slots_) {
        if (slot.source != nullptr && slot.source->is_in_epoll_) {
            slot.source->is_in_epoll_ = false;
            slot.source->armed_ = Events::none;
            apply_change(*slot.source);
        }
    }
}

void Reactor::take_posted() noexcept {
    if (!posted_.is_empty()) {
        posted_.take_all([this](Deferred& item) {
            item.round_ = round_;
            deferred_.push_back(item);
        });
    }
}

void Reactor::run_deferred() noexcept {
    const std::uint32_t round = ++round_;
    const std::uint64_t before = deferred_run_.value();
    while (Deferred* const item = deferred_.front()) {
        if (item->round_ == round || is_interrupted_) {
            break;
        }
        item->unlink();
        // Most items never meet another thread: only for those that do it is worth a locked
        // instruction. It must be one that reads, to see all that a post() in vain came after.
        if (item->is_posted_.load(std::memory_order_relaxed)) {
            (void)item->is_posted_.exchange(false);
        }
        deferred_run_.add(1);
        item->on_turn();
    }
    depth_.set(deferred_run_.value() - before);
    most_depth_.set(std::max(most_depth_.value(), depth_.value()));
}

void Reactor::dispatch() noexcept {
    if (ready_.is_empty()) {
        return;
    }
    IntrusiveList<Source, ReadyTag> present;
    present.splice_back(ready_);
    while (!is_interrupted_ && !present.is_empty()) {
        Source& source = *present.pop_front();
        const Events ready = source.ready_ & (source.wanted_ | Events::error);
        source.ready_ = Events::none;
        if (ready != Events::none) {
            dispatched_.add(1);
            source.on_ready(ready);
        }
    }
    ready_.splice_front(present);
    next_look_ = 0;
}

/// `is_late`: something has run in this turn, so now_ is past.
void Reactor::fire_timers(bool is_late) {
    if (!is_interrupted_ && timers_.size() != 0 && timers_.has_due(now())) {
        timers_fired_.add(timers_.fire(now_, is_late ? Clock::now() : now_));
        next_look_ = 0;
    }
}

/// The reactor's own time since the last wait, until `end`.
void Reactor::note_stretch(TimePoint end) noexcept {
    stretches_.note(end - waited_at_);
    running_.add(static_cast<std::uint64_t>((end - waited_at_).count()));
}

void Reactor::finish_turn() noexcept {
    while (Deferred* const item = before_wait_.pop_front()) {
        item->on_turn();
    }
}

}  // namespace epoll
