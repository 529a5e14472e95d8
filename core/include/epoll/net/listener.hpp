#pragma once

#include <epoll/base/counter.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/source.hpp>
#include <epoll/loop/timer_queue.hpp>
#include <epoll/net/address.hpp>

namespace epoll {

struct ListenOptions {
    /// listen(2): how many connections that are established and not yet accepted the kernel keeps;
    /// more are ignored, and their clients try again after a second. The kernel cuts it to
    /// net.core.somaxconn.
    int backlog = 1024;
    bool reuse_port = false;  ///< SO_REUSEPORT: share the port with other processes
};

/// A listening, non-blocking, close-on-exec socket. SO_REUSEADDR is set; an IPv6 socket takes IPv6
/// only, so that both wildcards can be bound side by side. A path of the file system must not
/// exist. Throws std::system_error.
[[nodiscard]] OwnedFd make_listening_socket(const Address& address, const ListenOptions& options);

/// Who takes the connections that a Listener accepts.
class ListenerHandler {
  public:
    /// A new connection: non-blocking, close-on-exec. May destroy the listener.
    virtual void on_accept(OwnedFd connection, const Address& peer) noexcept = 0;

    /// accept4(2) failed for lack of something (EMFILE, ENFILE, ENOBUFS, ENOMEM) or for good.
    /// Called once when an episode of failures begins; the listener tries again by itself and
    /// serves those who waited. May destroy the listener.
    virtual void on_accept_error(int error) noexcept = 0;

  protected:
    ~ListenerHandler() = default;
};

/// Accepts connections in bounded batches. A resource of the reactor's thread; destroying it closes
/// the socket.
class Listener final : private Source {
  public:
    /// The most connections that one turn accepts: existing ones get their turn in between.
    static constexpr int k_batch = 64;

    /// How long it rests after a failure: long enough not to spin, short enough to be noticed by
    /// nobody who can wait for a reconnect.
    static constexpr Duration k_rest = std::chrono::milliseconds{100};

    /// Takes over a listening socket and begins to accept. `is_shared`: other processes accept from
    /// the same socket (not merely the same port), so wake only one of them (EPOLLEXCLUSIVE).
    /// Throws std::system_error.
    Listener(Reactor& reactor, OwnedFd socket, ListenerHandler& handler, bool is_shared);
    ~Listener();

    /// Where it listens, with the real port.
    [[nodiscard]] Address address() const noexcept { return Address::local_of(socket_.get()); }

    /// Accepts who waits in the backlog right now, then closes the socket: nobody who was let in by
    /// the kernel is turned away by us, unless there is no descriptor left for them.
    void finish() noexcept;

    [[nodiscard]] std::uint64_t accepted() const noexcept { return accepted_.value(); }
    [[nodiscard]] std::uint64_t errors() const noexcept { return errors_.value(); }

  private:
    void on_ready(Events ready) noexcept override;
    void on_rest_over() noexcept;
    [[nodiscard]] bool accept_some(int limit) noexcept;
    void rest(int error) noexcept;

    OwnedFd socket_;
    ListenerHandler& handler_;
    bool* is_destroyed_ = nullptr;  ///< set while accept_some() runs
    bool is_failing_ = false;       ///< within an episode that was reported
    MemberTimer<Listener, &Listener::on_rest_over> rest_timer_{*this};
    Counter accepted_, errors_;
};

}  // namespace epoll
