#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <epoll/base/io_result.hpp>

// The kernel's TLS for what a TCP socket sends: who has made the handshake hands over the keys, and
// from then on writes plain text, also by sendfile(2), which the kernel enciphers. Linux 4.13 and
// newer with CONFIG_TLS; TLS 1.3 from 5.1 on. See Documentation/networking/tls.rst of the kernel.

namespace epoll {

/// The keys at `keys`, a struct tls12_crypto_info_… of <linux/tls.h>, as the bytes that
/// start_kernel_tls() takes. Empty when its version or its cipher is not known here.
[[nodiscard]] std::span<const std::byte> kernel_tls_keys(const std::byte* keys) noexcept;

/// Has the kernel encipher what is sent from now on. Answers the errno: ENOENT without the module,
/// EINVAL for a cipher that it lacks, EBUSY for new keys on a connection that has some (which Linux
/// 6.14 takes, for TLS 1.3). The socket works on as it did, then.
[[nodiscard]] int start_kernel_tls(int fd, std::span<const std::byte> keys) noexcept;

/// Sends a record of another type than application data, as an alert, behind all that was sent
/// before. Does not block; may take only a part, which is a record of its own then.
[[nodiscard]] IoResult send_tls_record(int fd, std::uint8_t type,
                                       std::span<const std::byte> bytes) noexcept;

}  // namespace epoll
