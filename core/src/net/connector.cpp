#include <epoll/net/connector.hpp>

#include <cerrno>
#include <utility>

#include <sys/socket.h>

#include <epoll/base/io_result.hpp>
#include <epoll/net/socket_options.hpp>

namespace epoll {

Connector::Connector(Reactor& reactor, const Address& address, ConnectorHandler& handler)
    : Source(reactor),
      socket_(::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)),
      handler_(handler) {
    if (!socket_.is_open()) {
        throw_errno("socket");
    }
    const int error = ::connect(socket_.get(), address.data(), address.size()) == 0 ? 0 : errno;
    // EINTR: the connection goes on being made (connect(2)). EAGAIN comes from a Unix socket whose
    // backlog is full, and there nothing is in progress.
    if (error == EINPROGRESS || error == EINTR) {
        join(socket_.get(), Events::writable);
    } else {
        immediate_error_ = error;
        reactor.defer(immediate_result_);
    }
}

Connector::~Connector() { leave(); }

void Connector::on_ready(Events) noexcept { finish(take_error(socket_.get())); }

void Connector::on_immediate_result() noexcept { finish(immediate_error_); }

void Connector::finish(int error) noexcept {
    leave();
    OwnedFd connection = std::move(socket_);
    if (error == 0) {
        handler_.on_connected(std::move(connection));
    } else {
        (void)connection.close();
        handler_.on_connect_failed(error);
    }
}

}  // namespace epoll
