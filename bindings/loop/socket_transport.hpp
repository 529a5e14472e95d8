#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/stream.hpp>

#include "../python.hpp"
#include "../ref.hpp"
#include "loop.hpp"
#include "native_protocol.hpp"
#include "transport.hpp"
#include "transport_head.hpp"
#include "transports.hpp"

namespace epoll::python {

/// What get_buffer() has answered, locked while the kernel writes into it.
class LockedBuffer {
  public:
    LockedBuffer() noexcept = default;
    LockedBuffer(const LockedBuffer&) = delete;
    LockedBuffer& operator=(const LockedBuffer&) = delete;
    ~LockedBuffer() { release(); }

    /// Empty, with an exception set, when `object` is not writable memory.
    [[nodiscard]] std::span<std::byte> lock(PyObject* object) noexcept;
    [[nodiscard]] bool is_locked() const noexcept { return view_.obj != nullptr; }
    void release() noexcept {
        if (is_locked()) {
            PyBuffer_Release(&view_);
        }
    }

  private:
    Py_buffer view_{};
};

/// The C++ part of a SocketTransportObject, which is what transport.hpp describes.
///
/// Its life: made, begun (connection_made() was called), closing, lost (connection_lost() was
/// called). Apart from that it may be abandoned, by the end of its loop: then nothing is watched
/// and nothing can be sent any more, but the connection stays open until the object dies. The
/// loop's Transports keep the object alive until it is lost.
class SocketTransport final : public LiveTransport, private StreamHandler {
  public:
    static constexpr std::size_t k_write_high = k_default_limits.high;

    SocketTransport(Loop& loop, PyObject* self) noexcept;
    SocketTransport(const SocketTransport&) = delete;
    SocketTransport& operator=(const SocketTransport&) = delete;
    ~SocketTransport();

    // Making: adopt() once, then start(). Both false with an exception set.

    /// A connection without a socket object.
    [[nodiscard]] bool adopt(OwnedFd connection, const Address& peer);
    /// The descriptor of a socket object, which stays its owner.
    [[nodiscard]] bool adopt(PyObject* socket);
    [[nodiscard]] bool start(const TransportParts& parts);
    /// start() has failed, with the exception that is set: the socket object is the caller's again.
    void disclaim() noexcept;

    // The methods of asyncio's transports.

    [[nodiscard]] bool set_protocol(PyObject* protocol);
    void pause_reading() noexcept;
    void resume_reading() noexcept;
    /// bool results: false with an exception set.
    [[nodiscard]] bool write(PyObject* data);
    [[nodiscard]] bool write_lines(PyObject* lines);
    [[nodiscard]] bool write_eof();
    /// For a protocol below which this transport is: sends `bytes` now, and keeps a copy of what
    /// the kernel does not take.
    [[nodiscard]] bool send(std::span<const std::byte> bytes);
    /// Likewise, a record of the kernel's TLS. Answers how many of its bytes the kernel took; when
    /// it is less than all the protocol is paused, and to be resumed.
    [[nodiscard]] std::size_t send_record(std::uint8_t type, std::span<const std::byte> bytes);
    /// Likewise, `bytes` if all that was written is sent. Answers how many bytes the kernel took,
    /// and calls nobody: does not need the GIL.
    [[nodiscard]] std::size_t try_send(std::span<const std::byte> bytes) noexcept;
    [[nodiscard]] bool close();
    /// `exception` is what connection_lost() gets, or None.
    [[nodiscard]] bool abort(PyObject* exception);
    /// As abort(), for a connection of which nothing may be sent any more.
    [[nodiscard]] bool force_close(PyObject* exception);
    /// Reports `exception` with `message` and closes by force.
    [[nodiscard]] bool fatal_error(PyObject* exception, const char* message);
    [[nodiscard]] std::size_t write_buffer_size();
    [[nodiscard]] bool set_write_limits(const FlowLimits& limits);
    [[nodiscard]] FlowLimits write_limits() const noexcept { return {high_, low_}; }

    [[nodiscard]] bool is_closing() const noexcept {
        return stream_ ? stream_->is_closing() : was_closing_;
    }
    [[nodiscard]] bool is_reading() const noexcept { return !is_closing() && !is_paused_; }
    [[nodiscard]] bool is_lost() const noexcept { return is_lost_; }
    [[nodiscard]] bool is_paused() const noexcept { return is_paused_; }
    [[nodiscard]] bool is_protocol_paused() const noexcept { return is_protocol_paused_; }

    // For sendfile(): while somebody waits, nothing can be written.

    [[nodiscard]] Ref make_empty_waiter();
    void reset_empty_waiter();

    // What there is to know; borrowed, null for None.

    [[nodiscard]] PyObject* self() const noexcept override { return self_; }
    [[nodiscard]] PyObject* loop_object() const noexcept { return loop_object_.get(); }
    [[nodiscard]] PyObject* protocol() const noexcept { return protocol_.get(); }
    [[nodiscard]] PyObject* context() const noexcept { return context_.get(); }
    [[nodiscard]] PyObject* server() const noexcept { return server_.get(); }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    /// Null when the transport is lost or abandoned.
    [[nodiscard]] const Stream* stream() const noexcept { return stream_ ? &*stream_ : nullptr; }

