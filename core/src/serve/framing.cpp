#include <epoll/serve/framing.hpp>

#include <cstring>
#include <utility>

namespace epoll {

namespace {

using Bytes = std::span<const std::byte>;

constexpr std::pair<Framing, std::string_view> k_names[] = {
    {Framing::raw, "raw"},           {Framing::line, "line"},
    {Framing::null, "null"},         {Framing::length16, "length16"},
    {Framing::length32, "length32"}, {Framing::http_head, "http_head"},
};

constexpr std::byte k_line_feed{'\n'};
constexpr std::byte k_carriage_return{'\r'};
constexpr std::byte k_nul{0};

const std::byte* find(Bytes bytes, std::byte wanted) noexcept {
    return static_cast<const std::byte*>(
        std::memchr(bytes.data(), std::to_integer<int>(wanted), bytes.size()));
}

Frame incomplete(std::size_t looked_at, std::size_t least, std::size_t limit) noexcept {
    return {least > limit ? Frame::Status::too_long : Frame::Status::incomplete, {}, looked_at};
}

Frame complete(Bytes message, std::size_t size, std::size_t limit) noexcept {
    if (message.size() > limit) {
        return {Frame::Status::too_long, {}, 0};
    }
    return {Frame::Status::complete, message, size};
}

Frame next_delimited(Bytes input, std::size_t looked_at, std::size_t limit, std::byte ending,
                     bool drops_carriage_return) noexcept {
    const std::byte* const end = find(input.subspan(looked_at), ending);
    if (end == nullptr) {
        // The last byte may be the CR of an ending, which does not count.
        const bool is_ending = drops_carriage_return && input.back() == k_carriage_return;
        return incomplete(input.size(), input.size() - (is_ending ? 1 : 0), limit);
    }
    const auto size = static_cast<std::size_t>(end - input.data());
    Bytes message = input.first(size);
    if (drops_carriage_return && !message.empty() && message.back() == k_carriage_return) {
        message = message.first(message.size() - 1);
    }
    return complete(message, size + 1, limit);
}

template <std::size_t prefix_size>
Frame next_counted(Bytes input, std::size_t limit) noexcept {
    if (input.size() < prefix_size) {
        return incomplete(0, 0, limit);
    }
    std::size_t length = 0;
    for (const std::byte digit : input.first(prefix_size)) {
        length = length << 8 | std::to_integer<std::size_t>(digit);
    }
    if (input.size() - prefix_size < length) {
        return incomplete(0, length, limit);
    }
    return complete(input.subspan(prefix_size, length), prefix_size + length, limit);
}

/// A head ends with an empty line, and a bare LF ends a line as well (RFC 9112, 2.2).
Frame next_head(Bytes input, std::size_t looked_at, std::size_t limit) noexcept {
    std::size_t position = looked_at;
    for (;;) {
        const std::byte* const end = find(input.subspan(position), k_line_feed);
        if (end == nullptr) {
            // The last byte may be the CR of the empty line, which does not count.
            const bool is_ending = input.back() == k_carriage_return &&
                                   (input.size() == 1 || input[input.size() - 2] == k_line_feed);
            return incomplete(input.size(), input.size() - (is_ending ? 1 : 0), limit);
        }
        const auto index = static_cast<std::size_t>(end - input.data());
        const Bytes before = input.first(index);
        const bool has_cr = !before.empty() && before.back() == k_carriage_return;
        const Bytes line_start = has_cr ? before.first(before.size() - 1) : before;
        if (line_start.empty() || line_start.back() == k_line_feed) {
            return complete(line_start, index + 1, limit);
        }
        position = index + 1;
    }
}

}  // namespace

std::string_view name_of(Framing framing) noexcept {
    for (const auto& entry : k_names) {
        if (entry.first == framing) {
            return entry.second;
        }
    }
    return {};
}

std::optional<Framing> framing_of(std::string_view name) noexcept {
    for (const auto& entry : k_names) {
        if (entry.second == name) {
            return entry.first;
        }
    }
    return std::nullopt;
}

Frame next_frame(Framing framing, Bytes input, std::size_t looked_at, std::size_t limit) noexcept {
    switch (framing) {
        case Framing::raw: break;
        case Framing::line: return next_delimited(input, looked_at, limit, k_line_feed, true);
        case Framing::null: return next_delimited(input, looked_at, limit, k_nul, false);
        case Framing::length16: return next_counted<2>(input, limit);
        case Framing::length32: return next_counted<4>(input, limit);
        case Framing::http_head: return next_head(input, looked_at, limit);
    }
    return {Frame::Status::complete, input, input.size()};
}

std::optional<Envelope> envelope_for(Framing framing, std::size_t size) noexcept {
    static constexpr std::byte line_ending[] = {k_line_feed};
    static constexpr std::byte null_ending[] = {k_nul};
    switch (framing) {
        case Framing::raw:
        case Framing::http_head: break;
        case Framing::line: return Envelope{{}, 0, line_ending};
        case Framing::null: return Envelope{{}, 0, null_ending};
        case Framing::length16:
            if (size > 0xFFFF) {
                return std::nullopt;
            }
            return Envelope{{std::byte(size >> 8), std::byte(size)}, 2, {}};
        case Framing::length32:
            if (size > 0xFFFF'FFFF) {
                return std::nullopt;
            }
            return Envelope{{std::byte(size >> 24), std::byte(size >> 16), std::byte(size >> 8),
                             std::byte(size)},
                            4,
                            {}};
    }
    return Envelope{{}, 0, {}};
}

}  // namespace epoll
