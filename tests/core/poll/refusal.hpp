#pragma once

#include <cstddef>
#include <cstdio>
#include <optional>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

namespace epoll {

/// From now on the kernel answers the system call `number` of this process with `error`.
inline bool refuse(long number, int error) {
    const auto errno_of_call = static_cast<unsigned>(error);
    sock_filter program[] = {
        {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, static_cast<unsigned>(number)},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | errno_of_call},
        {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
    };
    const sock_fprog filter{4, program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

/// What `check()`, which must not use doctest, says in a child process in which that system call is
/// refused. Nothing, with a message, where the machine allows no filter.
template <class Check>
std::optional<bool> holds_when_refused(long number, int error, Check check) {
    (void)std::fflush(stdout);  // or the child's end might print it again
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(20);
        ::_exit(!refuse(number, error) ? 2 : check() ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2) {
        MESSAGE("not tested: this machine allows no system call filter");
        return std::nullopt;
    }
    return WEXITSTATUS(status) == 0;
}

}  // namespace epoll
