#include <cerrno>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <utility>

#include <epoll/net/socket_calls.hpp>
#include <epoll/net/socket_options.hpp>

#include "../arguments.hpp"
#include "../errors.hpp"
#include "../method.hpp"
#include "loop.hpp"
#include "loop_state.hpp"
#include "socket_address.hpp"
#include "socket_operations.hpp"

// The sock_* methods of Loop, and what each of them tries.
//
// They are for plain sockets and plain arguments. All else goes to the methods that the loop
// inherits from asyncio, which come back for no more than add_reader() and add_writer(): subclasses
// of socket.socket, which may have a recv() of their own (SSLSocket is refused there); families
// whose addresses only the socket module knows; host names; and whatever is a mistake, which then
// raises asyncio's own exception.

namespace epoll::python {

namespace {

Ref pair_of(const Ref& first, const Ref& second) {
    return first && second ? Ref::steal(PyTuple_Pack(2, first.get(), second.get())) : Ref{};
}

/// Up to `size` bytes from `receive_into(span)`, as a bytes object of their exact size: they come
/// by way of the loop's buffer when they fit there, so that no memory is asked for in vain.
template <class ReceiveInto>
Outcome receive_bytes(SocketOperation& operation, ReceiveInto receive_into) {
    const std::span<std::byte> shared = operation.loop().read_buffer();
    if (operation.size <= shared.size()) {
        const IoResult result = receive_into(shared.first(operation.size));
        return result.ok() ? Outcome{Ref::steal(PyBytes_FromStringAndSize(
                                 reinterpret_cast<const char*>(shared.data()), result.count))}
                           : Outcome::failed(result.error);
    }
    PyObject* bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(operation.size));
    if (bytes == nullptr) {
        return {};
    }
    const IoResult result = receive_into(
        std::span{reinterpret_cast<std::byte*>(PyBytes_AS_STRING(bytes)), operation.size});
    if (!result.ok()) {
        Ref::steal(bytes).reset();
        return Outcome::failed(result.error);
    }
    (void)_PyBytes_Resize(&bytes, result.count);
    return {Ref::steal(bytes)};
}

/// For no bytes at all the socket module asks no kernel, which would wait, or drop a datagram.
Outcome try_recv(SocketOperation& operation, int fd) {
    if (operation.size == 0) {
        return {Ref::steal(PyBytes_FromStringAndSize(nullptr, 0))};
    }
    return receive_bytes(operation, [fd](std::span<std::byte> room) { return receive(fd, room); });
}

Outcome try_recvfrom(SocketOperation& operation, int fd) {
    Address peer;
    Outcome outcome = receive_bytes(operation, [fd, &peer](std::span<std::byte> room) {
        const Received received = receive_from(fd, room);
        peer = received.peer;
        return received.result;
    });
    return outcome.value ? Outcome{pair_of(outcome.value, address_object(peer))}
                         : std::move(outcome);
}

Outcome try_recv_into(SocketOperation& operation, int fd) {
    RoomView room;
    if (!room.open(operation.object.get())) {  // let the socket say why
        return {Ref::steal(
            PyObject_CallMethod(operation.socket(), "recv_into", "O", operation.object.get()))};
    }
    const IoResult result =
        room.bytes().empty() ? IoResult{0, 0} : receive(fd, room.bytes());  // as in try_recv()
    return result.ok() ? Outcome{Ref::steal(PyLong_FromSsize_t(result.count))}
                       : Outcome::failed(result.error);
}

Outcome try_recvfrom_into(SocketOperation& operation, int fd) {
    RoomView room;
    if (!room.open(operation.object.get()) || room.bytes().size() < operation.size) {
        return {Ref::steal(PyObject_CallMethod(operation.socket(), "recvfrom_into", "On",
                                               operation.object.get(),
                                               static_cast<Py_ssize_t>(operation.size)))};
    }
    const Received received = receive_from(fd, room.bytes().first(operation.size));
    if (!received.result.ok()) {
        return Outcome::failed(received.result.error);
    }
    return {pair_of(Ref::steal(PyLong_FromSsize_t(received.result.count)),
                    address_object(received.peer))};
}

/// The data of a sending operation, kept in place until it ends; null with an exception set.
const BytesView* open_data(SocketOperation& operation) {
    if (operation.view) {
        return &*operation.view;
    }
    BytesView& view = operation.view.emplace();
    return view.open(operation.object.get()) ? &view : nullptr;
}

Outcome try_sendall(SocketOperation& operation, int fd) {
    const bool has_begun = std::exchange(operation.has_begun, true);
    if (operation.error != 0) {
        return {os_error(operation.error)};
    }
    const BytesView* const data = open_data(operation);
    if (data == nullptr) {
        return {};
    }
    const auto rest = data->bytes().subspan(operation.sent);
    if (rest.empty() && has_begun) {
        return {Ref::none()};
    }
    const IoResult result = send(fd, rest);
    if (!result.ok() && !result.would_block()) {
        operation.error = result.error;
        return {os_error(result.error)};
    }
    operation.sent += result.size();
    return result.size() == rest.size() ? Outcome{Ref::none()} : Outcome::blocked();
}

Outcome try_sendto(SocketOperation& operation, int fd) {
    const BytesView* const data = open_data(operation);
    if (data == nullptr || PySys_Audit("socket.sendto", "OO", operation.socket(),
                                       operation.address_as_given.get()) < 0) {
        return {};
    }
    const IoResult result = send_to(fd, data->bytes(), operation.address);
    return result.ok() ? Outcome{Ref::steal(PyLong_FromSsize_t(result.count))}
                       : Outcome::failed(result.error);
}

bool is_under_way(int error) noexcept { return error == EINPROGRESS || error == EALREADY; }

Outcome finish_connecting(SocketOperation& operation, int fd) {
    const int error = take_error(fd);
    if (error == 0) {
        return {Ref::none()};
    }
    if (is_under_way(error) || error == EAGAIN) {
        return Outcome::blocked();
    }
    const Ref text = Ref::steal(
        PyUnicode_FromFormat("Connect call failed %S", operation.address_as_given.get()));
    const Ref failure =
        text ? Ref::steal(PyObject_CallFunction(PyExc_OSError, "iO", error, text.get())) : Ref{};
    if (failure) {
        PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(failure.get())), failure.get());
    }
    return {};
}

