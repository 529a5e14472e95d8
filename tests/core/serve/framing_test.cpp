#include <epoll/serve/framing.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

using epoll::Frame;
using epoll::Framing;
using Status = epoll::Frame::Status;

namespace {

constexpr Framing k_all[] = {Framing::raw,      Framing::line,     Framing::null,
                             Framing::length16, Framing::length32, Framing::http_head};
constexpr std::size_t k_no_limit = std::numeric_limits<std::size_t>::max();

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text});
}

std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Frame frame_of(Framing framing, std::string_view input, std::size_t limit = k_no_limit) {
    return epoll::next_frame(framing, bytes_of(input), 0, limit);
}

/// The message at the start of `input`, which must be complete and take `size` bytes of it.
std::string message_of(Framing framing, std::string_view input, std::size_t size) {
    const Frame frame = frame_of(framing, input);
    REQUIRE(frame.status == Status::complete);
    CHECK(frame.size == size);
    return text_of(frame.message);
}

/// What a receiver sees of a stream that arrives in pieces: the messages, and whether one was too
/// long.
struct Reception {
    std::vector<std::string> messages;
    bool is_too_long = false;
    bool operator==(const Reception&) const = default;
};

class Receiver {
  public:
    Receiver(Framing framing, std::size_t limit) : framing_(framing), limit_(limit) {}

    void arrive(std::string_view piece) {
        kept_ += piece;
        while (!kept_.empty() && !seen.is_too_long) {
            const Frame frame = epoll::next_frame(framing_, bytes_of(kept_), looked_at_, limit_);
            if (frame.status == Status::incomplete) {
                CHECK(frame.size <= kept_.size());
                looked_at_ = frame.size;
                return;
            }
            looked_at_ = 0;
            seen.is_too_long = frame.status == Status::too_long;
            if (!seen.is_too_long) {
                REQUIRE(frame.size > 0);
                REQUIRE(frame.size <= kept_.size());
                seen.messages.push_back(text_of(frame.message));
                kept_.erase(0, frame.size);
            }
        }
    }

    Reception seen;

  private:
    Framing framing_;
    std::size_t limit_;
    std::string kept_;
    std::size_t looked_at_ = 0;
};

Reception receive_in_pieces(Framing framing, std::size_t limit, std::string_view input,
                            std::size_t most, std::mt19937& random) {
    Receiver receiver{framing, limit};
    std::uniform_int_distribution<std::size_t> size{1, most};
    while (!input.empty()) {
        const std::size_t piece = std::min(size(random), input.size());
        receiver.arrive(input.substr(0, piece));
        input.remove_prefix(piece);
    }
    return receiver.seen;
}

std::string enveloped(Framing framing, const std::string& message) {
    const auto envelope = epoll::envelope_for(framing, message.size());
    REQUIRE(envelope.has_value());
    return text_of(std::span{envelope->prefix}.first(envelope->prefix_size)) + message +
           text_of(envelope->suffix);
}

/// Bytes of which many mean something to one framing or another.
std::string random_text(std::mt19937& random, std::size_t most, std::string_view alphabet) {
    std::uniform_int_distribution<std::size_t> size{0, most};
    std::uniform_int_distribution<std::size_t> letter{0, alphabet.size() - 1};
    std::string text(size(random), ' ');
    std::generate(text.begin(), text.end(), [&] { return alphabet[letter(random)]; });
    return text;
}

}  // namespace

TEST_CASE("the name of a framing leads back to it") {
    for (const Framing framing : k_all) {
        CHECK(epoll::framing_of(epoll::name_of(framing)) == framing);
    }
    CHECK(epoll::name_of(Framing::line) == "line");
    CHECK_FALSE(epoll::framing_of("").has_value());
    CHECK_FALSE(epoll::framing_of("Line").has_value());
}

TEST_CASE("raw: what has come is a message, without a limit") {
    const std::string any{"any\n\0thing", 10};
    CHECK(message_of(Framing::raw, any, any.size()) == any);
    CHECK(frame_of(Framing::raw, "longer", 1).status == Status::complete);
}

TEST_CASE("line: ends with LF, and one CR before it goes too") {
    CHECK(message_of(Framing::line, "one\ntwo\n", 4) == "one");
    CHECK(message_of(Framing::line, "one\r\ntwo", 5) == "one");
    CHECK(message_of(Framing::line, "one\r\r\n", 6) == "one\r");
    CHECK(message_of(Framing::line, "a\rb\n", 4) == "a\rb");
    CHECK(message_of(Framing::line, "\n", 1).empty());
    CHECK(message_of(Framing::line, "\r\n", 2).empty());
    CHECK(frame_of(Framing::line, "one").status == Status::incomplete);
    CHECK(frame_of(Framing::line, "one\r").status == Status::incomplete);
}

