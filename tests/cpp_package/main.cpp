// Uses each layer of the installed library once: an echo server and its client in one thread.

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <sys/socket.h>

#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/listener.hpp>
#include <epoll/serve/message_server.hpp>
#include <epoll/serve/responders.hpp>

namespace {

class Echo final : public epoll::MessageHandler {
  public:
    explicit Echo(epoll::Reactor& reactor) : reactor_(reactor) {}

  private:
    void on_open(epoll::Connection& /*connection*/) override {}
    void on_message(epoll::Connection& connection, std::span<const std::byte> message) override {
        epoll::answer_echo(connection, message);
    }
    void on_too_long(epoll::Connection& connection) override { connection.abort(); }
    void on_close(epoll::Connection& /*connection*/, epoll::CloseReason /*reason*/,
                  int /*error*/) noexcept override {}
    void on_accept_error(int /*error*/) noexcept override { std::abort(); }
    void on_stopped() noexcept override { reactor_.stop(); }

    epoll::Reactor& reactor_;
};

/// Runs turns until the client has received something; false when nothing came in five seconds.
bool receive(epoll::Reactor& reactor, int client, std::string& received) {
    const auto end = epoll::Clock::now() + std::chrono::seconds{5};
    while (epoll::Clock::now() < end) {
        reactor.run_turn(epoll::Timeout::after(std::chrono::milliseconds{10}));
        char room[64];
        const auto count = ::recv(client, room, sizeof room, MSG_DONTWAIT);
        if (count > 0) {
            received.assign(room, static_cast<std::size_t>(count));
            return true;
        }
    }
    return false;
}

}  // namespace

int main() {
    constexpr std::string_view question = "does it link?\n";

    epoll::Reactor reactor;
    Echo echo{reactor};
    epoll::MessageServer server{reactor, echo, {.framing = epoll::Framing::line}};
    auto listening =
        epoll::make_listening_socket(epoll::Address::resolve("127.0.0.1", 0).front(), {});
    const auto address = epoll::Address::local_of(listening.get());
    server.listen(std::move(listening), false);

    epoll::OwnedFd client{::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)};
    std::string answer;
    if (::connect(client.get(), address.data(), address.size()) != 0 ||
        ::send(client.get(), question.data(), question.size(), MSG_NOSIGNAL) < 0 ||
        !receive(reactor, client.get(), answer) || answer != question) {
        std::fputs("the echo did not come back\n", stderr);
        return EXIT_FAILURE;
    }
    (void)client.close();
    server.stop(std::chrono::seconds{1});
    reactor.run();
    return server.statistics().messages == 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
