#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace epoll {

/// How messages are told apart in a stream of bytes. Both directions use the same form.
enum class Framing : std::uint8_t {
    raw,        ///< none: what one read brings is a message
    line,       ///< ends with LF; a CR before it belongs to the ending. Answers end with LF
    null,       ///< ends with a NUL byte
    length16,   ///< 2 bytes of length, big-endian, then the message
    length32,   ///< 4 bytes of length, big-endian, then the message
    http_head,  ///< an HTTP/1 request head with its last line's ending, up to its empty line (RFC
                ///< 9112); an empty line alone is an empty message; answers are sent as they are
};

/// "raw", "line" …, and back; nothing for a name that there is not.
[[nodiscard]] std::string_view name_of(Framing framing) noexcept;
[[nodiscard]] std::optional<Framing> framing_of(std::string_view name) noexcept;

/// What stands at the start of some input.
struct Frame {
    enum class Status : std::uint8_t {
        incomplete,  ///< more bytes are needed
        complete,    ///< `message` is the next one
        too_long,    ///< it is, or will be, longer than the limit
    };
    Status status;
    std::span<const std::byte> message;  ///< complete: without its framing, a part of the input
    std::size_t size;  ///< complete: bytes to drop; incomplete: bytes that need no second look
};

/// Looks for one message at the start of `input`, which is not empty. No I/O, no memory, no state.
///
/// `looked_at` is the `size` of the last incomplete answer for the same start, else 0: a message
/// that arrives byte by byte is then scanned once, not once per byte. A message of more than
/// `limit` bytes is too_long as soon as that is certain. Framing::raw knows no limit.
[[nodiscard]] Frame next_frame(Framing framing, std::span<const std::byte> input,
                               std::size_t looked_at, std::size_t limit) noexcept;

/// What goes before and after a message that is sent. The suffix is static memory.
struct Envelope {
    std::array<std::byte, 4> prefix;
    std::size_t prefix_size;
    std::span<const std::byte> suffix;
};

/// The envelope of a message of `size` bytes; nothing when the framing cannot carry that many
/// (65,535 with length16, 4,294,967,295 with length32).
///
/// The content is not searched for the ending that line and null use: what the caller sends is the
/// caller's.
[[nodiscard]] std::optional<Envelope> envelope_for(Framing framing, std::size_t size) noexcept;

}  // namespace epoll