TEST_CASE("null: ends with a NUL byte, and all else is content") {
    CHECK(message_of(Framing::null, std::string_view{"a\r\n\0b", 5}, 4) == "a\r\n");
    CHECK(message_of(Framing::null, std::string_view{"\0", 1}, 1).empty());
    CHECK(frame_of(Framing::null, "a\n").status == Status::incomplete);
}

TEST_CASE("length prefixes are big-endian, and zero is an empty message") {
    CHECK(message_of(Framing::length16, std::string_view{"\0\3abcd", 6}, 5) == "abc");
    CHECK(message_of(Framing::length16, std::string_view{"\0\0x", 3}, 2).empty());
    CHECK(message_of(Framing::length32, std::string_view{"\0\0\0\2abc", 7}, 6) == "ab");
    CHECK(message_of(Framing::length32, std::string_view{"\0\0\0\0", 4}, 4).empty());
    CHECK(message_of(Framing::length16, "\1\2" + std::string(0x102, 'x'), 0x104).size() == 0x102);
    CHECK(frame_of(Framing::length16, std::string_view{"\0", 1}).status == Status::incomplete);
    CHECK(frame_of(Framing::length32, std::string_view{"\0\0\0", 3}).status == Status::incomplete);
    CHECK(frame_of(Framing::length32, std::string_view{"\0\0\0\2a", 5}).status ==
          Status::incomplete);
}

