#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include <epoll/loop/reactor.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/datagram.hpp>

#include "../answers.hpp"
#include "../python.hpp"
#include "../ref.hpp"
#include "datagram_peers.hpp"
#include "loop.hpp"
#include "transport_head.hpp"
#include "transports.hpp"

namespace epoll::python {

/// What the datagram transports of a loop share.
struct DatagramShare {
    DatagramPool pool;
    DatagramPeers peers;
};

/// What a new transport of datagrams is made of; all objects borrowed, null for what is left out.
struct DatagramParts {
    PyObject* socket;
    PyObject* protocol;
    PyObject* address;  ///< the only one that sendto() shall send to, or None
    PyObject* waiter;   ///< a future to be set once connection_made() was called
    PyObject* extra;    ///< a dict for get_extra_info(), kept
};

/// True when make_datagram_transport() can be called: a plain socket object of a family whose
/// addresses we know. Others are for asyncio's own transport.
[[nodiscard]] bool has_plain_addresses(const LoopState& state, PyObject* socket) noexcept;

/// The transport of one datagram socket: asyncio's contract over a Datagram of the core.
/// connection_made() is scheduled. The socket object stays the owner of the descriptor, with an I/O
/// reference of the transport, which closes it right after connection_lost(). Empty with an
/// exception set: then the socket is still the caller's.
[[nodiscard]] Ref make_datagram_transport(Loop& loop, const DatagramParts& parts);

/// The C++ part of a DatagramTransportObject.
///
/// Its life is that of a SocketTransport: made, begun, closing, lost; or abandoned, by the end of
/// its loop.
class DatagramTransport final : public LiveTransport, private DatagramHandler {
  public:
    static constexpr std::size_t k_write_high = k_default_limits.high;

    DatagramTransport(Loop& loop, PyObject* self) noexcept;
    DatagramTransport(const DatagramTransport&) = delete;
    DatagramTransport& operator=(const DatagramTransport&) = delete;
    ~DatagramTransport();

    /// Once. False with an exception set; the socket object is the caller's again then.
    [[nodiscard]] bool start(const DatagramParts& parts);

    // The methods of asyncio's transports. bool results: false with an exception set.

    [[nodiscard]] bool send(PyObject* data, PyObject* address);
    void set_protocol(PyObject* protocol) noexcept { protocol_ = Ref::borrow(protocol); }
    void pause_reading() noexcept;
    void resume_reading() noexcept;
    [[nodiscard]] bool close();
    /// `exception` is what connection_lost() gets, or None.
    [[nodiscard]] bool abort(PyObject* exception);
    /// Reports `exception` with `message` and closes by force.
    [[nodiscard]] bool fatal_error(PyObject* exception, const char* message);
    [[nodiscard]] std::size_t write_buffer_size() const noexcept;
    [[nodiscard]] bool set_write_limits(const FlowLimits& limits);
    [[nodiscard]] FlowLimits write_limits() const noexcept { return limits_; }

    [[nodiscard]] bool is_closing() const noexcept {
        return datagram_ ? datagram_->is_closing() : was_closing_;
    }
    [[nodiscard]] bool is_reading() const noexcept { return !is_closing() && !is_paused_; }
    [[nodiscard]] bool is_lost() const noexcept { return is_lost_; }
    [[nodiscard]] bool is_paused() const noexcept { return is_paused_; }
    [[nodiscard]] bool is_protocol_paused() const noexcept { return is_protocol_paused_; }

    // What there is to know; borrowed, null for None.

    [[nodiscard]] PyObject* self() const noexcept override { return self_; }
    [[nodiscard]] PyObject* loop_object() const noexcept { return loop_object_.get(); }
    [[nodiscard]] PyObject* protocol() const noexcept { return protocol_.get(); }
    /// The socket object; None after the end.
    [[nodiscard]] Ref socket() const noexcept { return or_none(socket_.get()); }
    [[nodiscard]] PyObject* address() const noexcept { return address_.get(); }
    [[nodiscard]] int fd() const noexcept { return fd_; }
    /// Null when the transport is lost or abandoned.
    [[nodiscard]] const Datagram* datagram() const noexcept {
        return datagram_ ? &*datagram_ : nullptr;
    }

    /// get_extra_info(name): empty without an exception when there is no such name.
    [[nodiscard]] Ref extra_info(PyObject* name) const;

    void abandon() noexcept override;

    /// The object dies, or is garbage: warns if it was not closed, and closes the socket.
    void finalize() noexcept;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;

  private:
    [[nodiscard]] bool on_datagram(std::span<const std::byte> bytes, const Address& peer) override;
    void on_error(int error) override;
    void on_progress() override;
    void on_closed(int error) noexcept override;

    [[nodiscard]] bool prepare(const DatagramParts& parts);
    [[nodiscard]] bool fill_extra(PyObject* extra);
    void disclaim() noexcept;
    void on_begin_due() noexcept;
    void report(const char* message) noexcept;
    void log(const char* text) noexcept;
    [[nodiscard]] bool call_connection_lost(int error) noexcept;
    void drop_socket() noexcept;

    [[nodiscard]] bool is_sendable(PyObject*& address);
    [[nodiscard]] bool note_lost_write();
    [[nodiscard]] bool send_to(PyObject* data, const Address& target);
    [[nodiscard]] bool send_by_name(PyObject* data, PyObject* address);
    [[nodiscard]] int send_bytes(PyObject* data, const Address& target);
    [[nodiscard]] bool note_sent(int error);
    [[nodiscard]] bool settle_failure();
    [[nodiscard]] bool maybe_pause_protocol() noexcept;

    Loop& loop_;  ///< kept alive by loop_object_, so to be used only before the transport is lost
    PyObject* self_;
    Ref loop_object_;
    Ref protocol_;
    Ref context_;
    Ref waiter_;
    Ref socket_;
    Ref address_;        ///< what asyncio calls _address; empty when there is no such restriction
    Ref end_exception_;  ///< for connection_lost(); empty: Datagram's errno decides
    std::optional<Datagram> datagram_;
    FlowLimits limits_;
    unsigned lost_writes_ = 0;
    int fd_ = -1;
    int family_ = AF_UNSPEC;
    bool is_connected_ = false;      ///< to a peer with a name: sendto() heeds no other
    bool has_unnamed_peer_ = false;  ///< one end of a socket pair: sendto() needs no address
    bool has_io_reference_ = false;
    bool is_paused_ = false;
    bool is_protocol_paused_ = false;
    bool is_lost_ = true;  ///< until start() has succeeded
    bool was_closing_ = false;
    MemberDeferred<DatagramTransport, &DatagramTransport::on_begin_due> begin_due_{*this};
};

/// The Python half of the object.
struct DatagramTransportObject : TransportHead<4> {
    DatagramTransport transport;
};

}  // namespace epoll::python
