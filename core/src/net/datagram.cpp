#include <epoll/net/datagram.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include <epoll/net/socket_calls.hpp>

// One recvmmsg(2) for many datagrams is cheaper than many recvfrom(2), but for one it costs a third
// more. So a socket on which a batch has brought one datagram is read one at a time for a while,
// once a turn, and then asked for a batch again.
//
// Sending is not gathered: sendmmsg(2) saves a twentieth of what a datagram costs the kernel, and
// whoever sends would hear of an error only later. It is for what had to be queued.
//
// A datagram is lost when sending it fails, and the next one may fare better: an error ends
// nothing. sendmmsg(2) reports an error for the first datagram only; for a later one it answers how
// many were sent, and the next call says what is wrong with that one.

namespace epoll {

namespace {

constexpr std::size_t k_ip_slot = std::size_t{64} * 1024;     // more than any IP datagram has
constexpr std::size_t k_unix_slot = std::size_t{256} * 1024;  // more than net.core.wmem_default
constexpr std::size_t k_send_batch = 32;
constexpr std::size_t k_send_budget = 1024;  // of one turn, in datagrams

#ifdef UDP_GRO
constexpr int k_udp_gro = UDP_GRO;
#else
constexpr int k_udp_gro = 104;
#endif

bool merges_received(int fd) noexcept {
    int value = 0;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, IPPROTO_UDP, k_udp_gro, &value, &size) == 0 && value != 0;
}

OwnedBytes copy_of(std::span<const std::byte> bytes) {
    if (bytes.empty()) {
        return {bytes, nullptr, nullptr};
    }
    auto* const copy = new std::byte[bytes.size()];
    std::memcpy(copy, bytes.data(), bytes.size());
    return {{copy, bytes.size()}, copy, [](void* owner) noexcept {
                delete[] static_cast<std::byte*>(owner);
            }};
}

}  // namespace

/// Slots for one recvmmsg(2). What the kernel has written to the headers is put back before the
/// next one.
struct DatagramPool::Batch {
    using Control = std::array<std::byte, 64>;

    static constexpr std::size_t k_size = k_batch * k_ip_slot;

    std::unique_ptr<std::byte[]> room = std::make_unique_for_overwrite<std::byte[]>(k_size);
    std::array<mmsghdr, k_batch> headers{};
    std::array<iovec, k_batch> parts{};
    std::array<sockaddr_storage, k_batch> peers{};
    alignas(cmsghdr) std::array<Control, k_batch> controls{};
    std::size_t slot = 0;  ///< the size of one, as cut() has laid them out
    bool has_controls = false;
    std::size_t used = 0;

    [[nodiscard]] IoResult receive(int fd, std::size_t slot_size, bool is_merged) noexcept {
        if (slot != slot_size || has_controls != is_merged) {
            cut(slot_size, is_merged);
        }
        for (std::size_t i = 0; i != used; ++i) {
            headers[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage);
            headers[i].msg_hdr.msg_controllen = has_controls ? sizeof(Control) : 0;
        }
        const IoResult result = retry_interrupted([&] {
            return ::recvmmsg(fd, headers.data(), static_cast<unsigned>(k_size / slot),
                              MSG_DONTWAIT, nullptr);
        });
        used = std::max(result.size(), std::size_t{1});
        return result;
    }

    void cut(std::size_t slot_size, bool is_merged) noexcept {
        slot = slot_size;
        has_controls = is_merged;
        used = k_size / slot;
        for (std::size_t i = 0; i != used; ++i) {
            parts[i] = {room.get() + i * slot, slot};
            headers[i].msg_hdr = {};
            headers[i].msg_hdr.msg_name = &peers[i];
            headers[i].msg_hdr.msg_iov = &parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
            headers[i].msg_hdr.msg_control = is_merged ? controls[i].data() : nullptr;
        }
    }

    [[nodiscard]] std::span<const std::byte> bytes(std::size_t index) const noexcept {
        return {static_cast<const std::byte*>(parts[index].iov_base), headers[index].msg_len};
    }

    [[nodiscard]] Address peer(std::size_t index) const noexcept {
        return {reinterpret_cast<const sockaddr*>(&peers[index]),
                headers[index].msg_hdr.msg_namelen};
    }

    /// The size of the datagrams that were merged into this one; 0 when it is one.
    [[nodiscard]] std::size_t segment(std::size_t index) noexcept {
        msghdr& header = headers[index].msg_hdr;
        for (cmsghdr* entry = CMSG_FIRSTHDR(&header); entry != nullptr;
             entry = CMSG_NXTHDR(&header, entry)) {
            if (entry->cmsg_level == IPPROTO_UDP && entry->cmsg_type == k_udp_gro) {
                int size = 0;
                std::memcpy(&size, CMSG_DATA(entry), sizeof size);
                return static_cast<std::size_t>(std::max(size, 0));
            }
        }
        return 0;
    }
};

DatagramPool::DatagramPool() : batch_(std::make_unique<Batch>()) {}

DatagramPool::~DatagramPool() = default;