TEST_CASE("the largest length prefixes are lengths like any other") {
    const std::string most(0xFFFF, 'x');
    CHECK(message_of(Framing::length16, "\xFF\xFF" + most, 0x10001) == most);
    CHECK(frame_of(Framing::length32, "\xFF\xFF\xFF\xFF").status == Status::incomplete);
    CHECK(frame_of(Framing::length32, "\xFF\xFF\xFF\xFF", 0xFFFF'FFFE).status == Status::too_long);
}

TEST_CASE("http_head: up to the empty line, which may end with LF alone") {
    const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
    CHECK(message_of(Framing::http_head, head + "\r\nGET", head.size() + 2) == head);
    CHECK(message_of(Framing::http_head, "GET / HTTP/1.0\n\n", 16) == "GET / HTTP/1.0\n");
    CHECK(message_of(Framing::http_head, "GET / HTTP/1.0\r\n\n", 17) == "GET / HTTP/1.0\r\n");
    CHECK(message_of(Framing::http_head, "\r\nGET", 2).empty());
    CHECK(message_of(Framing::http_head, "\nGET", 1).empty());
    CHECK(frame_of(Framing::http_head, head).status == Status::incomplete);
    CHECK(frame_of(Framing::http_head, "a\r\n\r").status == Status::incomplete);
    CHECK(frame_of(Framing::http_head, "a\n\r\r\n").status == Status::incomplete);
}

TEST_CASE("a message of exactly the limit is a message, one byte more is too long") {
    const std::string eight(8, 'x');
    const struct {
        Framing framing;
        std::string fits, exceeds;
    } cases[] = {
        {Framing::line, eight + "\n", eight + "x\n"},
        {Framing::line, eight + "\r\n", eight + "\r\r\n"},
        {Framing::null, eight + '\0', eight + "x" + '\0'},
        {Framing::length16, std::string{"\0\10", 2} + eight, std::string{"\0\11", 2} + eight + "x"},
        {Framing::length32, std::string{"\0\0\0\10", 4} + eight, std::string{"\0\0\0\11", 4}},
        {Framing::http_head, "123456\r\n\r\n", "1234567\r\n\r\n"},
        {Framing::http_head, "1234567\n\n", "12345678\n\n"},
    };
    std::mt19937 random{1};
    for (const auto& example : cases) {
        CAPTURE(epoll::name_of(example.framing));
        for (const std::size_t most : {std::size_t{1}, std::size_t{100}}) {
            CAPTURE(most);
            const auto fits = receive_in_pieces(example.framing, 8, example.fits, most, random);
            CHECK(fits.messages.size() == 1);
            CHECK_FALSE(fits.is_too_long);
            const auto exceeds =
                receive_in_pieces(example.framing, 8, example.exceeds, most, random);
            CHECK(exceeds.messages.empty());
            CHECK(exceeds.is_too_long);
        }
    }
}

TEST_CASE("too long is said as soon as it is certain") {
    CHECK(frame_of(Framing::line, "12345678", 8).status == Status::incomplete);
    CHECK(frame_of(Framing::line, "12345678\r", 8).status == Status::incomplete);
    CHECK(frame_of(Framing::line, "123456789", 8).status == Status::too_long);
    CHECK(frame_of(Framing::line, "12345678\r\r", 8).status == Status::too_long);
    CHECK(frame_of(Framing::null, "12345678\r", 8).status == Status::too_long);
    CHECK(frame_of(Framing::length16, std::string_view{"\0\11", 2}, 8).status == Status::too_long);
    CHECK(frame_of(Framing::http_head, "123456\r\n\r", 8).status == Status::incomplete);
    CHECK(frame_of(Framing::http_head, "123456\r\n.", 8).status == Status::too_long);
}

TEST_CASE("a limit of zero lets empty messages through") {
    CHECK(frame_of(Framing::line, "\r\n", 0).status == Status::complete);
    CHECK(frame_of(Framing::line, "x", 0).status == Status::too_long);
    CHECK(frame_of(Framing::length16, std::string_view{"\0\0", 2}, 0).status == Status::complete);
}

TEST_CASE("a message that arrives byte by byte is scanned once") {
    // What is passed as looked_at is not looked at again: an ending that stands there is not seen.
    for (const Framing framing : {Framing::line, Framing::null, Framing::http_head}) {
        CAPTURE(epoll::name_of(framing));
        const std::string text(1000, 'x');
        const Frame frame = frame_of(framing, text);
        REQUIRE(frame.status == Status::incomplete);
        CHECK(frame.size == text.size());
        const std::string hidden{"\n\n\0\0xxxx", 8};
        CHECK(epoll::next_frame(framing, bytes_of(hidden), hidden.size(), k_no_limit).status ==
              Status::incomplete);
    }
}

TEST_CASE("an enveloped message comes back as it was, in whatever pieces") {
    std::mt19937 random{20};
    for (const Framing framing :
         {Framing::line, Framing::null, Framing::length16, Framing::length32}) {
        CAPTURE(epoll::name_of(framing));
        for (int round = 0; round != 100; ++round) {
            Reception sent;
            std::string stream;
            for (int i = 0; i != 5; ++i) {
                sent.messages.push_back(random_text(random, 40, "abcdefgh"));
                stream += enveloped(framing, sent.messages.back());
            }
            for (const std::size_t most : {1U, 3U, 1000U}) {
                CHECK(receive_in_pieces(framing, 40, stream, most, random) == sent);
            }
        }
    }
}

TEST_CASE("any input means the same whole and in pieces") {
    std::mt19937 random{300};
    const std::string_view alphabet{"\r\n\0\1\2ab", 7};
    for (const Framing framing : k_all) {
        if (framing == Framing::raw) {
            continue;  // its messages are the pieces
        }
        CAPTURE(epoll::name_of(framing));
        for (std::size_t round = 0; round != 2000; ++round) {
            const std::string input = random_text(random, 30, alphabet);
            CAPTURE(input);
            const auto whole = receive_in_pieces(framing, 6, input, 1000, random);
            const auto pieces = receive_in_pieces(framing, 6, input, round % 3 + 1, random);
            CHECK(whole == pieces);
        }
    }
}

TEST_CASE("an envelope is refused when the length does not fit its prefix") {
    CHECK(epoll::envelope_for(Framing::length16, 0xFFFF).has_value());
    CHECK_FALSE(epoll::envelope_for(Framing::length16, 0x10000).has_value());
    CHECK(epoll::envelope_for(Framing::length32, 0xFFFF'FFFF).has_value());
    CHECK_FALSE(epoll::envelope_for(Framing::length32, 0x1'0000'0000).has_value());
    CHECK(epoll::envelope_for(Framing::line, k_no_limit).has_value());
}

TEST_CASE("an envelope is what its framing says") {
    CHECK(enveloped(Framing::raw, "x") == "x");
    CHECK(enveloped(Framing::http_head, "x") == "x");
    CHECK(enveloped(Framing::line, "x") == "x\n");
    CHECK(enveloped(Framing::null, "x") == std::string("x\0", 2));
    CHECK(enveloped(Framing::length16, "xy") == std::string("\0\2xy", 4));
    CHECK(enveloped(Framing::length32, "xy") == std::string("\0\0\0\2xy", 6));
    const auto envelope = epoll::envelope_for(Framing::length32, 0x01020304);
    CHECK(text_of(envelope->prefix) == "\1\2\3\4");
}
