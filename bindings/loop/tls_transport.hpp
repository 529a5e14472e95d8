#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <epoll/base/byte_queue.hpp>
#include <epoll/loop/reactor.hpp>

#include "../python.hpp"
#include "../ref.hpp"
#include "app_protocol.hpp"
#include "loop.hpp"
#include "native_protocol.hpp"
#include "tls_session.hpp"
#include "transport_head.hpp"

namespace epoll::python {

class SocketTransport;

/// What a TlsTransport is made of; all objects borrowed.
struct TlsParts {
    PyObject* protocol;
    PyObject* ssl_object;  ///< an ssl.SSLObject, new
    PyObject* ssl_context;
    PyObject* waiter;             ///< a future to be set after the handshake, or None
    PyObject* handshake_timeout;  ///< both in seconds, numbers
    PyObject* shutdown_timeout;
    bool calls_connection_made;  ///< false: the protocol has a transport already (start_tls)
    bool reports_failure;        ///< of the handshake in debug mode, as nobody waits for it
};

/// TLS over a SocketTransport: its protocol below, and the transport of the program's protocol
/// above, both in one object, which the SocketTransport keeps alive until the connection is lost.
///
/// It goes through the states of asyncio's sslproto, in the same order and with the same calls.
/// Handshake and shutdown are calls of the ssl.SSLObject, so that whatever that object is (a
/// subclass may verify certificates in its own way) has its say, and errors are the interpreter's.
/// Records go through TlsSession. What one callback writes, or is written elsewhere in one turn,
/// is enciphered together and sent with one system call; what does not fit into the socket waits as
/// plain text.
///
/// What is different for a program: get_write_buffer_size() counts all that the kernel has not
/// taken; a peer whose handshake we refuse is told so by an alert.
class TlsTransport final : public NativeProtocol, private TlsOffload {
  public:
    // asyncio's constants FLOW_CONTROL_HIGH_WATER_SSL_WRITE and _READ, in bytes.
    static constexpr std::size_t k_write_high = 512 * 1024;
    static constexpr std::size_t k_read_high = 256 * 1024;

    TlsTransport(Loop& loop, PyObject* self) noexcept;
    TlsTransport(const TlsTransport&) = delete;
    TlsTransport& operator=(const TlsTransport&) = delete;
    ~TlsTransport();

    /// Once, before anything else. False with an exception set.
    [[nodiscard]] bool start(const TlsParts& parts, const ReachedSsl& reached);

    // The protocol of the SocketTransport.

    bool on_connection_made(PyObject* transport) override;
    std::span<std::byte> receive_buffer() override;
    void on_nothing_received() noexcept override {}
    bool on_data(std::size_t count) override;
    int on_eof() override;
    bool on_pause_writing() override;
    bool on_resume_writing() override;
    bool on_connection_lost(PyObject* exception) override;
    [[nodiscard]] const char* data_failure() const noexcept override {
        return "Fatal error: protocol.buffer_updated() call failed.";
    }

    /// What has arrived before the connection was ours. Throws std::bad_alloc.
    void give(std::span<const std::byte> bytes);

    // The methods of asyncio's transports. bool: false with an exception set.

    [[nodiscard]] bool set_protocol(PyObject* protocol);
    void pause_reading() noexcept { is_reading_paused_ = true; }
    void resume_reading() noexcept;
    [[nodiscard]] bool write(PyObject* data);
    [[nodiscard]] bool write_lines(PyObject* lines);
    [[nodiscard]] bool close();
    [[nodiscard]] bool abort(PyObject* exception);
    [[nodiscard]] bool set_write_limits(const FlowLimits& limits);
    void set_read_limits(const FlowLimits& limits) noexcept;
    /// Sends first what can be sent.
    [[nodiscard]] std::size_t write_buffer_size();
    [[nodiscard]] std::size_t read_buffer_size() const noexcept { return session_.unread(); }
    [[nodiscard]] const FlowLimits& write_limits() const noexcept { return write_limits_; }
    [[nodiscard]] const FlowLimits& read_limits() const noexcept { return read_limits_; }
    [[nodiscard]] bool is_closing() const noexcept;
    [[nodiscard]] bool is_reading() const noexcept { return !is_reading_paused_; }
    [[nodiscard]] bool is_protocol_paused() const noexcept { return is_writing_paused_; }

    // For sendfile(2), when the kernel enciphers: as those of SocketTransport.

    [[nodiscard]] bool can_send_files() const noexcept;
    [[nodiscard]] Ref make_empty_waiter();
    void reset_empty_waiter();
    /// The socket object; None after the end.
    [[nodiscard]] Ref socket();

    /// get_extra_info(name): empty without an exception when there is no such name.
    [[nodiscard]] Ref extra_info(PyObject* name);

    /// Queues bytes as write() does, and does nothing else.
    void add_to_backlog(PyObject* bytes);

    [[nodiscard]] PyObject* protocol() const noexcept { return app_.object(); }
    [[nodiscard]] PyObject* ssl_context() const noexcept { return ssl_context_.get(); }
    [[nodiscard]] PyObject* loop_object() const noexcept { return loop_object_.get(); }

    void finalize() noexcept;
    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;

  private:
    enum class State : unsigned char { unwrapped, handshaking, wrapped, flushing, shutting_down };
    enum class AppState : unsigned char { initial, made, ended, lost };
    enum class Step : unsigned char { done, starving, failed };  ///< failed: an exception is set

