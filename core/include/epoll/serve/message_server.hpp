#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <epoll/base/counter.hpp>
#include <epoll/base/intrusive_list.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/net/listener.hpp>
#include <epoll/serve/connection.hpp>
#include <epoll/serve/framing.hpp>

namespace epoll {

/// Who answers the messages. Called on the reactor's thread.
///
/// What is not noexcept may throw std::bad_alloc, which costs the connection, and nothing else.
/// Only on_stopped() may destroy the server.
class MessageHandler {
  public:
    /// A client has connected.
    virtual void on_open(Connection& connection) = 0;

    /// A complete message, without its framing; the bytes are in place until this returns. All
    /// messages of one read are handed over before the answers are sent.
    virtual void on_message(Connection& connection, std::span<const std::byte> message) = 0;

    /// A message is longer than ServerOptions::max_message, and the connection is closed when this
    /// returns. What is sent inside still reaches the peer.
    virtual void on_too_long(Connection& connection) = 0;

    /// The last call for this connection, which is closed. `error` is an errno when `reason` is
    /// failed, else 0.
    virtual void on_close(Connection& connection, CloseReason reason, int error) noexcept = 0;

    /// Accepting fails for lack of descriptors or memory: once an episode, see ListenerHandler.
    virtual void on_accept_error(int error) noexcept = 0;

    /// After MessageServer::stop(): no connection is left. May destroy the server.
    virtual void on_stopped() noexcept = 0;

  protected:
    ~MessageHandler() = default;
};

struct ServerOptions {
    Framing framing = Framing::raw;
    std::size_t max_message = 1024 * 1024;  ///< bytes; a longer one closes its connection
    Duration idle_timeout{0};               ///< 0: none
    WaterMarks water_marks{};
};

/// What a server has done since it was made; open is the present number.
struct ServerStatistics {
    std::uint64_t accepted, open, messages, bytes_in, bytes_out;
    std::uint64_t accept_errors, too_long, idle, failed;
};

/// Accepts, reads, frames, holds back, answers and ends: everything but the answers themselves.
///
/// A resource of the reactor's thread. Only statistics() may be called from any thread.
class MessageServer final : private ListenerHandler {
  public:
    /// What one read may bring: one buffer for all connections of the server.
    static constexpr std::size_t k_read_size = 64 * 1024;

    /// How long, and how much, a connection that is being closed goes on reading and dropping.
    static constexpr Duration k_linger = std::chrono::seconds{1};
    static constexpr std::size_t k_linger_bytes = 4 * 1024 * 1024;

    /// How long one that is being closed waits for a peer that takes none of its answers, when
    /// there is no idle timeout.
    static constexpr Duration k_patience = std::chrono::seconds{30};

    MessageServer(Reactor& reactor, MessageHandler& handler, const ServerOptions& options);
    ~MessageServer();

    /// Takes over a listening socket and begins to accept; may be called for several. `is_shared`
    /// as in Listener. Throws std::system_error.
    void listen(OwnedFd socket, bool is_shared);

    /// Stops in order: accepts who waits in the backlog, closes the listeners, answers what has
    /// arrived, and closes each connection as it comes to rest; after `grace` the others are cut
    /// off. MessageHandler::on_stopped() follows in a later turn. A second call changes only the
    /// grace.
    void stop(Duration grace) noexcept;

    [[nodiscard]] bool is_stopping() const noexcept { return is_stopping_; }
    [[nodiscard]] const ServerOptions& options() const noexcept { return options_; }
    [[nodiscard]] Reactor& reactor() const noexcept { return reactor_; }
    [[nodiscard]] ServerStatistics statistics() const noexcept;

  private:
    friend class Connection;

    void on_accept(OwnedFd socket, const Address& peer) noexcept override;
    void on_accept_error(int error) noexcept override;
    void on_grace_over() noexcept;
    void on_stop_due() noexcept;
    void remove(Connection& connection, CloseReason reason, int error) noexcept;
    void note_if_stopped() noexcept;

    Reactor& reactor_;
    MessageHandler& handler_;
    ServerOptions options_;
    std::vector<std::byte> read_buffer_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    IntrusiveList<Connection, ConnectionTag> connections_;
    bool is_stopping_ = false;
    bool is_stopped_ = false;
    MemberTimer<MessageServer, &MessageServer::on_grace_over> grace_timer_{*this};
    MemberDeferred<MessageServer, &MessageServer::on_stop_due> stop_due_{*this};

    Counter accepted_, open_, messages_, bytes_in_, bytes_out_;
    Counter accept_errors_, too_long_, idle_, failed_;
};

}  // namespace epoll
