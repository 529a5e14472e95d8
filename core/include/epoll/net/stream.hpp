#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <epoll/base/byte_queue.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/loop/source.hpp>

namespace epoll {

/// Who speaks over a Stream. Nothing is called inside a call of Stream's own members, and
/// on_closed() is the last call. Inside, every member of the stream may be called.
class StreamHandler {
  public:
    /// Where the next bytes shall go; in place until on_data() returns. It may be one buffer for
    /// all streams of a thread, as the bytes are handed over at once. Empty: nothing is read now.
    /// Who has not stopped reading, nor ended the stream, is asked again in the next turn. Who did
    /// so inside and yet answers with room still gets what has arrived.
    [[nodiscard]] virtual std::span<std::byte> receive_buffer() noexcept = 0;

    /// Bytes have arrived, at the start of receive_buffer(). What is written inside goes out with
    /// one system call when this returns.
    virtual void on_data(std::span<std::byte> bytes) = 0;

    /// The read that receive_buffer() was asked for brought nothing, or failed: its answer is not
    /// needed any more. For who keeps something for each read. (A read that brought the end is told
    /// by on_end_of_stream() alone.)
    virtual void on_nothing_received() noexcept {}

    /// The peer has shut down its side: there will be no on_data() any more. Called once. Writing
    /// is still possible; an owner with nothing left to say calls close().
    virtual void on_end_of_stream() = 0;

    /// is_over_high_water() was true, and now the queue is at or below the low-water mark. Also
    /// while close() waits for what is queued.
    virtual void on_drained() = 0;

    /// The stream has ended. Called once, in a later deferred phase, or, when the last byte that
    /// close() waited for is sent, as soon as on_drained() has returned; with 0 after close() or
    /// abort(0), else with the errno that ended the connection. Stream::fd() is still open: it is
    /// closed as soon as this returns. May destroy the stream, which closes it, too.
    virtual void on_closed(int error) noexcept = 0;

  protected:
    ~StreamHandler() = default;
};

/// When writing is too much (`high`) and when it is little again (`low`), in bytes queued.
struct WaterMarks {
    std::size_t high = 64 * 1024;
    std::size_t low = 16 * 1024;
};

/// The descriptor of a socket that somebody else closes: see Stream::disown().
struct DisownedFd {
    int fd;
};

/// One connected stream socket, TCP or Unix: reads, gathered writes, half-close, end.
///
/// A resource of the reactor's thread. It reads nothing before start_reading(). Destroying it
/// closes the descriptor without a word to the handler; inside the handler's own receive_buffer(),
/// on_data(), on_end_of_stream() and on_drained() it must not be destroyed: abort() it and wait for
/// on_closed(). If one of those three throws std::bad_alloc the stream is aborted with ENOMEM.
class Stream final : private Source {
  public:
    /// What one stream may read in a turn before the others have theirs.
    static constexpr std::size_t k_read_budget = 256 * 1024;

    /// Takes over a connected, non-blocking socket. Throws std::system_error when epoll refuses it.
    Stream(Reactor& reactor, OwnedFd socket, StreamHandler& handler, WaterMarks marks);

    /// As above, for a socket that belongs to somebody else from the start, as after disown(). When
    /// it throws the socket is as it was.
    Stream(Reactor& reactor, DisownedFd socket, StreamHandler& handler, WaterMarks marks);
    ~Stream();

    /// After stop_reading() the kernel's buffer fills up and holds the peer back. Both may be
    /// called at any time, also inside on_data(), which then is not called again for bytes that
    /// wait.
    void start_reading() noexcept;
    void stop_reading() noexcept;

    /// Queue bytes to be sent in order: copied, kept alive by their owner, or borrowed. Borrowed
    /// bytes must stay in place until flush() or, inside on_data(), until on_data() returns; so
    /// elsewhere the caller flushes. They are sent when on_data() returns, or else at the end of
    /// the turn. After shutdown_writing() and at the end (is_open() is false) nothing is queued any
    /// more; what comes while close() waits for earlier bytes is sent as well. May throw
    /// std::bad_alloc.
    void write(std::span<const std::byte> bytes);
    void write(OwnedBytes bytes);
    void write_borrowed(std::span<const std::byte> bytes);

    /// Sends now what the kernel takes; keeps the rest, borrowed bytes as a copy, and sends it when
    /// the socket has room. Inside the release of OwnedBytes nothing is sent: that goes on outside.
    void flush();

    /// Sends what the kernel takes at once, if nothing is queued; the rest stays the caller's.
    /// Answers how many bytes it took: 0 also when it failed, which the next write will hear.
    [[nodiscard]] std::size_t try_send(std::span<const std::byte> bytes) noexcept;

