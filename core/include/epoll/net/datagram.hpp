#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include <epoll/base/byte_queue.hpp>
#include <epoll/base/io_result.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/loop/source.hpp>
#include <epoll/loop/timer_queue.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/stream.hpp>

namespace epoll {

/// Who speaks over a Datagram. Nothing is called inside a call of Datagram's own members, and
/// on_closed() is the last call. Inside, every member of the Datagram may be called.
class DatagramHandler {
  public:
    /// One datagram, perhaps an empty one, is at `bytes` until this returns. `peer` is an empty
    /// Address when the sender has no name. False: give me no more in this turn; what has been
    /// received already is delivered first in the next one.
    [[nodiscard]] virtual bool on_datagram(std::span<const std::byte> bytes,
                                           const Address& peer) = 0;

    /// Something has failed, but the socket goes on: a peer refused an earlier datagram
    /// (ECONNREFUSED), or a queued one could not be sent (EMSGSIZE, ENOBUFS …) and is lost.
    virtual void on_error(int error) = 0;

    /// Something that was queued has left the queue; unsent() says what is still in it.
    virtual void on_progress() = 0;

    /// The end. Called once, in a later deferred phase, or, when the last datagram that close()
    /// waited for has gone, as soon as on_progress() has returned; with 0 after close() or
    /// abort(0). Datagram::fd() is still open: it is closed as soon as this returns. May destroy
    /// the Datagram.
    virtual void on_closed(int error) noexcept = 0;

  protected:
    ~DatagramHandler() = default;
};

/// The memory that the sockets of one thread receive into, one after the other: 2 MiB of address
/// space, of which only what datagrams have filled becomes memory. It must outlive the sockets.
class DatagramPool {
  public:
    /// The most datagrams that one turn takes from one socket before the others have theirs.
    static constexpr std::size_t k_batch = 32;

    DatagramPool();
    DatagramPool(const DatagramPool&) = delete;
    DatagramPool& operator=(const DatagramPool&) = delete;
    ~DatagramPool();

  private:
    friend class Datagram;
    struct Batch;
    std::unique_ptr<Batch> batch_;
};

/// One datagram socket, IP or Unix, connected or not: receives in batches, sends at once and queues
/// what the kernel does not take.
///
/// A resource of the reactor's thread. It reads nothing before start_reading(). Destroying it
/// closes the descriptor without a word to the handler; inside the handler's own calls but
/// on_closed() it must not be destroyed: abort() it and wait for on_closed(). If one of those calls
/// throws std::bad_alloc the socket is aborted with ENOMEM.
///
/// A datagram of up to 64 KiB, over Unix sockets 256 KiB, arrives whole; what is longer is cut off.
/// A socket that has UDP_GRO set when start_reading() is called delivers the datagrams that the
/// kernel has merged one by one. (UDP_SEGMENT needs nothing from here: the kernel cuts what is
/// sent.)
class Datagram final : private Source {
  public:
    /// Takes over a non-blocking socket. Throws std::system_error when epoll refuses it.
    Datagram(Reactor& reactor, OwnedFd socket, DatagramPool& pool, DatagramHandler& handler);

    /// As above, for a socket that somebody else closes, once on_closed() has returned or this is
    /// destroyed. When it throws the socket is as it was.
    Datagram(Reactor& reactor, DisownedFd socket, DatagramPool& pool, DatagramHandler& handler);
    ~Datagram();

    /// After stop_reading() the kernel's buffer fills up, and then it drops what comes. Both may be
    /// called at any time; what was received in the batch at hand is kept for later.
    void start_reading() noexcept;
    void stop_reading() noexcept;

    /// Sends one datagram to `peer`, or, when that is an empty Address, to where the socket is
    /// connected. While the socket is full, or others wait, it is queued: copied, or kept alive by
    /// its owner. Answers 0, or the errno for which this one was not sent and is lost (EMSGSIZE,
    /// ENOBUFS, ENETUNREACH …; ECONNREFUSED is about an earlier one). What comes while close()
    /// waits for earlier ones is queued as well; from the end on (is_open() is false) the answer
    /// is EPIPE. May throw std::bad_alloc.
    [[nodiscard]] int send(std::span<const std::byte> bytes, const Address& peer);
    [[nodiscard]] int send(OwnedBytes bytes, const Address& peer);

    /// Reads no more, sends what is queued, then ends. on_closed(0) follows.
    void close() noexcept;

    /// Ends at once, whatever is queued. on_closed(error) follows.
    void abort(int error) noexcept;

    /// False from the end on: nothing is watched, received or sent, and on_closed() is due.
    [[nodiscard]] bool is_open() const noexcept { return is_open_; }
    [[nodiscard]] bool is_closing() const noexcept { return is_closing_; }
    [[nodiscard]] bool is_reading() const noexcept { return is_reading_; }
    /// How many datagrams are queued, and how many bytes are in them.
    [[nodiscard]] std::size_t unsent() const noexcept { return unsent_.size(); }
    [[nodiscard]] std::size_t unsent_bytes() const noexcept { return unsent_bytes_; }
    /// The descriptor; -1 once on_closed() has returned.
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }

  private:
    /// How long a socket is left alone that is said to be writable and yet refuses: a Unix one
    /// whose peer does not read.
    static constexpr Duration k_rest = std::chrono::milliseconds{1};

    /// After a batch of one so many datagrams are received one at a time, which is cheaper.
    static constexpr unsigned k_calm = 16;

    struct Unsent {
        OwnedBytes bytes;
        Address peer;
    };
    struct Waiting {
        std::vector<std::byte> bytes;
        Address peer;
    };

    void on_ready(Events ready) noexcept override;
    void on_rest_over() noexcept;
    void on_waiting_due() noexcept;
    void on_close_due() noexcept;
    template <class Action>
    void guarded(Action action) noexcept;

    void read();
    void read_one();
    void read_batch();
    void note_failed_read(int error);
    [[nodiscard]] bool take_slot(std::size_t index, bool goes_on);
    [[nodiscard]] bool take(std::span<const std::byte> bytes, const Address& peer, bool goes_on);
    void deliver_waiting();

    [[nodiscard]] IoResult try_send(std::span<const std::byte> bytes, const Address& peer) noexcept;
    void queue(OwnedBytes bytes, const Address& peer);
    [[nodiscard]] IoResult send_batch() noexcept;
    [[nodiscard]] bool send_queued();
    void drop_first() noexcept;
    void finish_if_sent() noexcept;
    void end(int error) noexcept;
    void let_go() noexcept;

    OwnedFd socket_;
    DatagramPool::Batch& batch_;
    DatagramHandler& handler_;
    std::deque<Unsent> unsent_;
    std::deque<Waiting> waiting_;  ///< received, and not delivered yet
    std::size_t unsent_bytes_ = 0;
    bool* destroyed_ = nullptr;  ///< what on_close_due() watches while it runs
    int close_error_ = 0;
    unsigned calm_ = 0;  ///< so many more are received one at a time
    bool is_unix_;
    bool is_merged_ = false;  ///< UDP_GRO
    bool is_disowned_ = false;
    bool is_open_ = true;
    bool is_closing_ = false;
    bool is_reading_ = false;
    MemberTimer<Datagram, &Datagram::on_rest_over> rest_timer_{*this};
    MemberDeferred<Datagram, &Datagram::on_waiting_due> waiting_due_{*this};
    MemberDeferred<Datagram, &Datagram::on_close_due> close_due_{*this};
};

}  // namespace epoll