Datagram::Datagram(Reactor& reactor, OwnedFd socket, DatagramPool& pool, DatagramHandler& handler)
    : Source(reactor),
      socket_(std::move(socket)),
      batch_(*pool.batch_),
      handler_(handler),
      is_unix_(Address::local_of(socket_.get()).is_unix()) {
    join(socket_.get(), Events::readable);
    unwant(Events::readable);
}

Datagram::Datagram(Reactor& reactor, DisownedFd socket, DatagramPool& pool,
                   DatagramHandler& handler)
    : Source(reactor),
      batch_(*pool.batch_),
      handler_(handler),
      is_unix_(Address::local_of(socket.fd).is_unix()),
      is_disowned_(true) {
    join(socket.fd, Events::readable);
    socket_ = OwnedFd{socket.fd};
    unwant(Events::readable);
}

Datagram::~Datagram() {
    leave();  // before the descriptor is closed
    let_go();
    if (destroyed_ != nullptr) {
        *destroyed_ = true;
    }
}

void Datagram::start_reading() noexcept {
    if (!is_open_ || is_closing_) {
        return;
    }
    is_reading_ = true;
    is_merged_ = !is_unix_ && merges_received(socket_.get());
    want(Events::readable);
    if (!waiting_.empty()) {
        reactor().defer(waiting_due_);
    }
}

void Datagram::stop_reading() noexcept {
    is_reading_ = false;
    unwant(Events::readable);
}

int Datagram::send(std::span<const std::byte> bytes, const Address& peer) {
    const IoResult result = try_send(bytes, peer);
    if (result.would_block()) {
        queue(copy_of(bytes), peer);
        return 0;
    }
    return result.error;
}

int Datagram::send(OwnedBytes bytes, const Address& peer) {
    const IoResult result = try_send(bytes.bytes(), peer);
    if (result.would_block()) {
        queue(std::move(bytes), peer);
        return 0;
    }
    return result.error;
}

void Datagram::close() noexcept {
    if (!is_open_ || is_closing_) {
        return;
    }
    is_closing_ = true;
    stop_reading();
    waiting_.clear();
    finish_if_sent();
}

void Datagram::abort(int error) noexcept {
    if (is_open_) {
        is_closing_ = true;
        end(error);
    }
}

/// Runs what calls the handler, or keeps something.
template <class Action>
void Datagram::guarded(Action action) noexcept {
    try {
        action();
    } catch (const std::bad_alloc&) {
        abort(ENOMEM);
    }
}

void Datagram::on_ready(Events ready) noexcept {
    bool has_sent_the_last = false;
    guarded([&] {
        if (has_any(ready, Events::readable | Events::error) && is_reading_) {
            read();
        }
        if (has_any(ready, Events::writable | Events::error) && is_open_ &&
            has_any(wanted(), Events::writable)) {
            const bool was_closing = is_closing_;
            if (send_queued()) {
                handler_.on_progress();
                finish_if_sent();
                has_sent_the_last = was_closing && !is_open_ && close_error_ == 0;
            }
        }
    });
    if (has_sent_the_last && close_due_.is_scheduled()) {
        close_due_.cancel();
        on_close_due();  // nothing after it: it may destroy this
    }
}

// Receiving

void Datagram::read() {
    if (!waiting_.empty()) {
        deliver_waiting();  // they came first
    } else if (calm_ != 0 && !is_merged_) {
        --calm_;
        read_one();
    } else {
        read_batch();
    }
}

void Datagram::read_one() {
    const Received received =
        receive_from(socket_.get(), {batch_.room.get(), is_unix_ ? k_unix_slot : k_ip_slot});
    if (!received.result.ok()) {
        note_failed_read(received.result.error);
        return;
    }
    reactor().traffic().bytes_received.add(received.result.size());
    (void)take({batch_.room.get(), received.result.size()}, received.peer, true);
}

void Datagram::read_batch() {
    const IoResult result =
        batch_.receive(socket_.get(), is_unix_ ? k_unix_slot : k_ip_slot, is_merged_);
    if (!result.ok()) {
        note_failed_read(result.error);
        return;
    }
    calm_ = result.count == 1 ? k_calm : 0;
    bool goes_on = true;
    for (std::size_t i = 0; i != result.size(); ++i) {
        goes_on = take_slot(i, goes_on);
    }
    if (is_reading_ && !waiting_.empty()) {
        reactor().defer(waiting_due_);
    }
}

void Datagram::note_failed_read(int error) {
    if (error != EAGAIN && error != EWOULDBLOCK) {
        handler_.on_error(error);
    }
}

bool Datagram::take_slot(std::size_t index, bool goes_on) {
    std::span<const std::byte> rest = batch_.bytes(index);
    reactor().traffic().bytes_received.add(rest.size());
    const Address peer = batch_.peer(index);
    const std::size_t segment = batch_.segment(index);
    while (segment != 0 && rest.size() > segment) {
        goes_on = take(rest.first(segment), peer, goes_on);
        rest = rest.subspan(segment);
    }
    return take(rest, peer, goes_on);
}

