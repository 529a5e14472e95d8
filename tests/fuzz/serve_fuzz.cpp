// A libFuzzer target for what reads bytes of strangers: next_frame(), and the reader of HTTP
// requests behind answer_hello().
//
//     clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Icore/include
//         tests/fuzz/serve_fuzz.cpp core/src/*/*.cpp -o serve_fuzz
//     ./serve_fuzz -max_total_time=60
//
// The first byte of an input chooses the framing, the second one the limit, the third one how the
// rest is cut into pieces. Whatever the pieces, the messages must be the same.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/socket.h>

#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/serve/connection.hpp>
#include <epoll/serve/framing.hpp>
#include <epoll/serve/message_server.hpp>
#include <epoll/serve/responders.hpp>

namespace {

using Bytes = std::span<const std::byte>;

constexpr epoll::Framing k_framings[] = {epoll::Framing::line, epoll::Framing::null,
                                         epoll::Framing::length16, epoll::Framing::length32,
                                         epoll::Framing::http_head};

void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

/// The messages of `input` when it arrives in pieces of `piece` bytes.
class Receiver {
  public:
    Receiver(epoll::Framing framing, std::size_t limit) : framing_(framing), limit_(limit) {}

    void receive(Bytes input, std::size_t piece) {
        while (!input.empty() && !is_too_long) {
            const Bytes next = input.first(std::min(piece, input.size()));
            kept_.insert(kept_.end(), next.begin(), next.end());
            input = input.subspan(next.size());
            cut();
        }
    }

    std::vector<std::vector<std::byte>> messages;
    bool is_too_long = false;

  private:
    void cut() {
        while (!kept_.empty()) {
            // A copy of exactly its size, so that a read past the end is seen.
            const std::vector<std::byte> input{kept_};
            const epoll::Frame frame = epoll::next_frame(framing_, input, looked_at_, limit_);
            if (frame.status == epoll::Frame::Status::incomplete) {
                require(frame.size <= input.size());
                looked_at_ = frame.size;
                return;
            }
            looked_at_ = 0;
            if (frame.status == epoll::Frame::Status::too_long) {
                is_too_long = true;
                return;
            }
            require(frame.size != 0 && frame.size <= input.size());
            require(frame.message.size() <= limit_ && frame.message.size() <= frame.size);
            messages.emplace_back(frame.message.begin(), frame.message.end());
            kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(frame.size));
        }
    }

    epoll::Framing framing_;
    std::size_t limit_;
    std::vector<std::byte> kept_;
    std::size_t looked_at_ = 0;
};

void check_framing(epoll::Framing framing, std::size_t limit, std::size_t piece, Bytes input) {
    Receiver whole{framing, limit};
    whole.receive(input, input.size());
    Receiver cut{framing, limit};
    cut.receive(input, piece);
    require(whole.messages == cut.messages);
    require(whole.is_too_long == cut.is_too_long);
}

/// Gives each request head to answer_hello() and checks that an answer came back.
class Hello final : public epoll::MessageHandler {
  public:
    void on_open(epoll::Connection&) override {}
    void on_message(epoll::Connection& connection, Bytes message) override {
        // A copy of exactly its size, so that a read past the end is seen.
        const std::vector<std::byte> head(message.begin(), message.end());
        const std::size_t before = connection.unsent();
        epoll::answer_hello(connection, head);
        require(head.empty() || connection.unsent() > before);
    }
    void on_too_long(epoll::Connection&) override {}
    void on_close(epoll::Connection&, epoll::CloseReason, int) noexcept override { ++closed; }
    void on_accept_error(int) noexcept override {}
    void on_stopped() noexcept override {}

    int closed = 0;
};

void check_hello(std::size_t limit, Bytes input) {
    epoll::Reactor reactor;
    Hello hello;
    epoll::ServerOptions options;
    options.framing = epoll::Framing::http_head;
    options.max_message = limit;
    epoll::MessageServer server{reactor, hello, options};
    const std::string name = std::string(1, '\0') + "pyepoll-fuzz-" + std::to_string(::getpid());
    const epoll::Address address = epoll::Address::unix_path(name);
    server.listen(epoll::make_listening_socket(address, {}), false);
    const epoll::OwnedFd client{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    require(::connect(client.get(), address.data(), address.size()) == 0);
    (void)::send(client.get(), input.data(), input.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)::shutdown(client.get(), SHUT_WR);
    for (int turns = 0; hello.closed == 0; ++turns) {
        require(turns != 1000);
        char room[4096];
        while (::recv(client.get(), room, sizeof room, MSG_DONTWAIT) > 0) {
        }
        reactor.run_turn(epoll::Timeout::after(std::chrono::milliseconds{1}));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 4) {
        return 0;
    }
    const std::size_t choice = data[0] % (std::size(k_framings) + 1);
    const std::size_t limit = data[1];
    const std::size_t piece = data[2] % 16 + 1;
    const Bytes input = std::as_bytes(std::span{data, size}.subspan(3));
    if (choice == std::size(k_framings)) {
        check_hello(limit, input);
    } else {
        check_framing(k_framings[choice], limit, piece, input);
    }
    return 0;
}