Outcome try_connect(SocketOperation& operation, int fd) {
    if (std::exchange(operation.has_begun, true)) {
        return finish_connecting(operation, fd);
    }
    if (PySys_Audit("socket.connect", "OO", operation.socket(), operation.address_as_given.get()) <
        0) {
        return {};
    }
    const int error = start_connecting(fd, operation.address);
    if (error == 0) {
        return {Ref::none()};
    }
    // EAGAIN: the backlog of a Unix socket is full, and nothing is under way that could be waited
    // for.
    return is_under_way(error) ? Outcome::blocked() : Outcome{os_error(error)};
}

/// An attribute of _socket.socket, as the number that it is there. -1 with an exception set.
int number_of(const Ref& member, PyObject* socket) {
    const Ref value = Ref::steal(
        Py_TYPE(member.get())
            ->tp_descr_get(member.get(), socket, reinterpret_cast<PyObject*>(Py_TYPE(socket))));
    return value ? static_cast<int>(PyLong_AsLong(value.get())) : -1;
}

/// The socket object of an accepted connection. SOCK_NONBLOCK tells it that it need not be made
/// non-blocking.
Ref make_socket(const LoopState& state, PyObject* listening, OwnedFd& connection) {
    Ref socket = Ref::steal(PyObject_CallFunction(
        state.socket_type.get(), "iiii", number_of(state.sockets.family, listening),
        number_of(state.sockets.kind, listening) | SOCK_NONBLOCK,
        number_of(state.sockets.protocol, listening), connection.get()));
    if (socket) {
        (void)connection.release();
    }
    return socket;
}

