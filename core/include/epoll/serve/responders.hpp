#pragma once

#include <cstddef>
#include <span>

namespace epoll {

class Connection;

/// Answers that need no program: what a MessageHandler can call in its on_message().

/// Sends the message back, without copying it. For any framing.
void answer_echo(Connection& connection, std::span<const std::byte> message);

/// Answers an HTTP/1 request head with 200 and "Hello, world!", whatever its target; a HEAD gets no
/// body, what is no request gets 400. Keeps the connection when RFC 9112, 9.3 says so. A request
/// with a body is answered and its connection closed: nobody here reads bodies. For
/// Framing::http_head.
void answer_hello(Connection& connection, std::span<const std::byte> head);

/// Answers a request head that is too long: 431 (RFC 6585, 5).
void answer_too_long_a_head(Connection& connection);

}  // namespace epoll