    // tls_transport.cpp
    [[nodiscard]] Step call_ssl(const Ref& method);
    [[nodiscard]] bool do_handshake();
    [[nodiscard]] bool end_handshake();
    [[nodiscard]] bool fail_handshake(Ref exception);
    [[nodiscard]] bool start_shutdown();
    [[nodiscard]] bool do_flush();
    [[nodiscard]] bool do_shutdown();
    void end_shutdown() noexcept;
    void forget_session() noexcept;
    [[nodiscard]] bool go_on();
    void fatal_error(Ref exception, const char* message) noexcept;
    [[nodiscard]] bool catch_fatal(const char* message) noexcept;
    [[nodiscard]] bool wake_waiter(PyObject* exception) noexcept;
    void start_timer(const Ref& seconds) noexcept;
    void on_time_out() noexcept;
    void on_close_due() noexcept;
    [[nodiscard]] bool debug(const char* text) noexcept;

    // tls_reading.cpp
    [[nodiscard]] bool do_read();
    [[nodiscard]] bool read_all();
    [[nodiscard]] bool may_read() const noexcept;
    [[nodiscard]] TlsStatus fill(std::span<std::byte> room, std::size_t& count) noexcept;
    [[nodiscard]] bool read_once(TlsStatus& status);
    [[nodiscard]] bool read_into_stream(TlsStatus& status);
    [[nodiscard]] bool read_into_buffer(TlsStatus& status);
    [[nodiscard]] bool read_as_bytes(TlsStatus& status);
    [[nodiscard]] bool call_eof_received();
    [[nodiscard]] bool raise_ssl_error() noexcept;
    void control_reading() noexcept;
    void on_resume_due() noexcept;

    // tls_writing.cpp
    [[nodiscard]] bool takes_writes();
    void append(PyObject* bytes);
    [[nodiscard]] bool note_written();
    [[nodiscard]] bool flush(bool whatever_is_blocked);
    [[nodiscard]] bool encipher(bool whatever_is_blocked);
    [[nodiscard]] bool pass_on(std::span<const std::byte> piece);
    [[nodiscard]] bool send_outgoing();
    [[nodiscard]] bool control_writing() noexcept;
    [[nodiscard]] std::size_t unsent() const noexcept;
    void on_flush_due() noexcept;
    void share_limits();

    // tls_offload.cpp
    [[nodiscard]] bool take_keys(const std::byte* keys) noexcept override;
    [[nodiscard]] bool send_records();
    [[nodiscard]] bool is_record_waiting() const noexcept;

    [[nodiscard]] SocketTransport* lower() const noexcept;
    [[nodiscard]] bool is_over() const noexcept;
    void leave_callback(const char* message) noexcept;

    Loop& loop_;  ///< kept alive by loop_object_
    PyObject* self_;
    Ref loop_object_;
    Ref transport_;  ///< the SocketTransport; empty before and after
    AppProtocol app_;
    Ref ssl_object_;
    Ref ssl_socket_;  ///< `_sslobj` of it: it owns what session_ has borrowed
    Ref ssl_context_;
    Ref waiter_;
    Ref handshake_timeout_;
    Ref shutdown_timeout_;
    TlsSession session_;
    ByteQueue backlog_;  ///< plain text to be sent
    FlowLimits write_limits_;
    FlowLimits read_limits_;
    TimePoint began_{};  ///< the handshake, in debug mode
    unsigned lost_writes_ = 0;
    State state_ = State::unwrapped;
    AppState app_state_ = AppState::initial;
    bool reports_failure_ = false;
    bool is_closed_ = false;          ///< close() or abort() was called, or the connection is lost
    bool is_given_up_ = false;        ///< close() was called again: see forget_session()
    bool has_ended_ = false;          ///< the socket has
    bool is_shaken_ = false;          ///< the handshake was done
    bool is_close_held_ = false;      ///< until close_notify is sent
    bool is_sending_file_ = false;    ///< past us, by sendfile(2)
    bool is_receiving_ = false;       ///< on_data() runs: it flushes
    bool is_calling_ssl_ = false;     ///< OpenSSL runs, and may call Python code
    bool is_reading_paused_ = false;  ///< by the program
    bool is_lower_read_paused_ = false;
    bool is_writing_paused_ = false;  ///< the program's protocol is
    bool is_lower_paused_ = false;    ///< we are, by the SocketTransport
    MemberDeferred<TlsTransport, &TlsTransport::on_flush_due> flush_due_{*this};
    MemberDeferred<TlsTransport, &TlsTransport::on_resume_due> resume_due_{*this};
    MemberDeferred<TlsTransport, &TlsTransport::on_close_due> close_due_{*this};
    MemberTimer<TlsTransport, &TlsTransport::on_time_out> timer_{*this};
};

/// In Python it is an SSLTransport: programs look for SSL in the name of the class.
struct TlsTransportObject : TransportHead<4> {
    TlsTransport transport;
};

[[nodiscard]] inline TlsTransport& tls_transport_of(PyObject* object) noexcept {
    return reinterpret_cast<TlsTransportObject*>(object)->transport;
}

/// A TlsTransport over what `ssl_object` was made of by wrap_bio(incoming, outgoing), to be the
/// protocol of a SocketTransport. None when the SSL inside cannot be reached: then asyncio's own
/// protocol has to do. Empty with an exception set.
[[nodiscard]] Ref make_tls_transport(Loop& loop, const TlsParts& parts, PyObject* incoming,
                                     PyObject* outgoing);

}  // namespace epoll::python