Outcome try_accept(SocketOperation& operation, int fd) {
    Accepted accepted = accept_one(fd);
    if (accepted.error != 0) {
        return Outcome::failed(accepted.error);
    }
    const Ref socket =
        make_socket(operation.loop().state(), operation.socket(), accepted.connection);
    return {socket ? pair_of(socket, address_object(accepted.peer)) : Ref{}};
}

constexpr SocketCall k_recv{"sock_recv", Direction::reading, &try_recv};
constexpr SocketCall k_recv_into{"sock_recv_into", Direction::reading, &try_recv_into};
constexpr SocketCall k_recvfrom{"sock_recvfrom", Direction::reading, &try_recvfrom};
constexpr SocketCall k_recvfrom_into{"sock_recvfrom_into", Direction::reading, &try_recvfrom_into};
constexpr SocketCall k_sendall{"sock_sendall", Direction::writing, &try_sendall, true};
constexpr SocketCall k_sendto{"sock_sendto", Direction::writing, &try_sendto};
constexpr SocketCall k_connect{"sock_connect", Direction::writing, &try_connect};
constexpr SocketCall k_accept{"sock_accept", Direction::reading, &try_accept};

/// What asyncio's own method answers.
Ref inherited(Loop& loop, const char* name, const CallArguments& arguments) {
    const Ref parent = Ref::steal(
        PyObject_CallFunctionObjArgs(reinterpret_cast<PyObject*>(&PySuper_Type),
                                     loop.state().loop_type.get(), loop.self(), nullptr));
    const Ref method = parent ? Ref::steal(PyObject_GetAttrString(parent.get(), name)) : Ref{};
    return method ? Ref::steal(PyObject_Vectorcall(method.get(), arguments.values,
                                                   static_cast<std::size_t>(arguments.positional),
                                                   arguments.names))
                  : Ref{};
}

bool is_plain(const Loop& loop, PyObject* socket) noexcept {
    return Py_IS_TYPE(socket, reinterpret_cast<PyTypeObject*>(loop.state().socket_type.get()));
}

/// The family of a plain socket, if its addresses are known here.
std::optional<int> plain_family(const Loop& loop, PyObject* socket) {
    if (!is_plain(loop, socket)) {
        return std::nullopt;
    }
    const int family = number_of(loop.state().sockets.family, socket);
    PyErr_Clear();
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX ? std::optional{family}
                                                                        : std::nullopt;
}

/// Whether the calls that have no flag for it will not block either.
bool is_non_blocking(PyObject* socket) {
    const Ref timeout = Ref::steal(PyObject_CallMethod(socket, "gettimeout", nullptr));
    if (!timeout) {
        PyErr_Clear();
        return false;
    }
    return PyFloat_CheckExact(timeout.get()) && PyFloat_AS_DOUBLE(timeout.get()) == 0.0;
}

/// A count of bytes; nothing, and no exception, for all that is none or not simply an int.
std::optional<std::size_t> size_of(PyObject* object) {
    const Py_ssize_t size = PyLong_CheckExact(object) ? PyLong_AsSsize_t(object) : -1;
    if (size < 0) {
        PyErr_Clear();
        return std::nullopt;
    }
    return static_cast<std::size_t>(size);
}

Ref sock_recv(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<2> k_signature{
        k_recv.name, {"sock", "n"}, {Parameter::required, Parameter::required}};
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto size = is_plain(*self.loop, (*bound)[0]) ? size_of((*bound)[1]) : std::nullopt;
    if (!size) {
        return inherited(*self.loop, k_recv.name, arguments);
    }
    Ref operation = make_operation(*self.loop, (*bound)[0], k_recv);
    if (operation) {
        operation_of(operation.get()).size = *size;
    }
    return operation;
}

