#include <epoll/net/kernel_tls.hpp>

#include <array>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace epoll {

namespace {

// Numbers of the kernel's interface: <linux/tls.h> of an older machine lacks some.
constexpr int k_tcp_ulp = 31;         // TCP_ULP
constexpr int k_sol_tls = 282;        // SOL_TLS
constexpr int k_tls_tx = 1;           // TLS_TX
constexpr int k_set_record_type = 1;  // TLS_SET_RECORD_TYPE
constexpr std::uint16_t k_tls_1_2 = 0x0303;
constexpr std::uint16_t k_tls_1_3 = 0x0304;
constexpr std::size_t k_info = 4;      // struct tls_crypto_info: version and cipher
constexpr std::size_t k_sequence = 8;  // rec_seq

struct Cipher {
    std::uint16_t number;  // TLS_CIPHER_…
    std::size_t size;      // of iv, key and salt
};

constexpr std::array k_ciphers{
    Cipher{51, 8 + 16 + 4},   // AES_GCM_128
    Cipher{52, 8 + 32 + 4},   // AES_GCM_256
    Cipher{53, 8 + 16 + 4},   // AES_CCM_128
    Cipher{54, 12 + 32 + 0},  // CHACHA20_POLY1305
};

}  // namespace

std::span<const std::byte> kernel_tls_keys(const std::byte* keys) noexcept {
    std::array<std::uint16_t, 2> info;  // version, cipher
    static_assert(sizeof info == k_info);
    std::memcpy(info.data(), keys, k_info);
    if (info[0] != k_tls_1_2 && info[0] != k_tls_1_3) {
        return {};
    }
    for (const Cipher& cipher : k_ciphers) {
        if (cipher.number == info[1]) {
            return {keys, k_info + cipher.size + k_sequence};
        }
    }
    return {};
}

int start_kernel_tls(int fd, std::span<const std::byte> keys) noexcept {
    constexpr char k_name[] = "tls";
    const int error =
        IoResult::from(::setsockopt(fd, IPPROTO_TCP, k_tcp_ulp, k_name, sizeof k_name)).error;
    if (error != 0 && error != EEXIST) {
        return error;
    }
    return IoResult::from(::setsockopt(fd, k_sol_tls, k_tls_tx, keys.data(),
                                       static_cast<socklen_t>(keys.size())))
        .error;
}

IoResult send_tls_record(int fd, std::uint8_t type, std::span<const std::byte> bytes) noexcept {
    iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof type)> room{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = room.data();
    message.msg_controllen = room.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = k_sol_tls;
    header->cmsg_type = k_set_record_type;
    header->cmsg_len = CMSG_LEN(sizeof type);
    std::memcpy(CMSG_DATA(header), &type, sizeof type);
    return retry_interrupted([&] { return ::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL); });
}

}  // namespace epoll
