#include <epoll/poll/poller.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <epoll/poll/waker.hpp>

#include "pair.hpp"
#include "refusal.hpp"

namespace epoll {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t k_most_places = INT_MAX / sizeof(Ready);

/// How long a wait took in which nothing happened; a failed wait counts as no time.
Duration time_waited(const Poller& poller, Timeout timeout) {
    std::array<Ready, 1> room{};
    const TimePoint begin = Clock::now();
    const IoResult result = kernel::wait(poller.fd(), room, timeout);
    const Duration waited = Clock::now() - begin;
    return result.ok() && result.count == 0 ? waited : Duration::zero();
}

bool is_never_early() {
    const Poller poller;
    for (const Duration span : {1ns, 999ns, 70'000ns, 1'000'001ns, 1'500'000ns, 3'100'000ns}) {
        if (time_waited(poller, Timeout::after(span)) < span) {
            return false;
        }
    }
    return true;
}

constexpr long k_epoll_pwait2 = 441;

TEST_CASE("a wait is never early") { CHECK(is_never_early()); }

TEST_CASE("a wait is finer than a millisecond where the kernel can") {
    const Poller poller;
    if (::syscall(k_epoll_pwait2, poller.fd(), nullptr, 0, nullptr, nullptr, 0) == -1 &&
        errno != EINVAL) {
        MESSAGE("not tested: no epoll_pwait2 here (Linux before 5.11, or a sandbox)");
        return;
    }
    Duration shortest = 1s;
    for (int i = 0; i != 100 && shortest >= 1ms; ++i) {
        shortest = std::min(shortest, time_waited(poller, Timeout::after(1us)));
    }
    CHECK(shortest < 1ms);
}

TEST_CASE("a wait is never early either on a kernel, or in a sandbox, without epoll_pwait2") {
    for (const int error : {ENOSYS, EPERM}) {
        CHECK(holds_when_refused(k_epoll_pwait2, error, is_never_early).value_or(true));
    }
}

TEST_CASE("a timeout of none returns at once") {
    const Poller poller;
    std::array<Ready, 1> room{};
    const IoResult result = kernel::wait(poller.fd(), room, Timeout::none());
    CHECK(result.ok());
    CHECK(result.count == 0);
}

TEST_CASE("waits of any length end when another thread wakes") {
    const Timeout longest = Timeout::after(Duration::max());
    const Timeout beyond_int = Timeout::after(std::chrono::hours{24 * 30});
    for (const Timeout timeout : {Timeout::forever(), longest, beyond_int}) {
        const Waker waker;
        Poller poller;
        poller.add(waker.fd(), Events::readable, 7);
        std::thread other{[&waker] { waker.wake(); }};
        std::array<Ready, 2> room{};
        const IoResult result = poller.wait(room, timeout);
        other.join();
        REQUIRE(result.size() == 1);
        const Ready first = room[0];
        CHECK(Token{first.token} == 7);
        CHECK(Events{first.events} == Events::readable);
    }
}

TEST_CASE("no more reports come than there is room for; the rest comes later") {
    const Pair first;
    const Pair second;
    Poller poller;
    poller.add(first.near.get(), Events::readable, 1);
    poller.add(second.near.get(), Events::readable, 2);
    first.send_from_far();
    second.send_from_far();
    std::array<Ready, 1> room{};
    REQUIRE(poller.wait(room, Timeout::none()).size() == 1);
    const Token one = room[0].token;
    REQUIRE(poller.wait(room, Timeout::none()).size() == 1);
    const Token other = room[0].token;
    CHECK(one + other == 3);
}

TEST_CASE("a signal ends a wait with EINTR") {
    struct sigaction action{};
    struct sigaction before{};
    action.sa_handler = [](int) {};
    REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
    const itimerval every_millisecond{{0, 1000}, {0, 1000}};  // again, if one came before the wait
    const itimerval never{};
    Poller poller;
    std::array<Ready, 1> room{};
    for (const Timeout timeout : {Timeout::after(5s), Timeout::forever()}) {
        REQUIRE(::setitimer(ITIMER_REAL, &every_millisecond, nullptr) == 0);
        const IoResult result = poller.wait(room, timeout);
        REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
        CHECK(result.interrupted());
        CHECK(result.count == 0);
    }
    CHECK(::sigaction(SIGALRM, &before, nullptr) == 0);
}

TEST_CASE("a wait without room, or with too much, is EINVAL") {
    const Poller poller;
    Ready one{};
    const std::span<Ready> too_much{&one, k_most_places + 1};  // its size is looked at, no more
    for (const Timeout timeout : {Timeout::none(), Timeout::after(1ms), Timeout::forever()}) {
        CHECK(kernel::wait(poller.fd(), {}, timeout).error == EINVAL);
        CHECK(kernel::wait(poller.fd(), too_much, timeout).error == EINVAL);
    }
}

TEST_CASE("a wait on what is no epoll is an answer, not an exception") {
    const Pair pair;
    std::array<Ready, 1> room{};
    CHECK(kernel::wait(-1, room, Timeout::after(1ms)).error == EBADF);
    CHECK(kernel::wait(-1, room, Timeout::none()).error == EBADF);
    CHECK(kernel::wait(pair.near.get(), room, Timeout::none()).error == EINVAL);
}

TEST_CASE("an operation is passed on unchecked") {
    const Poller poller;
    const Pair pair;
    CHECK(kernel::control(poller.fd(), kernel::Operation{99}, pair.near.get(), Events::readable,
                          0) == EINVAL);
}

TEST_CASE("created epolls are close-on-exec") {
    const IoResult created = kernel::create();
    REQUIRE(created.ok());
    const OwnedFd fd{static_cast<int>(created.count)};
    CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

bool is_poller_refused() {
    try {
        const Poller poller;
    } catch (const std::system_error& error) {
        return error.code().value() == EMFILE && kernel::create().error == EMFILE &&
               std::string_view{error.what()}.find("epoll_create1") != std::string_view::npos;
    }
    return false;
}

TEST_CASE("without a descriptor left, create answers and a Poller throws") {
    CHECK(holds_when_refused(SYS_epoll_create1, EMFILE, is_poller_refused).value_or(true));
}

TEST_CASE("a Poller takes over a descriptor and closes it") {
    int raw = -1;
    {
        const IoResult created = kernel::create();
        REQUIRE(created.ok());
        raw = static_cast<int>(created.count);
        const Poller poller{OwnedFd{raw}};
        CHECK(poller.fd() == raw);
    }
    CHECK(::fcntl(raw, F_GETFD) == -1);
}

int code_of_add(Poller& poller, int fd) {
    try {
        poller.add(fd, Events::readable, 0);
    } catch (const std::system_error& error) {
        CHECK(std::string_view{error.what()}.find("epoll_ctl") != std::string_view::npos);
        return error.code().value();
    }
    return 0;
}

TEST_CASE("add throws what the kernel refuses") {
    const Pair pair;
    Poller poller;
    CHECK(code_of_add(poller, -1) == EBADF);
    CHECK(code_of_add(poller, poller.fd()) == EINVAL);
    CHECK(code_of_add(poller, pair.near.get()) == 0);
    CHECK(code_of_add(poller, pair.near.get()) == EEXIST);
    const OwnedFd file{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
    REQUIRE(file.is_open());
    CHECK(code_of_add(poller, file.get()) == EPERM);
}

TEST_CASE("modify changes events and token; remove ends it") {
    const Pair pair;
    Poller poller;
    std::array<Ready, 1> room{};
    poller.add(pair.near.get(), Events::readable, 1);
    CHECK(poller.wait(room, Timeout::none()).count == 0);
    constexpr Token k_all_bits = 0xFEDC'BA98'7654'3210;
    CHECK(poller.modify(pair.near.get(), Events::writable, k_all_bits) == 0);
    REQUIRE(poller.wait(room, Timeout::none()).size() == 1);
    const Ready first = room[0];
    CHECK(Token{first.token} == k_all_bits);
    CHECK(Events{first.events} == Events::writable);
    CHECK(poller.remove(pair.near.get()) == 0);
    CHECK(poller.wait(room, Timeout::none()).count == 0);
    CHECK(poller.remove(pair.near.get()) == ENOENT);
    CHECK(poller.modify(pair.near.get(), Events::writable, 1) == ENOENT);
    CHECK(poller.remove(-1) == EBADF);
}

/// What an emulator of system calls (qemu-user) says of those that it does not know.
constexpr int k_not_emulated = ENOSYS;

TEST_CASE("busy polling is set and read back, or the kernel says that it has none") {
    const Poller poller;
    const int error = kernel::set_busy_poll(poller.fd(), {50, 8, true});
    BusyPoll read{};
    CHECK(kernel::get_busy_poll(poller.fd(), read) == error);
    if (error != 0) {
        CHECK((error == ENOTTY || error == k_not_emulated));
        return;
    }
    CHECK(read.microseconds == 50);
    CHECK(read.packets_budget == 8);
    CHECK(read.prefer);
    CHECK(kernel::set_busy_poll(poller.fd(), {0, 0, false}) == 0);
    CHECK(kernel::get_busy_poll(poller.fd(), read) == 0);
    CHECK(read.microseconds == 0);
    CHECK_FALSE(read.prefer);
}

TEST_CASE("busy polling of what is no epoll is an error") {
    BusyPoll read{};
    const int error = kernel::set_busy_poll(-1, {50, 8, true});
    CHECK((error == EBADF || error == k_not_emulated));
    CHECK(kernel::get_busy_poll(-1, read) == error);
}

}  // namespace
}  // namespace epoll
