#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/// System calls that a test counts, or lets fail: errors that no kernel produces on demand.
///
/// A program's own functions go before those of the C library, so the library under test calls
/// these. Each does what the real one does otherwise. One file of a program defines
/// PYEPOLL_REPLACE_SYSTEM_CALLS before it includes this one; the others see the counters only.
namespace testing {

#ifdef __GLIBC__
using BatchFlags = int;  ///< the flags of sendmmsg(2) and recvmmsg(2)
#else
using BatchFlags = unsigned;
#endif

inline std::atomic<int> sends{0};           ///< send(2) and sendmsg(2) so far
inline std::atomic<int> accept_error{0};    ///< what the next accept4(2) fails with; 0: it does not
inline std::atomic<int> send_error{0};      ///< as accept_error, for send(2) and sendmsg(2)
inline std::atomic<int> datagram_sends{0};  ///< sendto(2) and sendmmsg(2) so far
inline std::atomic<int> datagram_receipts{0};  ///< recvmmsg(2) so far
inline std::atomic<int> sendto_error{0};       ///< as accept_error
inline std::atomic<int> sendmmsg_error{0};
inline std::atomic<int> recvfrom_error{0};
inline std::atomic<int> recvmmsg_error{0};

inline bool fails_with(std::atomic<int>& planned) {
    const int error = planned.exchange(0);
    if (error != 0) {
        errno = error;
    }
    return error != 0;
}

}  // namespace testing

#ifdef PYEPOLL_REPLACE_SYSTEM_CALLS

extern "C" {

ssize_t send(int fd, const void* data, std::size_t size, int flags) {
    testing::sends.fetch_add(1);
    return testing::fails_with(testing::send_error)
               ? -1
               : ::syscall(SYS_sendto, fd, data, size, flags, nullptr, std::size_t{0});
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
    testing::sends.fetch_add(1);
    return testing::fails_with(testing::send_error) ? -1
                                                    : ::syscall(SYS_sendmsg, fd, message, flags);
}

ssize_t sendto(int fd, const void* data, std::size_t size, int flags, const sockaddr* peer,
               socklen_t peer_size) {
    testing::datagram_sends.fetch_add(1);
    return testing::fails_with(testing::sendto_error)
               ? -1
               : ::syscall(SYS_sendto, fd, data, size, flags, peer, std::size_t{peer_size});
}

int sendmmsg(int fd, mmsghdr* messages, unsigned count, testing::BatchFlags flags) {
    testing::datagram_sends.fetch_add(1);
    return testing::fails_with(testing::sendmmsg_error)
               ? -1
               : static_cast<int>(::syscall(SYS_sendmmsg, fd, messages, std::size_t{count}, flags));
}

ssize_t recvfrom(int fd, void* room, std::size_t size, int flags, sockaddr* peer,
                 socklen_t* peer_size) {
    return testing::fails_with(testing::recvfrom_error)
               ? -1
               : ::syscall(SYS_recvfrom, fd, room, size, flags, peer, peer_size);
}

int recvmmsg(int fd, mmsghdr* messages, unsigned count, testing::BatchFlags flags,
             timespec* limit) {
    testing::datagram_receipts.fetch_add(1);
    return testing::fails_with(testing::recvmmsg_error)
               ? -1
               : static_cast<int>(
                     ::syscall(SYS_recvmmsg, fd, messages, std::size_t{count}, flags, limit));
}

int accept4(int fd, sockaddr* peer, socklen_t* size, int flags) {
    return testing::fails_with(testing::accept_error)
               ? -1
               : static_cast<int>(::syscall(SYS_accept4, fd, peer, size, flags));
}

}  // extern "C"

#endif
