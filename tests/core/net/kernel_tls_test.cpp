#include <epoll/net/kernel_tls.hpp>

#include <array>
#include <cstring>

#include <sys/socket.h>

#include <doctest/doctest.h>

#include "tests/core/net/loopback.hpp"
#include "tests/core/net/recording_handler.hpp"

using testing::bytes_of;
using testing::Connected;
using testing::make_tcp_pair;
using testing::make_unix_pair;

namespace {

constexpr std::uint8_t k_alert = 21;
constexpr std::uint16_t k_tls_1_2 = 0x0303;
constexpr std::uint16_t k_tls_1_3 = 0x0304;

std::array<std::byte, 64> keys_of(std::uint16_t version, std::uint16_t cipher) {
    std::array<std::byte, 64> keys{};
    std::memcpy(keys.data(), &version, sizeof version);
    std::memcpy(keys.data() + sizeof version, &cipher, sizeof cipher);
    return keys;
}

}  // namespace

TEST_CASE("the keys are as long as the kernel's struct for their cipher") {
    struct Known {
        std::uint16_t cipher;
        std::size_t size;
    };
    for (const auto& [cipher, size] : {Known{51, 40}, {52, 56}, {53, 40}, {54, 56}}) {
        for (const std::uint16_t version : {k_tls_1_2, k_tls_1_3}) {
            const auto keys = keys_of(version, cipher);
            const auto known = epoll::kernel_tls_keys(keys.data());
            CHECK(known.data() == keys.data());
            CHECK(known.size() == size);
        }
    }
    CHECK(epoll::kernel_tls_keys(keys_of(0x0303, 50).data()).empty());
    CHECK(epoll::kernel_tls_keys(keys_of(0x0303, 55).data()).empty());
    CHECK(epoll::kernel_tls_keys(keys_of(0x0302, 51).data()).empty());
    CHECK(epoll::kernel_tls_keys(keys_of(0x0305, 51).data()).empty());
}

TEST_CASE("a socket that cannot have the kernel's TLS works on") {
    Connected link{make_unix_pair()};
    const auto keys = keys_of(0x0304, 51);
    CHECK(epoll::start_kernel_tls(link.stream().fd(), epoll::kernel_tls_keys(keys.data())) != 0);
    link.write("plain");
    link.stream().flush();
    CHECK(link.peer.received() == "plain");
}

TEST_CASE("with the kernel's TLS there is a record around what is sent") {
    Connected link{make_tcp_pair()};
    const auto keys = keys_of(0x0304, 51);
    const int error =
        epoll::start_kernel_tls(link.stream().fd(), epoll::kernel_tls_keys(keys.data()));
    if (error == ENOENT) {
        MESSAGE("this kernel has no TLS (CONFIG_TLS, module tls): not tested");
        return;
    }
    REQUIRE(error == 0);
    link.write("text");
    link.stream().flush();
    CHECK(link.stream().send_record(k_alert, bytes_of("ab")) == 2);
    CHECK(link.stream().bytes_out() == 6);
    constexpr std::size_t k_around = 5 + 1 + 16;  // head, the true type, seal
    REQUIRE(link.until([&] { return link.peer.received().size() >= 4 + 2 + 2 * k_around; }));
    const std::string& arrived = link.peer.received();
    CHECK(arrived.size() == 4 + 2 + 2 * k_around);
    CHECK(arrived.substr(0, 3) == "\x17\x03\x03");
    CHECK(arrived.find("text") == std::string::npos);
}

TEST_CASE("a record goes ahead of what is queued, as soon as the socket has room") {
    Connected link{make_unix_pair()};  // which takes no note of the type
    const std::string record = "record";
    CHECK(link.stream().send_record(k_alert, bytes_of(record)) == record.size());
    CHECK(link.peer.received() == record);
    link.fill();
    CHECK(link.stream().send_record(k_alert, bytes_of(record)) == 0);
    std::size_t taken = 0;
    link.handler.inside_drained = [&] {
        taken += link.stream().send_record(k_alert, bytes_of(record).subspan(taken));
    };
    REQUIRE(link.until([&] {
        (void)link.peer.received();
        return taken == record.size();
    }));
    link.stream().abort(0);
    CHECK(link.stream().send_record(k_alert, bytes_of(record)) == record.size());
}

TEST_CASE("try_send sends nothing past what is queued") {
    Connected link{make_unix_pair()};
    CHECK(link.stream().try_send(bytes_of("at once")) == 7);
    CHECK(link.peer.received() == "at once");
    CHECK(link.stream().bytes_out() == 7);
    link.write("queued");
    CHECK(link.stream().try_send(bytes_of("late")) == 0);
    link.stream().flush();
    CHECK(link.peer.received() == "at oncequeued");
    link.fill();
    CHECK(link.stream().try_send(bytes_of("full")) == 0);
    link.stream().abort(0);
    CHECK(link.stream().try_send(bytes_of("after the end")) == 0);
}
