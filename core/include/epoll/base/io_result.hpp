#pragma once

#include <cerrno>
#include <cstddef>
#include <sys/types.h>

namespace epoll {

/// What one non-blocking call did. EAGAIN is an ordinary answer here, not an error.
struct [[nodiscard]] IoResult {
    ssize_t count;  ///< bytes (or items) moved, at least 0; 0 on a read means the peer has finished
    int error;      ///< errno of the call, 0 when it succeeded

    /// The answer of a system call that returns -1 and sets errno on failure. Reads errno at once.
    [[nodiscard]] static IoResult from(ssize_t returned) noexcept {
        return returned >= 0 ? IoResult{returned, 0} : IoResult{0, errno};
    }

    [[nodiscard]] bool ok() const noexcept { return error == 0; }
    [[nodiscard]] bool end_of_stream() const noexcept { return error == 0 && count == 0; }
    [[nodiscard]] bool would_block() const noexcept {
        return error == EAGAIN || error == EWOULDBLOCK;
    }
    [[nodiscard]] bool interrupted() const noexcept { return error == EINTR; }
    [[nodiscard]] std::size_t size() const noexcept { return static_cast<std::size_t>(count); }
};

/// Makes a system call, by call(), again as long as a signal interrupts it.
template <class Call>
IoResult retry_interrupted(Call call) noexcept {
    for (;;) {
        const IoResult result = IoResult::from(call());
        if (!result.interrupted()) {
            return result;
        }
    }
}

/// Throws std::system_error for `error` with the name of the call that failed in its text.
[[noreturn]] void throw_error(int error, const char* call);

/// As throw_error, with the errno of this moment.
[[noreturn]] void throw_errno(const char* call);

}  // namespace epoll
