#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <epoll/poll/events.hpp>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

class Loop;

/// What a descriptor is watched for.
enum class Direction : unsigned char { reading, writing };

/// Something native that waits for a descriptor, in the place of a Handle.
class FdWaiter {
  public:
    /// The descriptor is ready, or broken: the next read or write says which. It does not wait any
    /// more; it may wait again inside.
    virtual void on_fd_ready() noexcept = 0;

  protected:
    ~FdWaiter() = default;
};

/// The descriptors that a program watches on one loop: add_reader(), add_writer() and what their
/// underscored forms are used for in asyncio, and the sock_* operations.
///
/// A descriptor has two places, for reading and for writing, and in each at most one who waits, a
/// Handle or an FdWaiter; who comes later puts the earlier one out, as in asyncio. What has become
/// ready is called in the dispatch phase, the reader before the writer, and only who waited already
/// when the kernel was asked. Nothing that was removed or put out is called.
///
/// What nobody wants any more stays registered in the kernel until it is reported once in vain, so
/// that waiting again costs nothing. Two rules make that safe although programs close descriptors
/// as they like and the kernel gives the numbers away again:
///  - Every add() asks the kernel whether it still knows the number for the same file, and
///  registers
///    it anew if not; who waited for the closed file is put out. (A number that is still known
///    stands for the file that was registered: a closed file leaves epoll, and where a dup keeps it
///    there, the new file of that number is not known.)
///  - wait() asks only when the socket object is another one than before. A socket object is bound
///    to its descriptor for life. (Not seen is a dup2(2) onto the number of a socket object.)
///
/// On the loop's thread only.
class FdWatches {
  public:
    explicit FdWatches(Loop& loop) noexcept;
    FdWatches(const FdWatches&) = delete;
    FdWatches& operator=(const FdWatches&) = delete;
    ~FdWatches();

    /// _add_reader(), _add_writer(): the new Handle. `file` is an int or has fileno(). RuntimeError
    /// when the loop is closed, ValueError for no descriptor, OSError when the kernel refuses
    /// (PermissionError: a regular file; EBADF: nothing open); whose place it was is cancelled.
    [[nodiscard]] Ref add(Direction direction, PyObject* file, PyObject* callback,
                          std::span<PyObject* const> arguments, PyObject* context);

    /// _remove_reader(), _remove_writer(): 1 when somebody waited there, who is cancelled; 0 when
    /// not or when the loop is closed; -1 with an exception set.
    [[nodiscard]] int remove(Direction direction, PyObject* file);

    /// What `fd` is waited for; nothing for what is no descriptor.
    [[nodiscard]] Events waited_for(int fd) noexcept;

    /// Calls `waiter` once, when `fd` is ready. `fd` is what `socket` (a weakly referenceable
    /// object) has for life; `owner` is what keeps the waiter alive, and is kept alive until then.
    /// False with an exception set when the kernel refuses or a transport uses the descriptor.
    [[nodiscard]] bool wait(Direction direction, int fd, PyObject* socket, PyObject* owner,
                            FdWaiter& waiter);

    /// The waiter will not be called; nothing happens when it does not wait.
    void stop_waiting(Direction direction, int fd, const FdWaiter& waiter) noexcept;

    /// asyncio's _ensure_fd_no_transport(): false with RuntimeError when a transport that is not
    /// closing uses the descriptor, one that adopt() told of or one in the loop's dict _transports;
    /// with ValueError when `file` is no descriptor.
    [[nodiscard]] bool require_no_transport(PyObject* file);

    /// A transport (borrowed: it calls forget() before it dies) uses `fd` from now on. To be called
    /// before it watches it: who waited for that number is put out, and the registration removed.
    void adopt(int fd, PyObject* transport);
    void forget(int fd) noexcept;

    /// Takes a registration of ours away, if there is one: for whoever is about to watch `fd`
    /// himself, as a listener does. Who waits is put out.
    void release(int fd) noexcept;

    /// Puts everybody out and watches nothing any more, for the end of the loop.
    void close() noexcept;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept { close(); }

  private:
    class Watch;
    struct Entry {
        std::unique_ptr<Watch> watch;
        PyObject* transport = nullptr;  ///< borrowed
    };

    [[nodiscard]] Entry* find(int fd) noexcept;
    [[nodiscard]] Entry& at(int fd);
    template <class WatchIt>
    [[nodiscard]] Watch& watched(int fd, WatchIt watch_it);
    [[nodiscard]] bool require_no_transport(int fd, PyObject* named);
    [[nodiscard]] Ref inherited_transport(int fd);

    Loop& loop_;
    std::vector<Entry> entries_;  ///< by descriptor
    Ref inherited_transports_;    ///< the loop's _transports, once it was seen,
    Ref inherited_data_;          ///< and the dict that is in it
};

}  // namespace epoll::python
