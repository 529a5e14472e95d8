// Echo over TCP: whatever a client sends comes back to it.
//
//     echo_server [PORT]        port 0, or none: any free port, which is printed
//
// One Listener accepts; each client is a Client, which owns its Stream and hears from it. Nothing
// here waits: the reactor calls on_accept() and on_data() when there is something to do.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <list>
#include <utility>
#include <vector>

#include <epoll/loop/reactor.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/listener.hpp>
#include <epoll/net/stream.hpp>

#include "stop_on_signal.hpp"

namespace {

class EchoServer;

class Client final : private epoll::StreamHandler {
  public:
    Client(EchoServer& server, epoll::Reactor& reactor, epoll::OwnedFd socket)
        : server_(server), stream_(reactor, std::move(socket), *this, epoll::WaterMarks{}) {
        stream_.start_reading();
    }

  private:
    std::span<std::byte> receive_buffer() noexcept override;

    void on_data(std::span<std::byte> bytes) override {
        stream_.write_borrowed(bytes);
        stream_.flush();
        if (stream_.is_over_high_water()) {
            stream_.stop_reading();  // the client sends faster than it reads
        }
    }
    void on_drained() override { stream_.start_reading(); }
    void on_end_of_stream() override { stream_.close(); }
    void on_closed(int error) noexcept override;

    EchoServer& server_;
    epoll::Stream stream_;
};

class EchoServer final : private epoll::ListenerHandler {
  public:
    EchoServer(epoll::Reactor& reactor, const epoll::Address& address)
        : reactor_(reactor),
          room_(64 * 1024),
          listener_(reactor, epoll::make_listening_socket(address, {}), *this, false) {}

    [[nodiscard]] epoll::Address address() const { return listener_.address(); }

    /// One buffer for all clients: what arrives is sent back before the next one reads.
    [[nodiscard]] std::span<std::byte> room() noexcept { return room_; }

    void remove(const Client& client) noexcept {
        clients_.remove_if([&](const Client& other) { return &other == &client; });
    }

  private:
    void on_accept(epoll::OwnedFd socket, const epoll::Address& peer) noexcept override {
        try {
            clients_.emplace_back(*this, reactor_, std::move(socket));
        } catch (const std::exception& error) {
            std::fprintf(stderr, "%s: %s\n", peer.to_string().c_str(), error.what());
        }
    }
    void on_accept_error(int error) noexcept override {
        std::fprintf(stderr, "cannot accept: errno %d; trying again\n", error);
    }

    epoll::Reactor& reactor_;
    std::vector<std::byte> room_;
    std::list<Client> clients_;
    epoll::Listener listener_;
};

std::span<std::byte> Client::receive_buffer() noexcept { return server_.room(); }

void Client::on_closed(int) noexcept { server_.remove(*this); }

}  // namespace

int main(int count, char** arguments) {
    try {
        const int port = count > 1 ? std::atoi(arguments[1]) : 0;
        epoll::Reactor reactor;
        EchoServer server{
            reactor,
            epoll::Address::resolve("127.0.0.1", static_cast<std::uint16_t>(port)).front()};
        const StopOnSignal stop_on_signal{reactor};
        std::printf("listening on %s\n", server.address().to_string().c_str());
        std::fflush(stdout);
        reactor.run();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "echo_server: %s\n", error.what());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
