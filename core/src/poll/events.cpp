#include <epoll/poll/events.hpp>

#include <sys/epoll.h>

namespace epoll {

static_assert(bits(Events::readable) == EPOLLIN);
static_assert(bits(Events::priority) == EPOLLPRI);
static_assert(bits(Events::writable) == EPOLLOUT);
static_assert(bits(Events::error) == EPOLLERR);
static_assert(bits(Events::hang_up) == EPOLLHUP);
static_assert(bits(Events::peer_finished) == EPOLLRDHUP);
static_assert(bits(Events::exclusive) == EPOLLEXCLUSIVE);
static_assert(bits(Events::wake_up) == EPOLLWAKEUP);
static_assert(bits(Events::one_shot) == EPOLLONESHOT);
static_assert(bits(Events::edge_triggered) == EPOLLET);

}  // namespace epoll