    /// Sends a record of the kernel's TLS, see send_tls_record(), ahead of all that is queued, and
    /// answers how many of its bytes were taken. Less than all: the socket is full, and
    /// on_drained() tells when it is worth another try. At the end all are taken, and go nowhere.
    [[nodiscard]] std::size_t send_record(std::uint8_t type, std::span<const std::byte> bytes);

    /// Takes effect at once: the stream is over high water if the socket is full and more than
    /// `marks.high` is queued. If it was already, it stays so until on_drained(), which comes when
    /// the kernel next takes bytes and no more than `marks.low` is left. Both 0: over as soon as
    /// the socket refuses a byte, drained when all is sent.
    void set_water_marks(WaterMarks marks) noexcept;

    /// Sends what is queued, then shuts down our side (shutdown(2) SHUT_WR). Reading goes on.
    /// Nothing happens after close(). Answers the errno of shutdown(2), ENOTCONN for a connection
    /// that was reset; 0 also when it comes later, as something is queued.
    int shutdown_writing() noexcept;

    /// Reads no more, sends what is queued, then ends. on_closed() follows. Bytes that arrived
    /// and were not read make the kernel send a reset, which can destroy at the peer what was just
    /// sent: who has an eager peer shuts down writing first and reads on until on_end_of_stream().
    void close() noexcept;

    /// Ends at once, whatever is queued. on_closed(error) follows.
    void abort(int error) noexcept;

    /// For on_end_of_stream(): nobody has taken note of the end, it shall be told again in a later
    /// turn.
    void repeat_end_of_stream() noexcept;

    /// From now on the descriptor is somebody else's: who keeps it open until on_closed() has
    /// returned, or the stream is destroyed, and then closes it.
    void disown() noexcept { is_disowned_ = true; }

    /// False from the end on: nothing is watched, read or sent any more, and on_closed() is due.
    [[nodiscard]] bool is_open() const noexcept { return is_open_; }
    [[nodiscard]] bool is_closing() const noexcept { return is_closing_; }
    [[nodiscard]] bool is_reading() const noexcept { return is_reading_; }
    /// The peer has finished sending: on_end_of_stream() is being called or was.
    [[nodiscard]] bool has_ended() const noexcept { return has_ended_; }
    /// The socket is full: it refused bytes, and epoll has not said yet that there is room again.
    [[nodiscard]] bool is_writing_blocked() const noexcept {
        return has_any(wanted(), Events::writable);
    }
    [[nodiscard]] std::size_t unsent() const noexcept { return unsent_.size(); }
    /// The socket is full and more than WaterMarks::high is queued, or was and on_drained() is due.
    [[nodiscard]] bool is_over_high_water() const noexcept { return is_over_high_; }
    /// The descriptor; -1 once on_closed() has returned.
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    [[nodiscard]] std::uint64_t bytes_in() const noexcept { return bytes_in_; }
    [[nodiscard]] std::uint64_t bytes_out() const noexcept { return bytes_out_; }

  private:
    void on_ready(Events ready) noexcept override;
    void on_flush_due() noexcept;
    void on_close_due() noexcept;
    void read();
    [[nodiscard]] bool receive_once(std::size_t& budget);
    [[nodiscard]] bool takes_writes() const noexcept { return is_open_ && !is_shut_down_; }
    void send_queued();
    void tell_drained();
    int finish_if_sent() noexcept;
    void end(int error) noexcept;
    void note_queued() noexcept;
    void note_sent(std::size_t count) noexcept;
    void note_full() noexcept;
    void let_go() noexcept;

    OwnedFd socket_;
    StreamHandler& handler_;
    WaterMarks marks_;
    ByteQueue unsent_;
    std::uint64_t bytes_in_ = 0;
    std::uint64_t bytes_out_ = 0;
    bool* destroyed_ = nullptr;  ///< what on_close_due() watches while it runs
    int close_error_ = 0;
    bool is_open_ = true;
    bool is_disowned_ = false;
    bool is_reading_ = false;
    bool has_ended_ = false;  ///< the peer has finished sending
    bool is_inside_on_data_ = false;
    bool is_releasing_ = false;  ///< owners of what was sent are let go
    bool is_over_high_ = false;
    bool is_shut_down_ = false;  ///< shutdown_writing() was asked for
    bool is_shutdown_sent_ = false;
    bool is_closing_ = false;
    MemberDeferred<Stream, &Stream::on_flush_due> flush_due_{*this};
    MemberDeferred<Stream, &Stream::on_close_due> close_due_{*this};
};

}  // namespace epoll
