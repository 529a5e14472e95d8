#include <epoll/net/listener.hpp>

#include <cerrno>
#include <limits>
#include <utility>

#include <sys/socket.h>

#include <epoll/base/io_result.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/net/socket_options.hpp>

// When the process has no descriptor left, the connection stays in the backlog and the listening
// socket stays readable: a loop that only tries again spins at 100 % and floods its log. So the
// listener reports once, wants nothing for a moment, and is woken by a timer. The waiting peers
// lose nothing but that moment. (Accepting and closing them with a spare descriptor would turn a
// shortage of ours into an error of theirs.)

namespace epoll {

namespace {

/// No backlog is longer (listen(2): a u16 in older kernels, and net.core.somaxconn); so an end that
/// takes in who waits cannot be drawn out by those who go on coming.
constexpr int k_longest_backlog = 65535;

/// A connection that was reset while it waited is no failure of the listener, and Linux reports
/// network errors of the new connection here as well (accept(2)): the next one may be well.
bool is_of_the_connection(int error) noexcept {
    switch (error) {
        case EINTR:
        case ECONNABORTED:
        case EPROTO:
        case ENETDOWN:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case ENETUNREACH: return true;
        default: return false;
    }
}

}  // namespace

OwnedFd make_listening_socket(const Address& address, const ListenOptions& options) {
    OwnedFd socket{::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (!socket.is_open()) {
        throw_errno("socket");
    }
    const int fd = socket.get();
    const auto check = [](int error, const char* call) {
        if (error != 0) {
            throw_error(error, call);
        }
    };
    if (!address.is_unix()) {
        check(set_reuse_address(fd, true), "setsockopt SO_REUSEADDR");
        if (options.reuse_port) {
            check(set_reuse_port(fd, true), "setsockopt SO_REUSEPORT");
        }
        if (address.family() == AF_INET6) {
            check(set_ipv6_only(fd, true), "setsockopt IPV6_V6ONLY");
        }
    }
    if (::bind(fd, address.data(), address.size()) != 0) {
        const int error = errno;
        throw_error(error, ("bind " + address.to_string()).c_str());
    }
    if (::listen(fd, options.backlog) != 0) {
        throw_errno("listen");
    }
    return socket;
}

Listener::Listener(Reactor& reactor, OwnedFd socket, ListenerHandler& handler, bool is_shared)
    : Source(reactor), socket_(std::move(socket)), handler_(handler) {
    join(socket_.get(), is_shared ? Events::readable | Events::exclusive : Events::readable);
}

Listener::~Listener() {
    if (is_destroyed_ != nullptr) {
        *is_destroyed_ = true;
    }
    leave();
}

void Listener::finish() noexcept {
    if (accept_some(k_longest_backlog)) {
        rest_timer_.stop();
        leave();
        (void)socket_.close();
    }
}

void Listener::on_ready(Events) noexcept { (void)accept_some(k_batch); }

void Listener::on_rest_over() noexcept { want(Events::readable); }

/// Answers whether the listener still exists: the handler may have destroyed it.
bool Listener::accept_some(int limit) noexcept {
    bool is_destroyed = false;
    bool* const caller_of_ours = std::exchange(is_destroyed_, &is_destroyed);
    for (int i = 0; i != limit && !is_destroyed && socket_.is_open(); ++i) {
        sockaddr_storage peer;
        socklen_t size = sizeof peer;
        OwnedFd connection{::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&peer), &size,
                                     SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (!connection.is_open()) {
            const int error = errno;
            if (is_of_the_connection(error)) {
                continue;
            }
            if (error != EAGAIN && error != EWOULDBLOCK) {
                rest(error);
            }
            break;
        }
        accepted_.add(1);
        reactor().traffic().connections_accepted.add(1);
        is_failing_ = false;
        handler_.on_accept(std::move(connection),
                           Address{reinterpret_cast<const sockaddr*>(&peer), size});
    }
    if (!is_destroyed) {
        is_destroyed_ = caller_of_ours;
    } else if (caller_of_ours != nullptr) {
        *caller_of_ours = true;
    }
    return !is_destroyed;
}

void Listener::rest(int error) noexcept {
    errors_.add(1);
    reactor().traffic().accept_errors.add(1);
    unwant(Events::readable);
    reactor().timers().start(rest_timer_, reactor().now() + k_rest);
    if (!is_failing_) {
        is_failing_ = true;
        handler_.on_accept_error(error);
    }
}

}  // namespace epoll
