#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>

#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/datagram.hpp>

#include "tests/core/net/loopback.hpp"

namespace testing {

/// The owner of a epoll::Datagram that notes what it hears and does what the test wants done
/// inside.
class DatagramRecorder final : public epoll::DatagramHandler {
  public:
    bool on_datagram(std::span<const std::byte> bytes, const epoll::Address& peer) override {
        received.push_back(text_of(bytes));
        peers.push_back(peer);
        if (inside_datagram) {
            inside_datagram();
        }
        return goes_on;
    }
    void on_error(int error) override {
        errors.push_back(error);
        if (inside_error) {
            inside_error();
        }
    }
    void on_progress() override {
        ++progress;
        if (inside_progress) {
            inside_progress();
        }
    }
    void on_closed(int error) noexcept override {
        ++closed;
        close_error = error;
        if (destroys_when_closed) {
            socket.reset();
        }
    }

    std::unique_ptr<epoll::Datagram> socket;
    std::function<void()> inside_datagram, inside_error, inside_progress;
    bool goes_on = true;
    bool destroys_when_closed = false;
    std::vector<std::string> received;
    std::vector<epoll::Address> peers;
    std::vector<int> errors;
    int progress = 0, closed = 0, close_error = -1;
};

inline epoll::OwnedFd make_datagram_socket(int family) {
    epoll::OwnedFd made{
        checked(::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket")};
    return made;
}

inline epoll::OwnedFd make_bound_datagrams() {
    epoll::OwnedFd made = make_datagram_socket(AF_INET);
    const epoll::Address any_port = loopback(0);
    checked(::bind(made.get(), any_port.data(), any_port.size()), "bind");
    return made;
}

inline std::pair<epoll::OwnedFd, epoll::OwnedFd> make_datagram_pair() {
    int ends[2];
    checked(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "pair");
    return {epoll::OwnedFd{ends[0]}, epoll::OwnedFd{ends[1]}};
}

inline void connect_datagrams(const epoll::OwnedFd& socket, const epoll::Address& peer) {
    checked(::connect(socket.get(), peer.data(), peer.size()), "connect");
}

/// A epoll::Datagram that reads, and a socket that speaks with it.
struct DatagramLink {
    explicit DatagramLink(epoll::OwnedFd ours, epoll::OwnedFd theirs) : peer(std::move(theirs)) {
        handler.socket = std::make_unique<epoll::Datagram>(reactor, std::move(ours), pool, handler);
        handler.socket->start_reading();
    }
    DatagramLink() : DatagramLink(make_bound_datagrams(), make_bound_datagrams()) {}
    explicit DatagramLink(std::pair<epoll::OwnedFd, epoll::OwnedFd> pair)
        : DatagramLink(std::move(pair.first), std::move(pair.second)) {}

    [[nodiscard]] epoll::Datagram& socket() { return *handler.socket; }
    [[nodiscard]] epoll::Address peer_address() const {
        return epoll::Address::local_of(peer.get());
    }
    void arrive(std::string_view text) {
        const epoll::Address target = epoll::Address::local_of(socket().fd());
        checked(static_cast<int>(::sendto(peer.get(), text.data(), text.size(), 0, target.data(),
                                          target.size())),
                "sendto");
    }
    /// Nothing when nothing is there.
    [[nodiscard]] std::string take() const {
        std::array<char, 64 * 1024> room;
        const ssize_t size = ::recv(peer.get(), room.data(), room.size(), 0);
        return size < 0 ? "nothing" : std::string(room.data(), static_cast<std::size_t>(size));
    }
    template <class Condition>
    [[nodiscard]] bool until(Condition condition) {
        return turn_until(reactor, condition);
    }
    [[nodiscard]] bool until_received(std::size_t count) {
        return until([&] { return handler.received.size() >= count; });
    }
    void turn() { reactor.run_turn(epoll::Timeout::none()); }

    epoll::Reactor reactor;
    epoll::DatagramPool pool;
    DatagramRecorder handler;
    epoll::OwnedFd peer;
};

}  // namespace testing
