#pragma once

#include <cstddef>
#include <optional>

#include <epoll/base/io_result.hpp>
#include <epoll/net/address.hpp>

#include "../buffers.hpp"
#include "../python.hpp"
#include "../ref.hpp"
#include "fd_watches.hpp"
#include "loop.hpp"

namespace epoll::python {

class SocketOperation;

/// What a try has come to: a value; or an exception, which is set, when there is none; or that it
/// would have blocked.
struct [[nodiscard]] Outcome {
    Ref value;
    bool would_block = false;

    [[nodiscard]] static Outcome blocked() noexcept { return {Ref{}, true}; }

    /// OSError for the error of a call, if it is one.
    [[nodiscard]] static Outcome failed(int error) noexcept;
};

/// A kind of operation: sock_recv() is one.
struct SocketCall {
    const char* name;
    Direction direction;

    /// Tries to do it, without blocking, with the socket's present descriptor, which is -1 when the
    /// socket is closed. Called when it starts and whenever the descriptor was ready.
    Outcome (*attempt)(SocketOperation& operation, int fd);

    /// Its work is done as soon as the descriptor is ready, not when the task runs again: sending
    /// many bytes takes many tries. Such a try is called without a look at what came of it; the
    /// next one answers.
    bool works_when_ready = false;
};

/// One sock_* operation: what asyncio makes a coroutine of.
///
/// It starts when it is awaited first, and tries at once. If that would block, it waits for the
/// descriptor and for a future of the loop, which is what the task sees, and which becomes done
/// when the descriptor is ready. Only when the task runs then does the operation try again. So
/// whatever cancels it before has lost nothing: no byte was read and no connection accepted.
class SocketOperation final : private FdWaiter {
  public:
    /// `self` (borrowed) is the object that it belongs to, `socket` a socket.socket.
    SocketOperation(PyObject* self, Loop& loop, PyObject* socket, const SocketCall& call) noexcept
        : self_(self),
          loop_object_(Ref::borrow(loop.self())),
          loop_(loop),
          socket_(Ref::borrow(socket)),
          call_(call) {}

    // What the coroutine is made of.
    [[nodiscard]] PySendResult send(PyObject* value, PyObject** result);
    [[nodiscard]] Ref raise(PyObject* type, PyObject* value, PyObject* traceback);
    [[nodiscard]] bool close() noexcept;  ///< false with ValueError: it runs
    void warn_unless_awaited() noexcept;
    [[nodiscard]] const char* name() const noexcept { return call_.name; }
    [[nodiscard]] PyObject* future() const noexcept { return future_.get(); }
    [[nodiscard]] bool is_created() const noexcept { return state_ == State::created; }
    [[nodiscard]] bool is_running() const noexcept { return state_ == State::running; }
    [[nodiscard]] bool is_suspended() const noexcept { return future_ && !is_running(); }

    // What the kinds of operation use.
    [[nodiscard]] Loop& loop() const noexcept { return loop_; }
    [[nodiscard]] PyObject* socket() const noexcept { return socket_.get(); }

    // What the kinds of operation keep.
    Ref object;                     ///< the buffer, or the data
    Ref address_as_given;           ///< as the program wrote it, or as asyncio resolves it
    Address address;                ///< where to
    std::optional<BytesView> view;  ///< of the data, from the first try on
    std::size_t size = 0;           ///< how many bytes may come
    std::size_t sent = 0;
    int error = 0;           ///< what a try that nobody looked at has come to
    bool has_begun = false;  ///< a connection is being made

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;

  private:
    enum class State : unsigned char { created, running, waiting, finished };

    void on_fd_ready() noexcept override;
    [[nodiscard]] int descriptor() const;
    [[nodiscard]] bool require_non_blocking() const;
    [[nodiscard]] PySendResult step(PyObject** result);
    [[nodiscard]] PySendResult begin_waiting(int fd, PyObject** result);
    [[nodiscard]] bool has_done_future() noexcept;
    void stop_waiting() noexcept;
    void finish() noexcept;

    PyObject* self_;
    Ref loop_object_;
    Loop& loop_;
    Ref socket_;
    const SocketCall& call_;
    Ref future_;    ///< while it waits
    Ref iterator_;  ///< of the future: what `await` would use
    int waits_for_ = -1;
    State state_ = State::created;
};

/// The coroutine of an operation that was not started; empty with an exception set. What the kind
/// keeps is set through operation_of() before it is handed out.
[[nodiscard]] Ref make_operation(Loop& loop, PyObject* socket, const SocketCall& call);
[[nodiscard]] SocketOperation& operation_of(PyObject* coroutine) noexcept;

}  // namespace epoll::python
