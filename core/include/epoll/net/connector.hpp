#pragma once

#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/loop/source.hpp>
#include <epoll/net/address.hpp>

namespace epoll {

/// Who gets the connection that a Connector makes.
class ConnectorHandler {
  public:
    /// The connection stands: non-blocking, close-on-exec. May destroy the connector.
    virtual void on_connected(OwnedFd connection) noexcept = 0;

    /// It could not be made: errno of connect(2). May destroy the connector.
    virtual void on_connect_failed(int error) noexcept = 0;

  protected:
    ~ConnectorHandler() = default;
};

/// One connect(2) in progress. A resource of the reactor's thread; destroying it gives up.
///
/// The handler hears exactly one thing, once, in a later turn and never inside the constructor.
/// There is no time limit here: the owner starts a Timer and destroys the connector. (The kernel's
/// own limit is net.ipv4.tcp_syn_retries, about two minutes.)
class Connector final : private Source {
  public:
    /// Begins to connect. Throws std::system_error when there is no socket to be had.
    Connector(Reactor& reactor, const Address& address, ConnectorHandler& handler);
    ~Connector();

  private:
    void on_ready(Events ready) noexcept override;
    void on_immediate_result() noexcept;
    void finish(int error) noexcept;

    OwnedFd socket_;
    ConnectorHandler& handler_;
    int immediate_error_ = 0;
    MemberDeferred<Connector, &Connector::on_immediate_result> immediate_result_{*this};
};

}  // namespace epoll
