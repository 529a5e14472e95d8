#include <array>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../buffers.hpp"
#include "../errors.hpp"
#include "loop_state.hpp"
#include "pipe_transport.hpp"

namespace epoll::python {

namespace {

/// asyncio's constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES.
constexpr unsigned k_quiet_lost_writes = 5;

void release_object(void* object) noexcept { Ref::steal(static_cast<PyObject*>(object)).reset(); }

}  // namespace

/// Only a file that nobody can read from here becomes readable by the end of the other side: what
/// is in a fifo that is open for both would seem to be that, too.
bool WritePipe::accepts(unsigned mode) noexcept {
    const bool is_fifo = S_ISFIFO(mode);
    const bool is_socket = S_ISSOCK(mode);
    if (!is_fifo && !is_socket && !S_ISCHR(mode)) {
        (void)error(PyExc_ValueError,
                    "Pipe transport is only for pipes, sockets and character devices");
        return false;
    }
    const bool is_write_only = (::fcntl(fd(), F_GETFL) & O_ACCMODE) == O_WRONLY;
    tells_of_peer_ = is_socket || (is_fifo && is_write_only);
    return true;
}

void WritePipe::begin() noexcept {
    if (!is_closing() && tells_of_peer_) {
        watch(Events::readable);
    }
}

void WritePipe::on_ready(Events ready) noexcept {
    const Ref self = Ref::borrow(this->self());
    if (has_any(ready, Events::readable)) {
        on_peer_closed();
    } else if (has_any(ready, Events::writable)) {
        write_queue();
    }
}

void WritePipe::on_peer_closed() noexcept {
    log("%r was closed by peer");
    if (queue_.is_empty()) {
        force_close(Py_None);
        return;
    }
    const Ref exception = Ref::steal(PyObject_CallNoArgs(PyExc_BrokenPipeError));
    if (!exception) {
        PyErr_Clear();
    }
    force_close(exception ? exception.get() : Py_None);
}

// Writing

bool WritePipe::write(PyObject* data) {
    if (!PyBytes_Check(data) && !PyByteArray_Check(data) && !PyMemoryView_Check(data)) {
        (void)error(PyExc_TypeError, "data argument must be a bytes-like object, not %R",
                    Py_TYPE(data));
        return false;
    }
    {
        BytesView view;
        if (!view.open(data)) {
            return false;
        }
        if (view.bytes().empty() || refuses_writes()) {
            return PyErr_Occurred() == nullptr;
        }
        const std::size_t written = queue_.is_empty() ? write_now(view.bytes()) : 0;
        if (is_closing() || written == view.bytes().size()) {
            return true;
        }
        queue_rest(data, view.bytes().subspan(written));
    }
    if (!is_closing()) {  // the release of a view may be Python code
        watch(Events::writable);
    }
    return maybe_pause_protocol();
}

/// What is written goes nowhere, because the pipe is closed or closing; an exception may be set.
bool WritePipe::refuses_writes() noexcept {
    if (!is_closing()) {
        return false;
    }
    if (lost_writes_ >= k_quiet_lost_writes) {
        const LoopState& state = LoopState::of_type(Py_TYPE(self()));
        const Ref done =
            Ref::steal(PyObject_CallMethod(state.support.get(), "warn_lost_pipe_write", nullptr));
    }
    ++lost_writes_;
    return true;
}

std::size_t WritePipe::note_sent(ssize_t count) noexcept {
    const auto size = static_cast<std::size_t>(count);
    loop().reactor().traffic().bytes_sent.add(size);
    return size;
}

/// How much the kernel has taken. When it fails the transport closes.
std::size_t WritePipe::write_now(std::span<const std::byte> bytes) noexcept {
    const ssize_t count = ::write(file(), bytes.data(), bytes.size());
    if (count >= 0) {
        return note_sent(count);
    }
    if (errno != EAGAIN && errno != EINTR) {
        ++lost_writes_;
        fail(errno, "Fatal write error on pipe transport");
    }
    return 0;
}

void WritePipe::queue_rest(PyObject* data, std::span<const std::byte> rest) {
    if (PyBytes_CheckExact(data)) {
        queue_.append_owned(OwnedBytes{rest, Ref::borrow(data).release(), &release_object});
    } else {
        queue_.append_copy(rest);
    }
}

void WritePipe::write_queue() noexcept {
    std::array<iovec, ByteQueue::k_max_gather> room;
    const std::span<iovec> pieces = queue_.gather(room);
    const ssize_t count = ::writev(file(), pieces.data(), static_cast<int>(pieces.size()));
    if (count < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            ++lost_writes_;
            fail(errno, "Fatal write error on pipe transport");
        }
        return;
    }
    queue_.consume(note_sent(count));
    if (queue_.is_empty()) {
        unwant(Events::writable);
    }
    maybe_resume_protocol();  // which may write more
    if (is_closing() && queue_.is_empty()) {
        end_soon(Py_None);
    }
}

void WritePipe::close() noexcept {
    if (is_lost() || is_closing()) {
        return;
    }
    set_closing();
    if (queue_.is_empty()) {
        end_soon(Py_None);
    }
}

// Flow control

bool WritePipe::set_write_limits(const FlowLimits& limits) noexcept {
    limits_ = limits;
    return maybe_pause_protocol();
}

/// False with KeyboardInterrupt or SystemExit set: as in asyncio, the caller raises it.
bool WritePipe::maybe_pause_protocol() noexcept {
    if (is_protocol_paused_ || queue_.size() <= limits_.high || is_lost()) {
        return true;
    }
    is_protocol_paused_ = true;
    const Ref protocol = Ref::borrow(this->protocol());
    if (call_method(loop().state().streams.pause_writing, protocol.get())) {
        return true;
    }
    if (is_leaving_exception()) {
        return false;
    }
    report("protocol.pause_writing() failed");
    return true;
}

void WritePipe::maybe_resume_protocol() noexcept {
    if (is_protocol_paused_ && queue_.size() <= limits_.low) {
        is_protocol_paused_ = false;
        call(loop().state().streams.resume_writing, nullptr, "protocol.resume_writing() failed");
    }
}

}  // namespace epoll::python
