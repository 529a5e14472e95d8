#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <epoll/base/byte_queue.hpp>
#include <epoll/base/intrusive_list.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/timer_queue.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/stream.hpp>

namespace epoll {

class MessageServer;
struct ConnectionTag;

/// Why a connection of a MessageServer came to its end.
enum class CloseReason : std::uint8_t {
    peer_finished,  ///< the peer closed, or shut down its side and got all its answers
    closed,         ///< Connection::close()
    too_long,       ///< a message was longer than the limit
    idle,           ///< nothing moved for the idle timeout
    failed,         ///< a system call failed (reset by the peer …), or memory ran out
    stopped,        ///< the server stopped
};

[[nodiscard]] const char* name_of(CloseReason reason) noexcept;

/// One client of a MessageServer: framing, back-pressure and the orderly end.
///
/// Belongs to its server and to the reactor's thread; lives until MessageHandler::on_close()
/// returns.
///
/// Memory is bounded: at most one incomplete message and what one read brought (max_message + 64
/// KiB), and unsent answers up to the high-water mark plus the one that crossed it. Above the mark
/// no further message is handled and nothing is read until the peer has taken what it asked for.
class Connection final : private StreamHandler, private ListHook<ConnectionTag> {
  public:
    Connection(MessageServer& server, OwnedFd socket, const Address& peer);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() = default;

    /// Queues an answer with its framing: copied, kept alive by its owner, or borrowed (in place
    /// until on_message() returns, and only there). Answers of one read leave with one system call.
    /// Returns false, and queues nothing, when the framing cannot carry so many bytes; queues
    /// nothing either when the connection is closing. May throw std::bad_alloc.
    [[nodiscard]] bool send(std::span<const std::byte> message);
    [[nodiscard]] bool send(OwnedBytes message);
    [[nodiscard]] bool send_borrowed(std::span<const std::byte> message);

    /// Handles no further message, sends what is queued and closes. What the peer still sends is
    /// read and dropped for a while, so that no reset destroys the answers on their way.
    void close() noexcept;

    /// Closes at once; what is queued is lost.
    void abort() noexcept;

    [[nodiscard]] bool is_closing() const noexcept { return state_ != State::open; }
    /// True with Framing::raw: nothing is added to what is sent.
    [[nodiscard]] bool is_raw() const noexcept;
    [[nodiscard]] const Address& peer() const noexcept { return peer_; }
    [[nodiscard]] std::size_t unsent() const noexcept { return stream_.unsent(); }

    /// A place for the handler's own; null at first. The handler frees it in on_close().
    void* attachment = nullptr;

  private:
    friend class MessageServer;
    template <class T, class Tag>
    friend class IntrusiveList;

    enum class State : std::uint8_t {
        open,
        lingering,  ///< our side is shut down or about to be; what arrives is dropped
        closed,     ///< the stream was told to close or abort
    };

    std::span<std::byte> receive_buffer() noexcept override;
    void on_data(std::span<std::byte> bytes) override;
    void on_end_of_stream() override;
    void on_drained() override;
    void on_closed(int error) noexcept override;

    [[nodiscard]] std::size_t handle_messages(std::span<const std::byte> input);
    void handle_kept();
    void after_input() noexcept;
    void send_or_hold_back();
    void linger(CloseReason reason) noexcept;
    void close_now(CloseReason reason) noexcept;
    void abort_now(CloseReason reason) noexcept;
    void stop_if_at_rest() noexcept;
    [[nodiscard]] bool is_at_rest() const noexcept;
    void on_time() noexcept;
    void end_idle() noexcept;
    [[nodiscard]] Duration patience() const noexcept;
    void start_timer(Duration duration) noexcept;
    void count_sent() noexcept;

    MessageServer& server_;
    Address peer_;
    Stream stream_;
    std::vector<std::byte> kept_;       ///< an incomplete message, or what back-pressure holds
    std::size_t looked_at_ = 0;         ///< of kept_, by next_frame()
    std::uint64_t counted_out_ = 0;     ///< of stream_.bytes_out(): what the server has counted
    std::size_t dropped_ = 0;           ///< bytes that came after we had decided to close
    std::uint64_t taken_at_check_ = 0;  ///< bytes the peer had taken when on_time() looked last
    TimePoint active_at_{};             ///< when something moved last, as far as on_time() needs it
    State state_ = State::open;
    CloseReason reason_ = CloseReason::peer_finished;
    bool is_held_back_ = false;  ///< reading is stopped by back-pressure
    MemberTimer<Connection, &Connection::on_time> timer_{*this};
};

}  // namespace epoll