    /// The socket object, made when it is asked for first; None when the transport is lost.
    [[nodiscard]] Ref socket();
    /// get_extra_info(name): empty without an exception when there is no such name.
    [[nodiscard]] Ref extra_info(PyObject* name);
    /// The dict of all extra information.
    [[nodiscard]] Ref all_extra_info();

    /// The loop ends: see Transports::close().
    void abandon() noexcept override;

    /// The object dies, or is garbage: warns if it was not closed, and closes the connection.
    void finalize() noexcept;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;

  private:
    [[nodiscard]] std::span<std::byte> receive_buffer() noexcept override;
    void on_data(std::span<std::byte> bytes) override;
    void on_nothing_received() noexcept override;
    void on_end_of_stream() override;
    void on_drained() override;
    void on_closed(int error) noexcept override;

    void on_begin_due() noexcept;
    void begin_reading() noexcept;
    void wake_waiter() noexcept;

    [[nodiscard]] std::span<std::byte> python_buffer() noexcept;
    [[nodiscard]] bool call_data_received(std::span<const std::byte> bytes) noexcept;
    [[nodiscard]] bool call_buffer_updated(std::size_t count) noexcept;
    [[nodiscard]] int call_eof_received() noexcept;
    [[nodiscard]] bool call_connection_lost(PyObject* exception) noexcept;
    void fail(const char* message) noexcept;
    void report(const char* message) noexcept;
    void log(const char* text) noexcept;
    void log_end(int error, PyObject* exception) noexcept;

    /// For what happens only while there is a stream.
    [[nodiscard]] Stream& live_stream() noexcept {
        assert(stream_.has_value());
        return *stream_;
    }

    [[nodiscard]] std::uint64_t turn() const noexcept;
    [[nodiscard]] bool require_writable(const char* eof_text, const char* sendfile_text) noexcept;
    [[nodiscard]] bool takes_writes();
    [[nodiscard]] bool write_copy(PyObject* data);
    [[nodiscard]] bool queue_all(std::span<PyObject* const> items);
    void queue(PyObject* bytes);
    void queue_copy(std::span<const std::byte> bytes);
    [[nodiscard]] bool note_written();
    [[nodiscard]] bool maybe_pause_protocol() noexcept;
    [[nodiscard]] bool pause_protocol() noexcept;
    void maybe_resume_protocol() noexcept;
    void update_water_marks() noexcept;
    void settle_empty_waiter(PyObject* exception) noexcept;

    [[nodiscard]] Ref end_exception(int error) noexcept;
    void drop_socket() noexcept;
    void detach_server() noexcept;

    [[nodiscard]] PyObject*& extra_slot() noexcept;
    [[nodiscard]] PyObject* extra_dict() noexcept;
    [[nodiscard]] Ref make_extra_info(PyObject* name);
    [[nodiscard]] Ref sock_name();
    [[nodiscard]] Ref transport_socket();
    void keep_names() noexcept;

    Loop& loop_;  ///< kept alive by loop_object_, so to be used only before the transport is lost
    PyObject* self_;
    Ref loop_object_;
    Ref protocol_;
    NativeProtocol* native_ = nullptr;
    Ref context_;
    Ref server_;
    Ref waiter_;
    Ref socket_;         ///< once there is one, it owns the descriptor
    Ref end_exception_;  ///< for connection_lost(); empty: Stream's errno decides
    Ref empty_waiter_;
    LockedBuffer buffer_;
    std::optional<Stream> stream_;
    Address peer_;
    std::size_t high_ = k_default_limits.high;
    std::size_t low_ = k_default_limits.low;
    std::uint64_t vain_read_ = 0;  ///< in debug mode: the turn of the last one
    unsigned lost_writes_ = 0;     ///< after the connection was lost
    int fd_ = -1;
    OwnedFd left_;                   ///< what abandon() has taken from the stream
    bool is_buffered_ = false;       ///< the protocol is a BufferedProtocol
    bool has_io_reference_ = false;  ///< to socket_
    bool is_begun_ = false;
    bool is_paused_ = false;
    bool is_eof_written_ = false;
    bool is_protocol_paused_ = false;
    bool is_lost_ = true;  ///< until start() has succeeded
    bool was_closing_ = false;
    MemberDeferred<SocketTransport, &SocketTransport::on_begin_due> begin_due_{*this};
};

struct SocketTransportObject : TransportHead<4> {
    SocketTransport transport;
};

[[nodiscard]] inline SocketTransport& transport_of(PyObject* object) noexcept {
    return reinterpret_cast<SocketTransportObject*>(object)->transport;
}

/// An object of the type, not started. Empty with an exception set.
[[nodiscard]] Ref allocate_transport(Loop& loop);

}  // namespace epoll::python
