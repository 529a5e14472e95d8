#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include <epoll/loop/reactor.hpp>

#include "../gil.hpp"
#include "../python.hpp"
#include "../ref.hpp"
#include "context_cache.hpp"
#include "held_handles.hpp"
#include "loop_state.hpp"
#include "observation.hpp"

namespace epoll::python {

class FdWatches;
class Acceptors;
class Transports;
struct DatagramShare;
class Pipes;

/// What belongs to a failure besides the exception: the entries of the context that asyncio's
/// exception handlers get. Null: there is no such entry.
struct FailureContext {
    const char* message;
    PyObject* protocol = nullptr;
    PyObject* transport = nullptr;
};

/// The native half of an event loop: a reactor and the Python objects that it calls.
///
/// It belongs to its Python object (LoopObject) and to one thread, the one that runs it; before it
/// runs, to the thread that uses it. Everything but call_soon_threadsafe() is for that thread.
class Loop final : public ListHook<LiveTag>, private WaitObserver {
  public:
    /// `module` is the one of `state`. set_self() follows before anything else is done with it; it
    /// is not open before set_closed(false), which asyncio's __init__() does. Throws
    /// std::system_error when there is no descriptor left.
    Loop(LoopState& state, Ref module);
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;
    ~Loop();

    [[nodiscard]] LoopState& state() const noexcept { return state_; }
    /// Borrowed: the Python object owns this.
    [[nodiscard]] PyObject* self() const noexcept { return self_; }
    void set_self(PyObject* self) noexcept { self_ = self; }
    [[nodiscard]] Reactor& reactor() noexcept { return *reactor_; }
    [[nodiscard]] FdWatches& watches() noexcept { return *watches_; }
    [[nodiscard]] Acceptors& acceptors() noexcept { return *acceptors_; }
    [[nodiscard]] Transports& transports() noexcept { return *transports_; }
    [[nodiscard]] Pipes& pipes() noexcept { return *pipes_; }

    [[nodiscard]] ContextCache& contexts() noexcept { return contexts_; }
    [[nodiscard]] HeldHandles& handles() noexcept { return handles_; }

    [[nodiscard]] bool is_closed() const noexcept { return is_closed_; }
    /// As asyncio has it: true from the beginning of run_forever() to its end.
    [[nodiscard]] bool is_running() const noexcept { return thread_ != 0; }
    [[nodiscard]] bool is_debug() const noexcept { return observation_.is_debug(); }
    void set_debug(bool is_debug) noexcept { observation_.set_debug(is_debug); }
    [[nodiscard]] Observation& observation() noexcept { return observation_; }
    void set_closed(bool is_closed) noexcept {
        is_closed_ = is_closed;
        if (!is_closed) {
            was_opened_ = true;
        }
    }

    /// The thread that runs the loop, 0 when none does: loop._thread_id.
    [[nodiscard]] unsigned long thread() const noexcept { return thread_; }
    void set_thread(unsigned long thread) noexcept;

    /// True on the thread that runs the loop, or, when none does, on the last that did or the one
    /// that made it.
    [[nodiscard]] bool is_own_thread() const noexcept {
        return home_ == PyThread_get_thread_ident();
    }

    /// loop._stopping: stop() has been called, and run_forever() has not returned since.
    [[nodiscard]] bool is_stopping() const noexcept { return is_stopping_; }
    void set_stopping(bool is_stopping) noexcept;

    /// The reactor is in a turn, or waits.
    [[nodiscard]] bool is_driving() const noexcept { return is_driving_; }

    /// False with RuntimeError: 'Event loop is closed', or that it never was open, or that it is
    /// the parent's.
    [[nodiscard]] bool require_open() const noexcept {
        return (!is_closed_ && !is_forked_) || refuse_use();
    }

    /// In debug mode: false with asyncio's RuntimeError on any thread but the one that runs the
    /// loop.
    [[nodiscard]] bool require_thread() const noexcept {
        return !is_debug() || require_thread_now();
    }

    /// loop.call_soon(): schedules callback(*arguments) and answers its Handle. A null or None
    /// context is a copy of the current one. Checks nothing.
    [[nodiscard]] Ref call_soon(PyObject* callback, std::span<PyObject* const> arguments,
                                PyObject* context);

    /// loop._task_factory, borrowed: None or a callable.
    [[nodiscard]] PyObject* task_factory() const noexcept { return task_factory_.get(); }
    void set_task_factory(Ref factory) noexcept { task_factory_ = std::move(factory); }

    /// {"loop": this loop}, borrowed: what futures and tasks are made with. Null with an exception
    /// set.
    [[nodiscard]] PyObject* creation_keywords() noexcept;

