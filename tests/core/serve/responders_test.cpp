#include <epoll/serve/responders.hpp>

#include <string>
#include <string_view>
#include <utility>

#include <doctest/doctest.h>

#include <epoll/serve/framing.hpp>

#include "tests/core/net/loopback.hpp"
#include "tests/core/serve/served.hpp"

using testing::Peer;
using testing::Served;

namespace {

Served make_hello() {
    epoll::ServerOptions options;
    options.framing = epoll::Framing::http_head;
    return Served{options};
}

constexpr std::string_view k_host = "Host: a\r\n";

/// What one client gets that sends `text` and then no more.
std::string answer_to(const std::string& text) {
    Served served = make_hello();
    served.service.answer = epoll::answer_hello;
    Peer peer = served.connect_and_open();
    peer.send(text);
    peer.finish();
    REQUIRE(served.until([&] { return peer.has_ended(); }));
    CHECK(peer.error() == 0);
    return peer.received();
}

std::string request(std::string_view first_line, std::string_view fields = "") {
    return std::string{first_line} + "\r\n" + std::string{k_host} + std::string{fields} + "\r\n";
}

const std::string k_kept =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n"
    "Connection: keep-alive\r\n\r\n";
const std::string k_closed =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n"
    "Connection: close\r\n\r\n";
const std::string k_body = "Hello, world!";
const std::string k_bad =
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

}  // namespace

TEST_CASE("echo answers with the message, in any framing") {
    const std::pair<epoll::Framing, std::string> examples[] = {
        {epoll::Framing::raw, "as it is"},           {epoll::Framing::line, "a line\n"},
        {epoll::Framing::null, {"null\0", 5}},       {epoll::Framing::length16, {"\0\2ab", 4}},
        {epoll::Framing::length32, {"\0\0\0\0", 4}},
    };
    for (const auto& example : examples) {
        const std::string& text = example.second;
        CAPTURE(epoll::name_of(example.first));
        epoll::ServerOptions options;
        options.framing = example.first;
        Served served{options};
        served.service.answer = epoll::answer_echo;
        Peer peer = served.connect_and_open();
        peer.send(text);
        REQUIRE(served.until_received(peer, text));
    }
}

TEST_CASE("HTTP/1.1 has exactly one Host, HTTP/1.0 at most one") {
    CHECK(answer_to("GET / HTTP/1.1\r\n\r\n") == k_bad);
    CHECK(answer_to(request("GET / HTTP/1.1", "Host: b\r\n")) == k_bad);
    CHECK(answer_to("GET / HTTP/1.0\r\n\r\n") == k_closed + k_body);
}

TEST_CASE("HTTP/1.1 keeps the connection unless it is told to close") {
    CHECK(answer_to(request("GET / HTTP/1.1")) == k_kept + k_body);
    CHECK(answer_to(request("GET /any?thing HTTP/1.1")) == k_kept + k_body);
    CHECK(answer_to(request("GET / HTTP/1.1", "Connection: close\r\n")) == k_closed + k_body);
    CHECK(answer_to(request("GET / HTTP/1.1", "connection:\tte , CLOSE\r\n")) == k_closed + k_body);
    CHECK(answer_to(request("GET / HTTP/1.1", "Connection: closed\r\n")) == k_kept + k_body);
}

TEST_CASE("HTTP/1.0 closes unless it is told to keep the connection") {
    CHECK(answer_to(request("GET / HTTP/1.0")) == k_closed + k_body);
    CHECK(answer_to(request("GET / HTTP/1.0", "Connection: Keep-Alive\r\n")) == k_kept + k_body);
    CHECK(answer_to(request("GET / HTTP/1.0", "Connection: keep-alive, close\r\n")) ==
          k_closed + k_body);
}

TEST_CASE("close wins over whatever another Connection field says") {
    CHECK(answer_to(request("GET / HTTP/1.1", "Connection: close\r\nConnection: te\r\n")) ==
          k_closed + k_body);
    CHECK(answer_to(request("GET / HTTP/1.0", "Connection: close\r\nConnection: keep-alive\r\n")) ==
          k_closed + k_body);
}

TEST_CASE("HEAD gets the head of the answer alone") {
    CHECK(answer_to(request("HEAD / HTTP/1.1")) == k_kept);
    CHECK(answer_to(request("head / HTTP/1.1")) == k_kept + k_body);  // methods have a case
}

TEST_CASE("lines may end with LF alone") {
    CHECK(answer_to("GET / HTTP/1.1\nHost: a\nConnection: close\n\n") == k_closed + k_body);
}

TEST_CASE("empty lines before a request are skipped") {
    CHECK(answer_to("\r\n\r\n" + request("GET / HTTP/1.1")) == k_kept + k_body);
}

TEST_CASE("what is no request is 400, and the connection ends") {
    for (const std::string text :
         {"nonsense\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n",
          "GET / http/1.1\r\n\r\n", " / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1 x\r\n\r\n"}) {
        CAPTURE(text);
        CHECK(answer_to(text + request("GET / HTTP/1.1")) == k_bad);
    }
}

TEST_CASE("a field that is none is 400: what it hides could be a length") {
    for (const std::string_view field :
         {"Content-Length : 5\r\n", ": value\r\n", "no colon\r\n", " folded: line\r\n"}) {
        CAPTURE(field);
        CHECK(answer_to(request("GET / HTTP/1.1", field)) == k_bad);
    }
}

TEST_CASE("pipelined requests are answered in order, up to the one that closes") {
    const std::string get = request("GET / HTTP/1.1");
    CHECK(answer_to(get + request("HEAD / HTTP/1.1") + get) ==
          k_kept + k_body + k_kept + k_kept + k_body);
    CHECK(answer_to(get + request("GET / HTTP/1.0") + get) == k_kept + k_body + k_closed + k_body);
}

TEST_CASE("a request with a body is answered and its connection closed") {
    CHECK(answer_to(request("POST / HTTP/1.1", "Content-Length: 3\r\n") + "abc") ==
          k_closed + k_body);
    CHECK(answer_to(request("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\n") + "0\r\n\r\n") ==
          k_closed + k_body);
    CHECK(answer_to(request("GET / HTTP/1.1", "Content-Length: 0\r\n")) == k_kept + k_body);
}

TEST_CASE("a body that comes after its answer does not cost the client the answer") {
    Served served = make_hello();
    served.service.answer = epoll::answer_hello;
    Peer peer = served.connect_and_open();
    peer.send(request("POST / HTTP/1.1", "Content-Length: 100000\r\n"));
    REQUIRE(served.until([&] { return !served.service.messages.empty(); }));
    for (int i = 0; i != 10; ++i) {
        peer.send(std::string(10'000, 'b'));
        served.reactor.run_turn(epoll::Timeout::none());
    }
    REQUIRE(served.until([&] { return peer.has_ended(); }));
    CHECK(peer.received() == k_closed + k_body);
    CHECK(peer.error() == 0);
}
