#include <epoll/loop/source.hpp>

#include <cassert>

#include <epoll/loop/reactor.hpp>

namespace epoll {

void Source::join(int fd, Events wanted) {
    assert(!is_joined());
    assert(!has_any(wanted, Events::one_shot | Events::edge_triggered) && "level-triggered only");
    const std::uint32_t slot = reactor_.take_slot(*this);
    slot_ = slot;
    fd_ = fd;
    try {
        reactor_.add_to_epoll(*this, wanted);
    } catch (...) {
        slot_ = k_no_slot;
        reactor_.free_slot(slot);
        throw;
    }
    wanted_ = wanted;
    armed_ = wanted;
    is_in_epoll_ = true;
    reactor_.must_wait_ = true;
    reactor_.watched_.add(1);
}

bool Source::renew(Events wanted) {
    assert(is_joined());
    assert(!has_any(wanted | armed_, Events::exclusive) && "it cannot be modified");
    if (is_in_epoll_) {
        const int error = kernel::control(reactor_.poller_.fd(), kernel::Operation::modify, fd_,
                                          wanted, reactor_.token_of(*this));
        reactor_.changes_.add(1);
        if (error == 0) {
            wanted_ = armed_ = wanted;
            reactor_.must_wait_ = true;
            return true;
        }
        is_in_epoll_ = false;  // the kernel knows no such pair of number and file
    }
    // A file that is out of epoll cannot be told from another one of its number.
    const int fd = fd_;
    leave();
    join(fd, wanted);
    return false;
}

void Source::leave() noexcept {
    if (!is_joined()) {
        return;
    }
    ListHook<ReadyTag>::unlink();
    ListHook<ChangedTag>::unlink();
    if (is_in_epoll_) {
        // The answer is of no use: ENOENT and EBADF mean that the descriptor was closed by somebody
        // else, and then there is nothing left to remove.
        reactor_.poller_.remove(fd_);
        reactor_.changes_.add(1);
    }
    reactor_.free_slot(slot_);
    reactor_.watched_.subtract(1);
    slot_ = k_no_slot;
    fd_ = -1;
    is_in_epoll_ = false;
    wanted_ = armed_ = ready_ = Events::none;
}

void Source::want(Events events) noexcept {
    assert(is_joined());
    wanted_ |= events;
    if (!has_all(armed_, wanted_) || !is_in_epoll_) {
        reactor_.note_change(*this);
        reactor_.must_wait_ = true;
    }
}

void Source::unwant(Events events) noexcept { wanted_ &= ~events; }

}  // namespace epoll
