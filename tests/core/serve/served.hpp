#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <epoll/loop/reactor.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/listener.hpp>
#include <epoll/serve/connection.hpp>
#include <epoll/serve/message_server.hpp>

#include "tests/core/net/loopback.hpp"

namespace testing {

/// How a connection ended.
struct Ending {
    epoll::CloseReason reason;
    int error;
    bool operator==(const Ending&) const = default;
    friend std::ostream& operator<<(std::ostream& out, const Ending& ending) {
        return out << epoll::name_of(ending.reason) << ", errno " << ending.error;
    }
};

/// Answers as the test wants, and notes what it hears. Each connection carries an attachment from
/// on_open() to on_close().
class RecordingService final : public epoll::MessageHandler {
  public:
    void on_open(epoll::Connection& connection) override {
        connection.attachment = new std::string{"attached"};
        ++attachments;
        last = &connection;
        if (inside_open) {
            inside_open(connection);
        }
    }
    void on_message(epoll::Connection& connection, std::span<const std::byte> message) override {
        messages.push_back(text_of(message));
        if (answer) {
            answer(connection, message);
        }
    }
    void on_too_long(epoll::Connection& connection) override {
        ++too_long;
        if (apology) {
            apology(connection);
        }
    }
    void on_close(epoll::Connection& connection, epoll::CloseReason reason,
                  int error) noexcept override {
        endings.push_back({reason, error});
        delete static_cast<std::string*>(connection.attachment);
        --attachments;
        last = nullptr;
    }
    void on_accept_error(int error) noexcept override { accept_errors.push_back(error); }
    void on_stopped() noexcept override {
        ++stopped;
        if (inside_stopped) {
            inside_stopped();
        }
    }

    std::function<void(epoll::Connection&)> inside_open;
    std::function<void(epoll::Connection&, std::span<const std::byte>)> answer;
    std::function<void(epoll::Connection&)> apology;
    std::function<void()> inside_stopped;

    std::vector<std::string> messages;
    std::vector<Ending> endings;
    std::vector<int> accept_errors;
    epoll::Connection* last = nullptr;  ///< the connection that opened last, until one closes
    int attachments = 0;
    int too_long = 0;
    int stopped = 0;
};

inline void echo(epoll::Connection& connection, std::span<const std::byte> message) {
    (void)connection.send(message);
}

/// A server on loopback whose clients the test plays.
struct Served {
    explicit Served(const epoll::ServerOptions& options) {
        service.answer = echo;
        server = std::make_unique<epoll::MessageServer>(reactor, service, options);
        listen();
    }

    void listen() {
        epoll::OwnedFd socket = epoll::make_listening_socket(loopback(0), {});
        address = epoll::Address::local_of(socket.get());
        server->listen(std::move(socket), false);
    }

    [[nodiscard]] Peer connect() const { return Peer{connect_to(address)}; }

    /// Connects, and turns until the server has accepted.
    [[nodiscard]] Peer connect_and_open() {
        const std::uint64_t before = server->statistics().accepted;
        Peer peer = connect();
        if (!until([&] { return server->statistics().accepted > before; })) {
            throw std::runtime_error("the server does not accept");
        }
        return peer;
    }

    template <class Condition>
    [[nodiscard]] bool until(Condition condition) {
        return turn_until(reactor, condition);
    }
    [[nodiscard]] bool until_received(Peer& peer, std::string_view text) {
        return until([&] { return peer.received() == text; });
    }
    [[nodiscard]] bool until_ended(std::size_t connections = 1) {
        return until([&] { return service.endings.size() >= connections; });
    }

    epoll::Reactor reactor;
    RecordingService service;
    std::unique_ptr<epoll::MessageServer> server;
    epoll::Address address;
};

inline epoll::ServerOptions lines() {
    epoll::ServerOptions options;
    options.framing = epoll::Framing::line;
    return options;
}

/// Messages that are numbers, one a line.
inline std::string numbered_lines(int count) {
    std::string text;
    for (int i = 0; i != count; ++i) {
        text += std::to_string(i) + '\n';
    }
    return text;
}

}  // namespace testing