Ref sock_recvfrom(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<2> k_signature{
        k_recvfrom.name, {"sock", "bufsize"}, {Parameter::required, Parameter::required}};
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto size = plain_family(*self.loop, (*bound)[0]) ? size_of((*bound)[1]) : std::nullopt;
    if (!size) {
        return inherited(*self.loop, k_recvfrom.name, arguments);
    }
    Ref operation = make_operation(*self.loop, (*bound)[0], k_recvfrom);
    if (operation) {
        operation_of(operation.get()).size = *size;
    }
    return operation;
}

Ref sock_recvfrom_into(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<3> k_signature{
        k_recvfrom_into.name,
        {"sock", "buf", "nbytes"},
        {Parameter::required, Parameter::required, Parameter::optional}};
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto [socket, buffer, count] = *bound;
    std::optional<std::size_t> size = count != nullptr ? size_of(count) : std::size_t{0};
    if (size == std::size_t{0}) {  // as in asyncio: its length, in items
        const Py_ssize_t length = PyObject_Length(buffer);
        if (length < 0 && PyErr_ExceptionMatches(PyExc_Exception) == 0) {
            return {};
        }
        PyErr_Clear();
        size = length >= 0 ? std::optional{static_cast<std::size_t>(length)} : std::nullopt;
    }
    if (!size || !plain_family(*self.loop, socket)) {
        return inherited(*self.loop, k_recvfrom_into.name, arguments);
    }
    Ref operation = make_operation(*self.loop, socket, k_recvfrom_into);
    if (operation) {
        operation_of(operation.get()).size = *size;
        operation_of(operation.get()).object = Ref::borrow(buffer);
    }
    return operation;
}

/// The two that take a socket and something with bytes, and nothing else.
Ref with_buffer(LoopObject& self, const CallArguments& arguments, const Signature<2>& signature,
                const SocketCall& call) {
    const auto bound = signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto [socket, buffer] = *bound;
    if (!is_plain(*self.loop, socket)) {
        return inherited(*self.loop, call.name, arguments);
    }
    Ref operation = make_operation(*self.loop, socket, call);
    if (operation) {
        operation_of(operation.get()).object = Ref::borrow(buffer);
    }
    return operation;
}

Ref sock_recv_into(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<2> k_signature{
        k_recv_into.name, {"sock", "buf"}, {Parameter::required, Parameter::required}};
    return with_buffer(self, arguments, k_signature, k_recv_into);
}

Ref sock_sendall(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<2> k_signature{
        k_sendall.name, {"sock", "data"}, {Parameter::required, Parameter::required}};
    return with_buffer(self, arguments, k_signature, k_sendall);
}

Ref sock_sendto(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<3> k_signature{
        k_sendto.name,
        {"sock", "data", "address"},
        {Parameter::required, Parameter::required, Parameter::required}};
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto [socket, data, given] = *bound;
    const auto family = plain_family(*self.loop, socket);
    const auto address = family ? plain_address(*family, given) : std::nullopt;
    if (!address) {
        return inherited(*self.loop, k_sendto.name, arguments);
    }
    Ref coroutine = make_operation(*self.loop, socket, k_sendto);
    if (coroutine) {
        SocketOperation& operation = operation_of(coroutine.get());
        operation.object = Ref::borrow(data);
        operation.address = *address;
        operation.address_as_given = Ref::borrow(given);
    }
    return coroutine;
}

Ref sock_connect(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<2> k_signature{
        k_connect.name, {"sock", "address"}, {Parameter::required, Parameter::required}};
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    const auto [socket, given] = *bound;
    const auto family = plain_family(*self.loop, socket);
    const auto address = family ? plain_address(*family, given) : std::nullopt;
    if (!address || !(self.loop->is_debug() || is_non_blocking(socket))) {
        return inherited(*self.loop, k_connect.name, arguments);
    }
    Ref resolved = resolved_address(*address, given);
    Ref coroutine = resolved ? make_operation(*self.loop, socket, k_connect) : Ref{};
    if (coroutine) {
        SocketOperation& operation = operation_of(coroutine.get());
        operation.address = *address;
        operation.address_as_given = std::move(resolved);
    }
    return coroutine;
}

