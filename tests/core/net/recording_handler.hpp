#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <epoll/base/byte_queue.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/net/stream.hpp>

#include "tests/core/net/loopback.hpp"

namespace testing {

/// The owner of a Stream that notes what it hears and does what the test wants done inside.
class RecordingHandler final : public epoll::StreamHandler {
  public:
    std::span<std::byte> receive_buffer() noexcept override {
        ++asks;
        if (inside_ask) {
            inside_ask();
        }
        return std::span{room}.first(room_size);
    }
    void on_data(std::span<std::byte> bytes) override {
        ++reads;
        received += text_of(bytes);
        if (inside_data) {
            inside_data();
        }
    }
    void on_nothing_received() noexcept override {
        ++nothings;
        if (inside_nothing) {
            inside_nothing();
        }
    }
    void on_end_of_stream() override {
        ++ends;
        if (inside_end) {
            inside_end();
        }
    }
    void on_drained() override {
        ++drained;
        if (inside_drained) {
            inside_drained();
        }
    }
    void on_closed(int error) noexcept override {
        ++closed;
        close_error = error;
        if (inside_closed) {
            inside_closed();
        }
        if (destroys_when_closed) {
            stream.reset();
        }
    }

    std::unique_ptr<epoll::Stream> stream;
    std::array<std::byte, 64 * 1024> room{};
    std::size_t room_size = room.size();
    std::function<void()> inside_ask, inside_data, inside_nothing;
    std::function<void()> inside_end, inside_drained, inside_closed;
    bool destroys_when_closed = false;

    std::string received;
    int asks = 0, reads = 0, nothings = 0, ends = 0, drained = 0, closed = 0;
    int close_error = -1;
};

/// A text that a stream may own, and that knows how often it was let go.
struct Shared {
    explicit Shared(std::string content) : text(std::move(content)) {}
    [[nodiscard]] epoll::OwnedBytes share() {
        return {bytes_of(text), this,
                [](void* self) noexcept { ++static_cast<Shared*>(self)->released; }};
    }
    std::string text;
    int released = 0;
};

/// A stream and its far end, over TCP or a Unix socket.
struct Connected {
    explicit Connected(Pair pair, epoll::WaterMarks marks = {}) : peer(std::move(pair.theirs)) {
        handler.stream =
            std::make_unique<epoll::Stream>(reactor, std::move(pair.ours), handler, marks);
    }

    [[nodiscard]] epoll::Stream& stream() { return *handler.stream; }
    void write(std::string_view text) { stream().write(bytes_of(text)); }
    /// Writes until the socket is full, so that a rest stays queued.
    void fill() {
        const std::string block(64 * 1024, 'f');
        do {
            write(block);
            stream().flush();
        } while (stream().unsent() == 0);
    }
    template <class Condition>
    [[nodiscard]] bool until(Condition condition) {
        return turn_until(reactor, condition);
    }
    [[nodiscard]] bool until_received(std::size_t size) {
        return until([&] { return handler.received.size() >= size; });
    }
    [[nodiscard]] bool until_closed() {
        return until([&] { return handler.closed != 0; });
    }

    epoll::Reactor reactor;
    RecordingHandler handler;
    Peer peer;
};

}  // namespace testing
