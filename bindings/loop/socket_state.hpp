#pragma once

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

/// What the sock_* operations need, looked up once. Part of LoopState.
struct SocketState {
    Ref operation_type;  ///< what their coroutines are

    // Names of methods, interned.
    Ref create_future, done, set_result, fileno;

    // Attributes of _socket.socket: plain numbers there, where socket.socket makes enums of them.
    Ref family, kind, protocol;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;
};

}  // namespace epoll::python
