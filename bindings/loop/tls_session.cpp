#include "tls_session.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

// OpenSSL reads a record in two steps, head and body, and keeps what it has of a record that is not
// complete. So when it asks for more, everything that arrived has been taken: bytes are kept here
// only when nobody wants to read.

namespace epoll::python {

namespace {

// OpenSSL's numbers, part of its ABI.
constexpr int k_flags_retry = 0x01 | 0x08;  // BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY
constexpr int k_flags_all = 0x0F;           // BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY
constexpr int k_control_pending = 10;       // BIO_CTRL_PENDING
constexpr int k_control_flush = 11;         // BIO_CTRL_FLUSH

// By these OpenSSL asks the BIO of a socket for the kernel's TLS, where the SSLContext has
// OP_ENABLE_KTLS. <openssl/bio.h> has the numbers, since 3.0.
constexpr int k_control_set_ktls = 72;         // BIO_CTRL_SET_KTLS: the keys
constexpr int k_control_get_ktls_send = 73;    // BIO_CTRL_GET_KTLS_SEND
constexpr int k_control_set_record_type = 74;  // BIO_CTRL_SET_KTLS_TX_SEND_CTRL_MSG

// Of the TLS protocol.
constexpr std::uint8_t k_handshake = 22;
constexpr std::byte k_key_update{24};

}  // namespace

// ByteBlock

void ByteBlock::reserve(std::size_t count) {
    if (capacity_ - head_ - size_ >= count) {
        return;
    }
    const std::size_t capacity = std::max(size_ + count, 2 * size_);
    auto memory = std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (size_ != 0) {
        std::memcpy(memory.get(), memory_.get() + head_, size_);
    }
    memory_ = std::move(memory);
    capacity_ = capacity;
    head_ = 0;
}

void ByteBlock::append(std::span<const std::byte> bytes) {
    if (bytes.empty()) {
        return;
    }
    reserve(bytes.size());
    std::memcpy(memory_.get() + head_ + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
}

void ByteBlock::take(std::size_t count) noexcept {
    head_ += count;
    size_ -= count;
    if (size_ == 0) {
        clear();
    }
}

void ByteBlock::clear_but_keep(std::size_t most) noexcept {
    if (capacity_ > most) {
        clear();
    } else {
        head_ = size_ = 0;
    }
}

void ByteBlock::clear() noexcept {
    memory_.reset();
    capacity_ = head_ = size_ = 0;
}

// TlsSession

bool TlsSession::attach(const ReachedSsl& reached) noexcept {
    const OpenSslFunctions& openssl = library_.functions();
    Bio* const bio = openssl.BIO_new(library_.bio_method());
    if (bio == nullptr) {
        openssl.ERR_clear_error();
        return false;
    }
    openssl.BIO_set_data(bio, this);
    openssl.BIO_set_init(bio, 1);
    for (Bio* const reference : {reached.incoming, reached.outgoing, bio}) {
        (void)openssl.BIO_up_ref(reference);  // the SSL lets go of its own; ours it has twice
    }
    openssl.SSL_set0_rbio(reached.ssl, bio);
    openssl.SSL_set0_wbio(reached.ssl, bio);
    reached_ = reached;
    return true;
}

void TlsSession::detach() noexcept {
    if (!is_attached()) {
        return;
    }
    const OpenSslFunctions& openssl = library_.functions();
    Ssl* const ssl = std::exchange(reached_.ssl, nullptr);
    openssl.SSL_set0_rbio(ssl, reached_.incoming);
    openssl.SSL_set0_wbio(ssl, reached_.outgoing);
}

void TlsSession::give(std::span<const std::byte> bytes) {
    if (kept_.size() == 0) {
        fresh_ = bytes;
    } else {
        kept_.append(bytes);
    }
}

void TlsSession::keep_rest() {
    if (!fresh_.empty()) {
        kept_.append(std::exchange(fresh_, {}));
    }
}

std::size_t TlsSession::take_arrived(std::span<std::byte> room) noexcept {
    const bool is_kept = kept_.size() != 0;
    const std::span<const std::byte> source = is_kept ? kept_.bytes() : fresh_;
    const std::size_t count = std::min(room.size(), source.size());
    if (count != 0) {
        std::memcpy(room.data(), source.data(), count);
    }
    if (is_kept) {
        kept_.take(count);
    } else {
        fresh_ = fresh_.subspan(count);
    }
    return count;
}

std::size_t TlsSession::pending() const noexcept {
    return is_attached() ? static_cast<std::size_t>(library_.functions().SSL_pending(reached_.ssl))
                         : 0;
}

TlsResult TlsSession::read(std::span<std::byte> room) noexcept {
    const OpenSslFunctions& openssl = library_.functions();
    if (!is_attached()) {
        return {TlsStatus::starving, 0};
    }
    std::size_t count = 0;
    if (openssl.ERR_peek_error() != 0) {  // what somebody else has left would be taken for ours
        openssl.ERR_clear_error();
    }
    const int result = openssl.SSL_read_ex(reached_.ssl, room.data(), room.size(), &count);
    return result == 1 ? TlsResult{TlsStatus::done, count} : TlsResult{status_of(result), 0};
}

TlsResult TlsSession::write(std::span<const std::byte> bytes) noexcept {
    const OpenSslFunctions& openssl = library_.functions();
    if (!is_attached()) {
        return {TlsStatus::starving, 0};
    }
    std::size_t count = 0;
    if (openssl.ERR_peek_error() != 0) {
        openssl.ERR_clear_error();
    }
    const int result = openssl.SSL_write_ex(reached_.ssl, bytes.data(), bytes.size(), &count);
    return result == 1 ? TlsResult{TlsStatus::done, count} : TlsResult{status_of(result), 0};
}

TlsStatus TlsSession::status_of(int result) const noexcept {
    if (lacks_new_keys_) {  // that is known, and need not be told by the error queue
        library_.functions().ERR_clear_error();
        return TlsStatus::failed;
    }
    switch (library_.functions().SSL_get_error(reached_.ssl, result)) {
        case ssl_error::k_none:
        case ssl_error::k_want_read:
        case ssl_error::k_want_write: return TlsStatus::starving;
        case ssl_error::k_zero_return: return TlsStatus::ended;
        default: return TlsStatus::failed;
    }
}

void TlsSession::clear_outgoing() noexcept {
    outgoing_.clear_but_keep(k_kept_block);
    records_.clear();
}

// Others encipher

TlsRecord TlsSession::first_record() const noexcept {
    if (records_.empty()) {
        return {k_application_data, {}};
    }
    const RecordHead& head = records_.front();
    return {head.type, outgoing_.bytes().first(head.size)};
}

void TlsSession::take_record(std::size_t count) noexcept {
    outgoing_.take(count);
    RecordHead& head = records_.front();
    head.size -= count;
    if (head.size == 0) {
        records_.erase(records_.begin());
    }
}

/// False when it must not be sent: it announces new keys, and this OpenSSL, before 3.2, would go on
/// as if it had handed them over.
bool TlsSession::add_outgoing(std::span<const std::byte> bytes) {
    if (is_offloaded_) {
        const std::uint8_t type = std::exchange(record_type_, k_application_data);
        const bool announces_keys = type == k_handshake && bytes.front() == k_key_update;
        if (announces_keys && !library_.hands_over_new_keys()) {
            lacks_new_keys_ = true;
            return false;
        }
        outgoing_.reserve(bytes.size());
        records_.push_back({type, bytes.size()});
    }
    outgoing_.append(bytes);
    return true;
}

bool TlsSession::answer_key_update() noexcept {
    const OpenSslFunctions& openssl = library_.functions();
    if (is_attached() && openssl.SSL_get_key_update_type(reached_.ssl) != k_no_key_update) {
        std::size_t count = 0;
        (void)openssl.SSL_write_ex(reached_.ssl, &count, 0, &count);  // which sends no data
        openssl.ERR_clear_error();
    }
    return !lacks_new_keys_;
}

bool TlsSession::start_offload(const std::byte* keys) noexcept {
    const bool is_taken = keys != nullptr && offload_.take_keys(keys);
    lacks_new_keys_ = is_offloaded_ && !is_taken;
    is_offloaded_ = is_offloaded_ || is_taken;
    return is_taken;
}

// The BIO. OpenSSL's C code calls these: nothing may be thrown. They get a BIO and nothing else,
// and what leads from it to the session is a function of OpenSSL, too: its address is the one thing
// that all interpreters of the process share, as they share the library.

namespace {
std::atomic<void* (*)(Bio*)> session_of_bio = nullptr;
}

void TlsSession::use_library(const OpenSslFunctions& functions) noexcept {
    session_of_bio.store(functions.BIO_get_data, std::memory_order_release);
}

TlsSession& TlsSession::of(Bio* bio) noexcept {
    return *static_cast<TlsSession*>(session_of_bio.load(std::memory_order_acquire)(bio));
}

int TlsSession::on_bio_read(Bio* bio, char* room, int size) noexcept {
    TlsSession& self = of(bio);
    const OpenSslFunctions& openssl = self.library_.functions();
    openssl.BIO_clear_flags(bio, k_flags_all);
    const std::size_t count =
        self.take_arrived({reinterpret_cast<std::byte*>(room), static_cast<std::size_t>(size)});
    if (count == 0) {
        openssl.BIO_set_flags(bio, k_flags_retry);
        return -1;
    }
    return static_cast<int>(count);
}

int TlsSession::on_bio_write(Bio* bio, const char* data, int size) noexcept {
    TlsSession& self = of(bio);
    self.library_.functions().BIO_clear_flags(bio, k_flags_all);
    try {
        const std::span bytes{reinterpret_cast<const std::byte*>(data),
                              static_cast<std::size_t>(size)};
        return bytes.empty() || self.add_outgoing(bytes) ? size : -1;
    } catch (...) {
        return -1;
    }
}

long TlsSession::on_bio_control(Bio* bio, int command, long number, void* pointer) noexcept {
    switch (command) {
        case k_control_flush: return 1;
        case k_control_pending: return static_cast<long>(of(bio).unread());
        case k_control_set_ktls:  // `number`: whether for sending
            return number != 0 && of(bio).start_offload(static_cast<const std::byte*>(pointer)) ? 1
                                                                                                : 0;
        case k_control_get_ktls_send: return of(bio).is_offloaded_ ? 1 : 0;
        case k_control_set_record_type:
            of(bio).record_type_ = static_cast<std::uint8_t>(number);
            return 0;
        default: return 0;
    }
}

}  // namespace epoll::python
