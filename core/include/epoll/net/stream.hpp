#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <epoll/base/byte_queue.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/loop/source.hpp>

namespace epoll {

/// Who speaks over a Stream. Nothing is called inside a call of Stream's own members, except
/// receive_buffer(), and on_closed() is the last call.
class StreamHandler {
  public:
    /// Where the next bytes shall go: not empty, and in place until on_data() returns. It may be
    /// one buffer for all streams of a thread, as the bytes are handed over at once.
    [[nodiscard]] virtual std::span<std::byte> receive_buffer() noexcept = 0;

    /// Bytes have arrived, at the start of receive_buffer(). What is written inside goes out with
    /// one system call when this returns.
    virtual void on_data(std::span<std::byte> bytes) = 0;

    /// The peer has shut down its side: there will be no on_data() any more. Called once. Writing
    /// is still possible; an owner with nothing left to say calls close().
    virtual void on_end_of_stream() = 0;

    /// is_over_high_water() was true, and now the queue is at or below the low-water mark.
    virtual void on_drained() = 0;

    /// The descriptor is closed. Called once, in a later deferred phase, with 0 after close() or
    /// abort(), else with the errno that ended the connection. May destroy the stream.
    virtual void on_closed(int error) noexcept = 0;

  protected:
    ~StreamHandler() = default;
};

/// When writing is too much (`high`) and when it is little again (`low`), in bytes queued.
struct WaterMarks {
    std::size_t high = 64 * 1024;
    std::size_t low = 16 * 1024;
};

/// One connected stream socket, TCP or Unix: reads, gathered writes, half-close, end.
///
/// A resource of the reactor's thread. It reads nothing before start_reading(). Destroying it
/// closes the descriptor without a word to the handler; inside the handler's own on_data(),
/// on_end_of_stream() and on_drained() it must not be destroyed: abort() it and wait for
/// on_closed(). If one of those three throws std::bad_alloc the stream is aborted with ENOMEM.
class Stream final : private Source {
  public:
    /// What one stream may read in a turn before the others have theirs.
    static constexpr std::size_t k_read_budget = 256 * 1024;

    /// Takes over a connected, non-blocking socket. Throws std::system_error when epoll refuses it.
    Stream(Reactor& reactor, OwnedFd socket, StreamHandler& handler, WaterMarks marks);
    ~Stream();

    /// After stop_reading() the kernel's buffer fills up and holds the peer back. Both may be
    /// called at any time, also inside on_data(), which then is not called again for bytes that
    /// wait.
    void start_reading() noexcept;
    void stop_reading() noexcept;

    /// Queue bytes to be sent in order: copied, kept alive by their owner, or borrowed. Borrowed
    /// bytes must stay in place until flush() or, inside on_data(), until on_data() returns; so
    /// elsewhere the caller flushes. They are sent when on_data() returns, or else before the
    /// reactor waits again. After shutdown_writing(), close() and abort() nothing is queued any
    /// more. May throw std::bad_alloc.
    void write(std::span<const std::byte> bytes);
    void write(OwnedBytes bytes);
    void write_borrowed(std::span<const std::byte> bytes);

    /// Sends now what the kernel takes; keeps the rest, borrowed bytes as a copy, and sends it when
    /// the socket has room.
    void flush();

    /// Sends what is queued, then shuts down our side (shutdown(2) SHUT_WR). Reading goes on.
    void shutdown_writing() noexcept;

    /// Reads no more, sends what is queued, then closes. on_closed() follows. Bytes that arrived
    /// and were not read make the kernel send a reset, which can destroy at the peer what was just
    /// sent: who has an eager peer shuts down writing first and reads on until on_end_of_stream().
    void close() noexcept;

    /// Closes at once, whatever is queued. on_closed(error) follows.
    void abort(int error) noexcept;

    [[nodiscard]] bool is_open() const noexcept { return socket_.is_open(); }
    [[nodiscard]] bool is_closing() const noexcept { return is_closing_; }
    [[nodiscard]] bool is_reading() const noexcept { return is_reading_; }
    [[nodiscard]] std::size_t unsent() const noexcept { return unsent_.size(); }
    /// The socket is full and more than WaterMarks::high is queued, or was and on_drained() is due.
    [[nodiscard]] bool is_over_high_water() const noexcept { return is_over_high_; }
    [[nodiscard]] int fd() const noexcept { return socket_.get(); }
    [[nodiscard]] std::uint64_t bytes_in() const noexcept { return bytes_in_; }
    [[nodiscard]] std::uint64_t bytes_out() const noexcept { return bytes_out_; }

  private:
    void on_ready(Events ready) noexcept override;
    void on_flush_due() noexcept;
    void on_close_due() noexcept;
    void read();
    [[nodiscard]] bool receive_once(std::size_t& budget);
    void send_queued();
    void finish_if_sent() noexcept;
    void end(int error) noexcept;
    void note_queued() noexcept;
    void note_full() noexcept;
    [[nodiscard]] bool is_full() const noexcept;

    OwnedFd socket_;
    StreamHandler& handler_;
    WaterMarks marks_;
    ByteQueue unsent_;
    std::uint64_t bytes_in_ = 0;
    std::uint64_t bytes_out_ = 0;
    int close_error_ = 0;
    bool is_reading_ = false;
    bool has_ended_ = false;  ///< the peer has finished sending
    bool is_inside_on_data_ = false;
    bool is_over_high_ = false;
    bool is_shut_down_ = false;  ///< shutdown_writing() was asked for
    bool is_shutdown_sent_ = false;
    bool is_closing_ = false;
    MemberDeferred<Stream, &Stream::on_flush_due> flush_due_{*this};
    MemberDeferred<Stream, &Stream::on_close_due> close_due_{*this};
};

}  // namespace epoll
