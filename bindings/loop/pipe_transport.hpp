#pragma once

#include <cstddef>
#include <span>

#include <epoll/base/byte_queue.hpp>
#include <epoll/base/intrusive_list.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/loop/source.hpp>

#include "../python.hpp"
#include "../ref.hpp"
#include "loop.hpp"
#include "pipes.hpp"
#include "transport_head.hpp"

namespace epoll::python {

/// What a new pipe transport is made of; all objects borrowed.
struct PipeParts {
    PyObject* pipe;  ///< an int is none: it must have fileno() and close()
    PyObject* protocol;
    PyObject* waiter = nullptr;  ///< a future to be set once connection_made() was called
    PyObject* extra = nullptr;   ///< a dict for get_extra_info(), kept
};

/// What the transports of both directions share: one end of a pipe, fifo, terminal or socket.
///
/// The pipe object of the program owns the descriptor: it is closed by its close(), right after
/// connection_lost(). What we watch, read and write is a duplicate of ours. So a program that
/// closes the object itself cannot have us use a number that is somebody else's by then; and its
/// number may have a transport for each direction, or be given to add_reader() besides, as in
/// asyncio: an epoll takes a descriptor only once. Its life: made, begun (connection_made() was
/// called), closing, lost; or abandoned, by the end of its loop. The loop's Pipes keep the Python
/// object alive until then.
class PipeTransport : public ListHook<LivePipeTag>, protected Source {
  public:
    PipeTransport(const PipeTransport&) = delete;
    PipeTransport& operator=(const PipeTransport&) = delete;
    using ListHook<LivePipeTag>::is_linked;
    using ListHook<LivePipeTag>::unlink;

    /// False with an exception set: ValueError when it is no file of the right kind. The pipe is
    /// still the caller's then.
    [[nodiscard]] bool start(const PipeParts& parts);

    void set_protocol(PyObject* protocol) noexcept { protocol_ = Ref::borrow(protocol); }
    /// Closes at once; connection_lost() gets `exception`, or None. Only the first time counts.
    void force_close(PyObject* exception) noexcept;

    [[nodiscard]] bool is_closing() const noexcept { return is_closing_; }
    [[nodiscard]] bool is_lost() const noexcept { return is_lost_; }
    [[nodiscard]] bool is_abandoned() const noexcept { return is_abandoned_; }

    // Borrowed, null for None.

    [[nodiscard]] PyObject* self() const noexcept { return self_; }
    [[nodiscard]] PyObject* loop_object() const noexcept { return loop_object_.get(); }
    [[nodiscard]] PyObject* protocol() const noexcept { return protocol_.get(); }
    [[nodiscard]] PyObject* pipe() const noexcept { return pipe_.get(); }
    /// The number of the pipe object, for who wants to know.
    [[nodiscard]] int fd() const noexcept { return fd_; }

    /// The loop ends: see Pipes::close().
    void abandon() noexcept;
    /// The pipe object is the program's again; connection_lost() is not called.
    void disown() noexcept;
    /// The object dies, or is garbage: warns if it was not closed, and closes the pipe.
    void finalize() noexcept;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;

  protected:
    PipeTransport(Loop& loop, PyObject* self) noexcept;
    ~PipeTransport();

    /// Watches the descriptor for `events` besides what it is watched for; closes by force when the
    /// kernel refuses.
    void watch(Events events) noexcept;
    /// A system call has failed: tells whom it concerns, and closes by force.
    void fail(int error, const char* message) noexcept;
    /// connection_lost() is scheduled; `exception` is what it gets, or None.
    void end_soon(PyObject* exception) noexcept;
    void set_closing() noexcept { is_closing_ = true; }
    /// object.name(argument), where the argument may be null, in the transport's context; what it
    /// raises is reported with `message`.
    void call(const Ref& name, PyObject* argument, const char* message) noexcept;
    void report(const char* message) noexcept;
    void log(const char* text) noexcept;
    [[nodiscard]] Loop& loop() noexcept { return loop_; }
    /// What is to be read and written.
    [[nodiscard]] int file() const noexcept { return file_.get(); }

  private:
    /// Whether the transport takes a file of this st_mode; false with ValueError set.
    [[nodiscard]] virtual bool accepts(unsigned mode) noexcept = 0;
    /// connection_made() was called.
    virtual void begin() noexcept = 0;
    /// Nothing is read or written any more.
    virtual void stop() noexcept = 0;
    /// An OSError with this number is the peer's doing, and no failure of the program.
    [[nodiscard]] virtual bool is_expected(int error) const noexcept = 0;

