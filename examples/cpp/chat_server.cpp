// Chat over TCP: each line of a client goes to all others, after the name that it gave first.
//
//     chat_server [PORT]        port 0, or none: any free port, which is printed
//     nc 127.0.0.1 PORT         a client
//
// MessageServer does the rest: it accepts, cuts the bytes into lines, keeps slow readers from
// filling the memory and ends connections in order. A program says what a message means.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include <epoll/loop/reactor.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/listener.hpp>
#include <epoll/serve/connection.hpp>
#include <epoll/serve/message_server.hpp>

#include "stop_on_signal.hpp"

namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text});
}

class ChatRoom final : public epoll::MessageHandler {
  public:
    /// What a member may leave unread before it is sent away.
    static constexpr std::size_t k_patience = 1024 * 1024;

    /// Tells whom to wake when the room is closed.
    explicit ChatRoom(epoll::Reactor& reactor) : reactor_(reactor) {}

  private:
    void on_open(epoll::Connection& connection) override {
        (void)connection.send(bytes_of("What is your name?"));
    }

    void on_message(epoll::Connection& connection, std::span<const std::byte> message) override {
        const std::string_view line{reinterpret_cast<const char*>(message.data()), message.size()};
        const auto member = members_.find(&connection);
        if (member == members_.end()) {
            tell_others(connection, "* " + std::string{line} + " has come");
            members_.emplace(&connection, line);
        } else {
            tell_others(connection, member->second + ": " + std::string{line});
        }
    }

    void on_too_long(epoll::Connection& connection) override {
        (void)connection.send(bytes_of("* that was too long"));
    }

    void on_close(epoll::Connection& connection, epoll::CloseReason reason, int) noexcept override {
        const auto member = members_.extract(&connection);
        if (!member.empty() && reason != epoll::CloseReason::stopped) {
            try {
                tell_others(connection, "* " + member.mapped() + " has gone");
            } catch (const std::bad_alloc&) {
                std::fputs("no memory to say who has gone\n", stderr);
            }
        }
    }

    void on_accept_error(int error) noexcept override {
        std::fprintf(stderr, "cannot accept: errno %d; trying again\n", error);
    }

    void on_stopped() noexcept override { reactor_.stop(); }

    void tell_others(const epoll::Connection& sender, const std::string& line) {
        for (const auto& [connection, name] : members_) {
            if (connection == &sender) {
                continue;
            }
            if (connection->unsent() > k_patience) {
                connection->abort();
            } else {
                (void)connection->send(bytes_of(line));
            }
        }
    }

    epoll::Reactor& reactor_;
    std::unordered_map<epoll::Connection*, std::string> members_;  ///< those who have said a name
};

epoll::ServerOptions options() {
    epoll::ServerOptions options;
    options.framing = epoll::Framing::line;
    options.max_message = 1024;
    return options;
}

}  // namespace

int main(int count, char** arguments) {
    try {
        const int port = count > 1 ? std::atoi(arguments[1]) : 0;
        epoll::Reactor reactor;
        ChatRoom room{reactor};
        epoll::MessageServer server{reactor, room, options()};
        epoll::OwnedFd socket = epoll::make_listening_socket(
            epoll::Address::resolve("127.0.0.1", static_cast<std::uint16_t>(port)).front(), {});
        const std::string address = epoll::Address::local_of(socket.get()).to_string();
        server.listen(std::move(socket), false);
        const StopOnSignal stop_on_signal{reactor};
        std::printf("listening on %s\n", address.c_str());
        std::fflush(stdout);
        reactor.run();  // until a signal
        server.stop(std::chrono::seconds{5});
        reactor.run();  // until everybody has heard what was said
    } catch (const std::exception& error) {
        std::fprintf(stderr, "chat_server: %s\n", error.what());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
