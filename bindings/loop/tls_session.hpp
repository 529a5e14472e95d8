#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "openssl.hpp"

namespace epoll::python {

/// Bytes in one block of memory, appended at the end and taken from the front. Empty it has none,
/// unless it was told to keep it.
class ByteBlock {
  public:
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        return {memory_.get() + head_, size_};
    }

    /// Makes room for `count` bytes behind the present ones. Throws std::bad_alloc.
    void reserve(std::size_t count);
    void append(std::span<const std::byte> bytes);
    void take(std::size_t count) noexcept;
    void clear() noexcept;

    /// Empties it, but keeps a block of at most `most` bytes for the next time.
    void clear_but_keep(std::size_t most) noexcept;

  private:
    std::unique_ptr<std::byte[]> memory_;
    std::size_t capacity_ = 0;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
};

/// What read() and write() of a TlsSession did.
enum class TlsStatus : unsigned char {
    done,      ///< `count` bytes were moved, at least one
    starving,  ///< more has to arrive first
    ended,     ///< the peer has sent close_notify: nothing more will come
    failed,    ///< the connection is broken; OpenSSL's error queue or lacks_new_keys() says how
};

struct TlsResult {
    TlsStatus status;
    std::size_t count;
};

/// Who can have what is sent enciphered elsewhere, as by the kernel.
class TlsOffload {
  public:
    /// `keys` are those of all that is sent from now on, a struct of <linux/tls.h>. True when they
    /// are used, and what was made before has been sent: from then on outgoing() is plain text, one
    /// record after the other. Called inside OpenSSL, maybe without the GIL.
    [[nodiscard]] virtual bool take_keys(const std::byte* keys) noexcept = 0;

  protected:
    ~TlsOffload() = default;
};

/// A record to be sent, of plain text: see <openssl/ssl3.h>, SSL3_RT_….
struct TlsRecord {
    std::uint8_t type;
    std::span<const std::byte> bytes;
};

/// One TLS connection between two runs of bytes: what arrived, and what is to be sent.
///
/// It borrows the SSL of an ssl.SSLObject, from attach() to detach(), and puts a BIO of its own
/// into it: OpenSSL takes what arrived from the very memory into which the kernel has written, and
/// what it makes is appended to one block, to be sent as it stands. Meanwhile the object's own
/// methods (do_handshake, unwrap, read …) work on the same bytes. It knows no Python and no
/// sockets; one thread.
class TlsSession {
  public:
    TlsSession(const OpenSsl& library, TlsOffload& offload) noexcept
        : library_(library), offload_(offload) {}
    TlsSession(const TlsSession&) = delete;
    TlsSession& operator=(const TlsSession&) = delete;
    ~TlsSession() { detach(); }

    /// Takes the place of the BIOs of an SSL, which has to live until detach(). False when there is
    /// no memory.
    [[nodiscard]] bool attach(const ReachedSsl& reached) noexcept;

    /// Gives the SSL its own BIOs back. Nothing happens when it has them.
    void detach() noexcept;
    [[nodiscard]] bool is_attached() const noexcept { return reached_.ssl != nullptr; }

    // What has arrived

    /// `bytes` are the next to be read, in place until keep_rest(). Throws std::bad_alloc.
    void give(std::span<const std::byte> bytes);

    /// Copies what OpenSSL has not taken: the memory of give() is not needed any more. Throws
    /// std::bad_alloc.
    void keep_rest();

    /// Bytes that OpenSSL has not taken yet.
    [[nodiscard]] std::size_t unread() const noexcept { return kept_.size() + fresh_.size(); }

    /// Deciphered bytes of the present record that read() has not answered yet.
    [[nodiscard]] std::size_t pending() const noexcept;

    /// Deciphers into `room`, which is not empty: at most what one record has.
    [[nodiscard]] TlsResult read(std::span<std::byte> room) noexcept;

    // What is to be sent

    /// Enciphers from the start of `bytes`, which are not empty: at most one record's.
    [[nodiscard]] TlsResult write(std::span<const std::byte> bytes) noexcept;

    /// Makes room for `count` bytes of outgoing(), so that they are not moved. Throws
    /// std::bad_alloc.
    void expect_outgoing(std::size_t count) { outgoing_.reserve(count); }
    [[nodiscard]] std::span<const std::byte> outgoing() const noexcept { return outgoing_.bytes(); }
    void clear_outgoing() noexcept;
    /// The first `count` bytes of outgoing() are sent.
    void take_outgoing(std::size_t count) noexcept { outgoing_.take(count); }

    // What is to be sent, when others encipher: application data pass by, and the rest is records.

    [[nodiscard]] bool is_offloaded() const noexcept { return is_offloaded_; }
    /// The first of the records; one without bytes when there is none.
    [[nodiscard]] TlsRecord first_record() const noexcept;
    void take_record(std::size_t count) noexcept;
    /// Before application data pass by: makes the KeyUpdate that the peer has asked for. False when
    /// the connection has failed by that.
    [[nodiscard]] bool answer_key_update() noexcept;
    /// The connection has failed as it needed new keys, and they were not taken.
    [[nodiscard]] bool lacks_new_keys() const noexcept { return lacks_new_keys_; }

    // The BIO's functions, and where they find theirs.
    static void use_library(const OpenSslFunctions& functions) noexcept;
    static int on_bio_read(Bio* bio, char* room, int size) noexcept;
    static int on_bio_write(Bio* bio, const char* data, int size) noexcept;
    static long on_bio_control(Bio* bio, int command, long number, void* pointer) noexcept;

  private:
    /// For small messages. OpenSSL itself has some 40 KiB for a connection.
    static constexpr std::size_t k_kept_block = 2 * 1024;
    static constexpr std::uint8_t k_application_data = 23;

    [[nodiscard]] static TlsSession& of(Bio* bio) noexcept;
    [[nodiscard]] TlsStatus status_of(int result) const noexcept;
    [[nodiscard]] std::size_t take_arrived(std::span<std::byte> room) noexcept;
    [[nodiscard]] bool add_outgoing(std::span<const std::byte> bytes);
    [[nodiscard]] bool start_offload(const std::byte* keys) noexcept;

    struct RecordHead {
        std::uint8_t type;
        std::size_t size;
    };

    const OpenSsl& library_;
    TlsOffload& offload_;
    ReachedSsl reached_;
    ByteBlock kept_;
    std::span<const std::byte> fresh_;  ///< behind kept_
    ByteBlock outgoing_;
    std::vector<RecordHead> records_;  ///< that outgoing_ is made of, while is_offloaded_
    std::uint8_t record_type_ = k_application_data;  ///< of the next one
    bool is_offloaded_ = false;
    bool lacks_new_keys_ = false;
};

}  // namespace epoll::python
