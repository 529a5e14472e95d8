#include <cerrno>
#include <new>

#include <sys/stat.h>
#include <unistd.h>

#include "../errors.hpp"
#include "loop_state.hpp"
#include "pipe_transport.hpp"

namespace epoll::python {

bool ReadPipe::accepts(unsigned mode) noexcept {
    if (S_ISFIFO(mode) || S_ISSOCK(mode) || S_ISCHR(mode)) {
        return true;
    }
    (void)error(PyExc_ValueError, "Pipe transport is for pipes/sockets only.");
    return false;
}

void ReadPipe::begin() noexcept {
    is_begun_ = true;
    if (is_reading()) {
        watch(Events::readable);
    }
}

/// What a terminal says whose other end is closed.
bool ReadPipe::is_expected(int error) const noexcept { return error == EIO; }

void ReadPipe::on_ready(Events /*ready*/) noexcept {
    const Ref self = Ref::borrow(this->self());
    std::span<std::byte> room;
    try {
        room = loop().read_buffer();
    } catch (const std::bad_alloc&) {
        fail(ENOMEM, "Fatal read error on pipe transport");
        return;
    }
    const ssize_t count = ::read(file(), room.data(), room.size());
    if (count > 0) {
        loop().reactor().traffic().bytes_received.add(static_cast<std::uint64_t>(count));
        const Ref data = Ref::steal(
            PyBytes_FromStringAndSize(reinterpret_cast<const char*>(room.data()), count));
        constexpr const char* k_failed = "Exception in callback data_received()";
        if (data) {
            call(loop().state().streams.data_received, data.get(), k_failed);
        } else {
            report(k_failed);
        }
    } else if (count == 0) {
        log("%r was closed by peer");
        set_closing();
        leave();
        loop().reactor().defer(eof_due_);
    } else if (errno != EAGAIN && errno != EINTR) {
        fail(errno, "Fatal read error on pipe transport");
    }
}

void ReadPipe::on_eof_due() noexcept {
    const Ref self = Ref::borrow(this->self());
    if (is_lost() || loop().is_closed()) {
        return;
    }
    end_soon(Py_None);  // first: it comes even when eof_received() leaves the loop
    call(loop().state().streams.eof_received, nullptr, "Exception in callback eof_received()");
}

void ReadPipe::pause_reading() noexcept {
    if (is_reading()) {
        is_paused_ = true;
        unwant(Events::readable);
        log("%r pauses reading");
    }
}

void ReadPipe::resume_reading() noexcept {
    if (!is_closing() && is_paused_) {
        is_paused_ = false;
        if (is_begun_) {
            watch(Events::readable);
        }
        log("%r resumes reading");
    }
}

}  // namespace epoll::python