/// Delivers a datagram, or, when the handler has had enough, keeps it. Answers whether it goes on
/// to take them.
bool Datagram::take(std::span<const std::byte> bytes, const Address& peer, bool goes_on) {
    if (is_closing_) {
        return false;
    }
    if (!goes_on) {
        waiting_.push_back({{bytes.begin(), bytes.end()}, peer});
        return false;
    }
    return handler_.on_datagram(bytes, peer) && is_reading_;
}

void Datagram::on_waiting_due() noexcept {
    guarded([this] { deliver_waiting(); });
}

void Datagram::deliver_waiting() {
    bool goes_on = is_reading_;
    while (goes_on && !waiting_.empty()) {
        const Waiting first = std::move(waiting_.front());
        waiting_.pop_front();
        goes_on = take(first.bytes, first.peer, true);
    }
    if (is_reading_ && !waiting_.empty()) {
        reactor().defer(waiting_due_);
    }
}

// Sending

/// EAGAIN also when others wait.
IoResult Datagram::try_send(std::span<const std::byte> bytes, const Address& peer) noexcept {
    if (!is_open_) {
        return {0, EPIPE};
    }
    if (!unsent_.empty()) {
        return {0, EAGAIN};
    }
    const IoResult result =
        peer.size() == 0 ? epoll::send(socket_.get(), bytes) : send_to(socket_.get(), bytes, peer);
    if (result.ok()) {
        reactor().traffic().bytes_sent.add(result.size());
    }
    return result;
}

void Datagram::queue(OwnedBytes bytes, const Address& peer) {
    const std::size_t size = bytes.bytes().size();
    unsent_.push_back({std::move(bytes), peer});
    unsent_bytes_ += size;
    if (!rest_timer_.is_started()) {
        want(Events::writable);
    }
}

/// One sendmmsg(2) of what is queued.
IoResult Datagram::send_batch() noexcept {
    std::array<mmsghdr, k_send_batch> headers;
    std::array<iovec, k_send_batch> parts;
    const std::size_t count = std::min(unsent_.size(), k_send_batch);
    for (std::size_t i = 0; i != count; ++i) {
        const std::span<const std::byte> bytes = unsent_[i].bytes.bytes();
        const Address& peer = unsent_[i].peer;
        parts[i] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
        headers[i] = {};
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        if (peer.size() != 0) {
            headers[i].msg_hdr.msg_name = const_cast<sockaddr*>(peer.data());
            headers[i].msg_hdr.msg_namelen = peer.size();
        }
    }
    return retry_interrupted([&] {
        return ::sendmmsg(socket_.get(), headers.data(), static_cast<unsigned>(count),
                          MSG_DONTWAIT | MSG_NOSIGNAL);
    });
}

/// Answers whether on_progress() is due; not after an error, as one callback a turn is enough.
bool Datagram::send_queued() {
    std::size_t gone = 0;
    while (!unsent_.empty() && gone < k_send_budget) {
        const IoResult result = send_batch();
        if (result.would_block()) {
            break;
        }
        if (!result.ok()) {
            drop_first();
            handler_.on_error(result.error);
            return false;
        }
        for (std::size_t i = 0; i != result.size(); ++i) {
            reactor().traffic().bytes_sent.add(unsent_.front().bytes.bytes().size());
            drop_first();
        }
        gone += result.size();
    }
    if (unsent_.empty()) {
        unwant(Events::writable);
        return true;
    }
    if (gone == 0) {
        unwant(Events::writable);
        reactor().timers().start(rest_timer_, reactor().now() + k_rest);
    }
    return gone != 0;
}

void Datagram::on_rest_over() noexcept {
    if (!unsent_.empty()) {
        want(Events::writable);
    }
}

void Datagram::drop_first() noexcept {
    const Unsent first = std::move(unsent_.front());
    unsent_.pop_front();
    unsent_bytes_ -= first.bytes.bytes().size();
}

// The end

void Datagram::finish_if_sent() noexcept {
    if (is_open_ && is_closing_ && unsent_.empty()) {
        end(0);
    }
}

/// The one way out: nothing is watched, nothing is kept, and the handler hears of it later. Until
/// then the descriptor stays open, so that its number cannot become a stranger's.
void Datagram::end(int error) noexcept {
    close_error_ = error;
    is_open_ = false;
    is_reading_ = false;
    leave();
    rest_timer_.stop();
    waiting_due_.cancel();
    waiting_.clear();
    reactor().defer(close_due_);
    unsent_bytes_ = 0;
    const std::deque<Unsent> lost = std::exchange(unsent_, {});
}

void Datagram::on_close_due() noexcept {
    bool is_destroyed = false;
    destroyed_ = &is_destroyed;
    handler_.on_closed(close_error_);
    if (!is_destroyed) {
        destroyed_ = nullptr;
        let_go();
    }
}

void Datagram::let_go() noexcept {
    if (is_disowned_) {
        (void)socket_.release();
    } else {
        (void)socket_.close();
    }
}

}  // namespace epoll
