#include <epoll/serve/responders.hpp>

#include <algorithm>
#include <string_view>

#include <epoll/serve/connection.hpp>

namespace epoll {

namespace {

constexpr std::size_t k_worth_borrowing = 4096;

constexpr std::string_view k_head =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 13\r\n";
constexpr std::string_view k_keep_alive = "Connection: keep-alive\r\n";
constexpr std::string_view k_close = "Connection: close\r\n";
constexpr std::string_view k_body = "Hello, world!";
constexpr std::string_view k_bad_request =
    "HTTP/1.1 400 Bad Request\r\n"
    "Content-Length: 0\r\n"
    "Connection: close\r\n\r\n";

constexpr std::string_view k_too_long =
    "HTTP/1.1 431 Request Header Fields Too Large\r\n"
    "Content-Length: 0\r\n"
    "Connection: close\r\n\r\n";

char to_lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; }

bool is_same(std::string_view a, std::string_view b) noexcept {
    return std::ranges::equal(a, b, {}, to_lower, to_lower);
}

std::string_view trim(std::string_view text) noexcept {
    constexpr std::string_view blank = " \t\r";
    const std::size_t first = text.find_first_not_of(blank);
    return first == std::string_view::npos
               ? std::string_view{}
               : text.substr(first, text.find_last_not_of(blank) - first + 1);
}

/// What is before `separator`; `text` goes on behind it.
std::string_view take_until(std::string_view& text, char separator) noexcept {
    const std::size_t end = text.find(separator);
    const std::string_view taken = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    return taken;
}

bool has_token(std::string_view list, std::string_view token) noexcept {
    while (!list.empty()) {
        if (is_same(trim(take_until(list, ',')), token)) {
            return true;
        }
    }
    return false;
}

/// A name without blanks before its colon: RFC 9112, 5.1, refuses any other, because what one
/// reader overlooks, say a length, the next one obeys.
bool has_field_name(std::string_view line) noexcept {
    const std::size_t end = line.find_first_of(": \t\r");
    return end != std::string_view::npos && end != 0 && line[end] == ':';
}

/// What matters of a request here.
struct Request {
    bool is_valid = false;
    bool is_head = false;
    bool keeps_connection = false;
};

Request read_request(std::string_view head) noexcept {
    std::string_view line = trim(take_until(head, '\n'));
    const std::string_view method = take_until(line, ' ');
    const std::string_view target = take_until(line, ' ');
    const bool is_new = line == "HTTP/1.1";
    if (method.empty() || target.empty() || (!is_new && line != "HTTP/1.0")) {
        return {};
    }
    bool is_kept = is_new;
    bool is_closed = false;
    bool has_body = false;
    int hosts = 0;
    while (!head.empty()) {
        std::string_view value = take_until(head, '\n');
        if (!has_field_name(value)) {
            return {};
        }
        const std::string_view name = take_until(value, ':');
        value = trim(value);
        if (is_same(name, "connection")) {
            is_closed = is_closed || has_token(value, "close");
            is_kept = is_kept || has_token(value, "keep-alive");
        } else if (is_same(name, "transfer-encoding") ||
                   (is_same(name, "content-length") && value != "0")) {
            has_body = true;
        } else if (is_same(name, "host")) {
            ++hosts;
        }
    }
    // RFC 9112, 3.2: with HTTP/1.1 there is exactly one Host.
    const bool is_valid = hosts == 1 || (hosts == 0 && !is_new);
    return {is_valid, method == "HEAD", is_kept && !is_closed && !has_body};
}

void send_text(Connection& connection, std::string_view text) {
    // Plain HTTP is never framed, so the answer always fits.
    (void)connection.send(std::as_bytes(std::span{text}));
}

}  // namespace

void answer_echo(Connection& connection, std::span<const std::byte> message) {
    // It came with this framing, so it fits it. Many small parts cost the kernel more than a copy.
    if (message.size() < k_worth_borrowing && !connection.is_raw()) {
        (void)connection.send(message);
    } else {
        (void)connection.send_borrowed(message);
    }
}

void answer_too_long_a_head(Connection& connection) { send_text(connection, k_too_long); }

void answer_hello(Connection& connection, std::span<const std::byte> head) {
    if (head.empty()) {
        return;  // an empty line before the request line (RFC 9112, 2.2)
    }
    const Request request = read_request({reinterpret_cast<const char*>(head.data()), head.size()});
    if (!request.is_valid) {
        send_text(connection, k_bad_request);
        connection.close();
        return;
    }
    send_text(connection, k_head);
    send_text(connection, request.keeps_connection ? k_keep_alive : k_close);
    send_text(connection, "\r\n");
    if (!request.is_head) {
        send_text(connection, k_body);
    }
    if (!request.keeps_connection) {
        connection.close();
    }
}

}  // namespace epoll