Ref sock_accept(LoopObject& self, const CallArguments& arguments) {
    static constexpr Signature<1> k_signature{k_accept.name, {"sock"}, {Parameter::required}};
    const auto bound = k_signature.bind(arguments);
    if (!bound) {
        return {};
    }
    PyObject* const socket = (*bound)[0];
    if (!plain_family(*self.loop, socket) || !(self.loop->is_debug() || is_non_blocking(socket))) {
        return inherited(*self.loop, k_accept.name, arguments);
    }
    return make_operation(*self.loop, socket, k_accept);
}

#define PYEPOLL_RECEIVING_RULES                                                                \
    "\n\nThe socket must be non-blocking. Cancelled while it waits, it has received nothing. " \
    "Raises\nOSError as the call does, and RuntimeError when a transport uses the socket. On " \
    "the loop's\nthread only."

constexpr const char* k_recv_text =
    "sock_recv($self, sock, n)\n--\n\n"
    "Receive up to n bytes from a socket; b'' at its end." PYEPOLL_RECEIVING_RULES;
constexpr const char* k_recv_into_text =
    "sock_recv_into($self, sock, buf)\n--\n\n"
    "Receive into a writable buffer; return the number of bytes." PYEPOLL_RECEIVING_RULES;
constexpr const char* k_recvfrom_text =
    "sock_recvfrom($self, sock, bufsize)\n--\n\n"
    "Receive a datagram of up to bufsize bytes; return it and who sent it."  //
    PYEPOLL_RECEIVING_RULES;
constexpr const char* k_recvfrom_into_text =
    "sock_recvfrom_into($self, sock, buf, nbytes=0)\n--\n\n"
    "Receive a datagram into a writable buffer; return its size and who sent it.\n\n"
    "nbytes limits the size; 0 is the length of the buffer." PYEPOLL_RECEIVING_RULES;
constexpr const char* k_sendall_text =
    "sock_sendall($self, sock, data)\n--\n\n"
    "Send all bytes of data, any contiguous buffer, through a connected socket.\n"
    "\n"
    "The buffer is locked until then. After an error or when it was cancelled nobody knows how\n"
    "much was sent. The socket must be non-blocking. On the loop's thread only.";
constexpr const char* k_sendto_text =
    "sock_sendto($self, sock, data, address)\n--\n\n"
    "Send a datagram to an address; return the number of bytes sent.\n"
    "\n"
    "The socket must be non-blocking. A host name is resolved on this thread, as\n"
    "socket.sendto() does it. On the loop's thread only.";
constexpr const char* k_connect_text =
    "sock_connect($self, sock, address)\n--\n\n"
    "Connect a socket to an address; a host name is resolved first.\n"
    "\n"
    "The socket must be non-blocking. Raises OSError: ConnectionRefusedError and others;\n"
    "BlockingIOError when the backlog of a Unix socket is full. On the loop's thread only.";
constexpr const char* k_accept_text =
    "sock_accept($self, sock)\n--\n\n"
    "Accept a connection: its non-blocking socket object, and the address of the peer.\n"
    "\n"
    "The socket must be listening and non-blocking. Cancelled while it waits, it has accepted\n"
    "nothing. On the loop's thread only.";

#undef PYEPOLL_RECEIVING_RULES

}  // namespace

void append_socket_methods(std::vector<PyMethodDef>& methods) {
    methods.insert(methods.end(),
                   {make_method<sock_recv>(k_recv.name, k_recv_text),
                    make_method<sock_recv_into>(k_recv_into.name, k_recv_into_text),
                    make_method<sock_recvfrom>(k_recvfrom.name, k_recvfrom_text),
                    make_method<sock_recvfrom_into>(k_recvfrom_into.name, k_recvfrom_into_text),
                    make_method<sock_sendall>(k_sendall.name, k_sendall_text),
                    make_method<sock_sendto>(k_sendto.name, k_sendto_text),
                    make_method<sock_connect>(k_connect.name, k_connect_text),
                    make_method<sock_accept>(k_accept.name, k_accept_text)});
}

}  // namespace epoll::python