    void on_begin_due() noexcept;
    void on_end_due() noexcept;
    [[nodiscard]] PyObject*& extra_slot() noexcept;
    void close_pipe() noexcept;

    Loop& loop_;  ///< kept alive by loop_object_, so to be used only before the transport is lost
    PyObject* self_;
    Ref loop_object_;
    Ref protocol_;
    Ref context_;
    Ref pipe_;
    Ref waiter_;
    Ref end_exception_;  ///< for connection_lost()
    OwnedFd file_;       ///< a duplicate: see the class
    int fd_ = -1;        ///< the number of the pipe object
    bool is_closing_ = false;
    bool is_abandoned_ = false;
    bool is_lost_ = true;  ///< until start() has succeeded
    MemberDeferred<PipeTransport, &PipeTransport::on_begin_due> begin_due_{*this};
    MemberDeferred<PipeTransport, &PipeTransport::on_end_due> end_due_{*this};
};

/// The reading end: asyncio's _UnixReadPipeTransport.
class ReadPipe final : public PipeTransport {
  public:
    ReadPipe(Loop& loop, PyObject* self) noexcept : PipeTransport(loop, self) {}

    void close() noexcept { force_close(Py_None); }
    void pause_reading() noexcept;
    void resume_reading() noexcept;
    [[nodiscard]] bool is_paused() const noexcept { return is_paused_; }
    [[nodiscard]] bool is_reading() const noexcept { return !is_paused_ && !is_closing(); }
    [[nodiscard]] bool is_polling() const noexcept { return has_any(wanted(), Events::readable); }

  private:
    [[nodiscard]] bool accepts(unsigned mode) noexcept override;
    void begin() noexcept override;
    void stop() noexcept override {}
    [[nodiscard]] bool is_expected(int error) const noexcept override;
    void on_ready(Events ready) noexcept override;
    void on_eof_due() noexcept;

    bool is_begun_ = false;
    bool is_paused_ = false;
    MemberDeferred<ReadPipe, &ReadPipe::on_eof_due> eof_due_{*this};
};

/// The writing end: asyncio's _UnixWritePipeTransport. Writes at once; what the kernel does not
/// take is queued.
class WritePipe final : public PipeTransport {
  public:
    static constexpr std::size_t k_write_high = k_default_limits.high;

    WritePipe(Loop& loop, PyObject* self) noexcept : PipeTransport(loop, self) {}

    // bool results: false with an exception set.

    [[nodiscard]] bool write(PyObject* data);
    /// The pipe is closed once all is written.
    void close() noexcept;
    [[nodiscard]] bool set_write_limits(const FlowLimits& limits) noexcept;
    [[nodiscard]] FlowLimits write_limits() const noexcept { return limits_; }
    [[nodiscard]] std::size_t write_buffer_size() const noexcept { return queue_.size(); }
    [[nodiscard]] bool is_protocol_paused() const noexcept { return is_protocol_paused_; }
    [[nodiscard]] bool is_polling() const noexcept { return has_any(wanted(), Events::writable); }

  private:
    [[nodiscard]] bool accepts(unsigned mode) noexcept override;
    void begin() noexcept override;
    void stop() noexcept override { queue_.clear(); }
    [[nodiscard]] bool is_expected(int /*error*/) const noexcept override { return true; }
    void on_ready(Events ready) noexcept override;
    void on_peer_closed() noexcept;
    void write_queue() noexcept;

    [[nodiscard]] bool refuses_writes() noexcept;
    [[nodiscard]] std::size_t note_sent(ssize_t count) noexcept;
    [[nodiscard]] std::size_t write_now(std::span<const std::byte> bytes) noexcept;
    void queue_rest(PyObject* data, std::span<const std::byte> rest);
    [[nodiscard]] bool maybe_pause_protocol() noexcept;
    void maybe_resume_protocol() noexcept;

    ByteQueue queue_;
    FlowLimits limits_ = k_default_limits;
    unsigned lost_writes_ = 0;
    bool tells_of_peer_ = false;  ///< the file is readable once nobody reads from the other end
    bool is_protocol_paused_ = false;
};

struct ReadPipeObject : TransportHead<0> {
    ReadPipe transport;
};

/// An asyncio.Transport by its base, as asyncio's own is.
struct WritePipeObject : TransportHead<4> {
    WritePipe transport;
};

}  // namespace epoll::python