    /// Runs the reactor until stop(), or until an exception must leave run_forever(): false with
    /// that exception set.
    [[nodiscard]] bool run();

    /// As run(), for one turn.
    [[nodiscard]] bool run_turn();

    /// loop.stop(), from any thread.
    void stop() noexcept { set_stopping(true); }

    /// Wakes the loop; any thread.
    void wake() noexcept;

    /// To be called for each callback: handlers of signals run also where no Python code does.
    void note_callback() noexcept {
        callbacks_.add(1);
        if (callbacks_.value() % k_callbacks_between_signals == 0) {
            check_signals();
        }
    }

    /// A number that is another one as soon as the loop's thread has done anything; nothing while
    /// it rests, and when nobody runs the loop. Any thread.
    [[nodiscard]] std::optional<std::uint64_t> progress() const noexcept;

    /// The last part of loop.close(): drops what is scheduled, stops watching, closes the
    /// descriptors. Nothing may be scheduled afterwards.
    void close() noexcept;

    /// For callbacks of the core in which Python code has raised (the exception is set, and is gone
    /// afterwards). KeyboardInterrupt and SystemExit leave run_forever(), and nothing that is
    /// scheduled is lost. Anything else goes to the loop's call_exception_handler().
    void report_failure(const FailureContext& context) noexcept;

    /// As report_failure() for a callback of a Handle.
    void report_handle_failure(PyObject* handle) noexcept;

    /// True when the exception that is set must leave run_forever(); it is kept for run() then, and
    /// this turn ends as soon as the present callback returns.
    [[nodiscard]] bool leaves_run() noexcept;

    /// An exception is about to leave run_forever(): nothing more may be called in this turn.
    [[nodiscard]] bool is_leaving() const noexcept { return static_cast<bool>(failure_); }

    /// 256 KiB for the present read, shared by all streams of the loop; its content is lost at the
    /// next one.
    [[nodiscard]] std::span<std::byte> read_buffer();

    /// What the transports of datagrams share; made for the first of them.
    [[nodiscard]] DatagramShare& datagrams();

    /// In the child of a fork: the epoll instance is the parent's and must not be touched. It is
    /// replaced by a new one in which nothing is registered; the loop cannot be run any more.
    void on_fork() noexcept;

    int traverse(visitproc visit, void* arg) noexcept;
    void clear() noexcept;

  private:
    static constexpr unsigned k_callbacks_between_signals = 64;

    [[nodiscard]] bool refuse_use() const noexcept;
    [[nodiscard]] bool require_thread_now() const noexcept;
    template <class Drive>
    [[nodiscard]] bool drive(Drive drive);
    void leave_run(Ref exception) noexcept;
    void check_signals() noexcept;
    void on_wake() noexcept {}

    void on_block() noexcept override;
    void on_unblock() noexcept override;
    [[nodiscard]] bool prefers_polling() noexcept override;

    LoopState& state_;
    Ref module_;  ///< whose state it is
    PyObject* self_ = nullptr;
    std::unique_ptr<Reactor> reactor_;
    HeldHandles handles_;
    ContextCache contexts_;
    std::unique_ptr<FdWatches> watches_;
    std::unique_ptr<Acceptors> acceptors_;
    std::unique_ptr<DatagramShare> datagrams_;
    std::unique_ptr<Transports> transports_;
    std::unique_ptr<Pipes> pipes_;
    std::unique_ptr<std::byte[]> read_buffer_;
    std::optional<GilReleased> released_;
    MemberDeferred<Loop, &Loop::on_wake> wake_{*this};
    Ref task_factory_ = Ref::none();
    Ref creation_keywords_;
    Ref failure_;  ///< the exception that leaves run_forever()
    Counter callbacks_;
    Observation observation_;
    std::atomic<unsigned long> thread_ = 0;
    std::atomic<unsigned long> home_;
    std::atomic<bool> is_closed_ = true;
    std::atomic<bool> is_stopping_ = false;
    std::atomic<bool> was_opened_ = false;
    std::atomic<bool> is_driving_ = false;
    bool is_forked_ = false;
};

/// The Python object epoll._loop.Loop: the base class of epoll.EventLoop.
struct LoopObject {
    PyObject_HEAD
    Loop* loop;  ///< never null: it is made first

    [[nodiscard]] PyObject* as_python() noexcept { return reinterpret_cast<PyObject*>(this); }
};

/// The loop of a LoopObject, or of an object derived from it.
[[nodiscard]] inline Loop& loop_of(PyObject* object) noexcept {
    return *reinterpret_cast<LoopObject*>(object)->loop;
}

}  // namespace epoll::python
