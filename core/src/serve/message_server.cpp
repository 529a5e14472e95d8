#include <epoll/serve/message_server.hpp>

#include <cerrno>
#include <exception>
#include <utility>

namespace epoll {

MessageServer::MessageServer(Reactor& reactor, MessageHandler& handler,
                             const ServerOptions& options)
    : reactor_(reactor), handler_(handler), options_(options), read_buffer_(k_read_size) {}

MessageServer::~MessageServer() {
    is_stopped_ = true;
    while (Connection* const connection = connections_.front()) {
        remove(*connection, CloseReason::stopped, 0);
    }
}

void MessageServer::listen(OwnedFd socket, bool is_shared) {
    ListenerHandler& self = *this;
    listeners_.push_back(std::make_unique<Listener>(reactor_, std::move(socket), self, is_shared));
}

void MessageServer::stop(Duration grace) noexcept {
    is_stopping_ = true;
    reactor_.timers().start(grace_timer_, reactor_.now() + grace);
    reactor_.defer(stop_due_);
}

/// In a turn of its own, because stop() may be called by a handler that a listener is calling.
void MessageServer::on_stop_due() noexcept {
    for (const auto& listener : listeners_) {
        listener->finish();
    }
    listeners_.clear();
    // Whoever comes to rest here is closed in a later turn, so the list does not change meanwhile.
    for (Connection& connection : connections_) {
        connection.stop_if_at_rest();
    }
    note_if_stopped();
}

void MessageServer::on_grace_over() noexcept {
    if (stop_due_.is_scheduled()) {
        reactor_.timers().start(grace_timer_, reactor_.now());  // whoever waits is let in first
        return;
    }
    for (Connection& connection : connections_) {
        connection.abort_now(CloseReason::stopped);
    }
}

ServerStatistics MessageServer::statistics() const noexcept {
    return {accepted_.value(), open_.value(),      messages_.value(),
            bytes_in_.value(), bytes_out_.value(), accept_errors_.value(),
            too_long_.value(), idle_.value(),      failed_.value()};
}

void MessageServer::on_accept(OwnedFd socket, const Address& peer) noexcept {
    accepted_.add(1);
    Connection* connection = nullptr;
    try {
        connection = new Connection(*this, std::move(socket), peer);
    } catch (const std::exception&) {
        failed_.add(
            1);  // no memory, or no room in epoll: the socket is closed, the server lives on
        return;
    }
    connections_.push_back(*connection);
    open_.add(1);
    try {
        handler_.on_open(*connection);
    } catch (const std::exception&) {
        connection->stream_.abort(ENOMEM);
    }
    connection->stream_.start_reading();
}

void MessageServer::on_accept_error(int error) noexcept {
    accept_errors_.add(1);
    handler_.on_accept_error(error);
}

void MessageServer::remove(Connection& connection, CloseReason reason, int error) noexcept {
    connection.unlink();
    open_.subtract(1);
    if (reason == CloseReason::failed) {
        failed_.add(1);
    }
    handler_.on_close(connection, reason, error);
    delete &connection;
    note_if_stopped();
}

void MessageServer::note_if_stopped() noexcept {
    if (is_stopping_ && !is_stopped_ && listeners_.empty() && connections_.is_empty()) {
        is_stopped_ = true;
        grace_timer_.stop();
        handler_.on_stopped();
    }
}

}  // namespace epoll
