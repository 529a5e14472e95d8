#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include <epoll/base/owned_fd.hpp>
#include <epoll/net/address.hpp>
#include <epoll/net/stream.hpp>

#include "../python.hpp"
#include "../ref.hpp"
#include "loop.hpp"
#include "native_protocol.hpp"

namespace epoll::python {

/// The transport of one connected stream socket: asyncio's contract over a Stream of the core.
///
/// The descriptor has one owner at each moment. A connection that the loop accepted or made is
/// owned by the Stream until somebody asks for its socket object, which owns it from then on. A
/// socket that a program handed over is owned by its socket object, of which the transport holds an
/// I/O reference (as socket.makefile() does): a close() by the program then waits for the
/// transport. The descriptor is closed right after connection_lost().
///
/// What the protocol writes while one of its callbacks runs, and what is written elsewhere in a
/// turn, is sent with one system call; what a program can observe is as if each write were sent at
/// once: a question for what is unsent, more than the high-water mark, abort() and a loop that does
/// not run send first.
class SocketTransport;

/// What a new transport is made of; all objects borrowed.
struct TransportParts {
    PyObject* protocol;
    PyObject* waiter = nullptr;  ///< a future to be set once connection_made() was called
    PyObject* extra = nullptr;   ///< a dict for get_extra_info(), kept
    PyObject* server = nullptr;  ///< the asyncio Server it belongs to
    PyObject* context =
        nullptr;  ///< in which the protocol is called; null: a copy of the current one
};

/// A transport for a connection that has no socket object. connection_made() is scheduled. Empty
/// with an exception set; the connection is closed then.
[[nodiscard]] Ref make_transport(Loop& loop, OwnedFd connection, const Address& peer,
                                 const TransportParts& parts);

/// A transport for the connected, non-blocking socket object `socket`, which is handed over. When
/// it fails the socket is still the caller's.
[[nodiscard]] Ref make_transport(Loop& loop, PyObject* socket, const TransportParts& parts);

// For streams: the methods of a transport without the detour over Python.

/// Whether `object` is a SocketTransport or a TlsTransport: what the following are for.
[[nodiscard]] bool is_native_transport(const LoopState& state, PyObject* object) noexcept;

/// transport.write(): any bytes-like object. False with an exception set.
[[nodiscard]] bool write_to(const LoopState& state, PyObject* transport, PyObject* data);
void pause_reading(const LoopState& state, PyObject* transport) noexcept;
void resume_reading(const LoopState& state, PyObject* transport) noexcept;
[[nodiscard]] bool is_closing(const LoopState& state, PyObject* transport) noexcept;

}  // namespace epoll::python
