#include <epoll/poll/waker.hpp>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "refusal.hpp"

namespace epoll {
namespace {

bool is_readable(const Waker& waker) {
    pollfd entry{waker.fd(), POLLIN, 0};
    return ::poll(&entry, 1, 0) == 1;
}

TEST_CASE("a waker is readable from wake to drain") {
    const Waker waker;
    CHECK_FALSE(is_readable(waker));
    waker.wake();
    CHECK(is_readable(waker));
    CHECK(is_readable(waker));
    waker.drain();
    CHECK_FALSE(is_readable(waker));
}

TEST_CASE("many wakes are drained as one") {
    const Waker waker;
    std::vector<std::thread> threads;
    for (int i = 0; i != 4; ++i) {
        threads.emplace_back([&waker] {
            for (int n = 0; n != 1000; ++n) {
                waker.wake();
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(is_readable(waker));
    waker.drain();
    CHECK_FALSE(is_readable(waker));
}

TEST_CASE("draining a waker that nobody woke does not block") {
    const Waker waker;
    waker.drain();
    CHECK_FALSE(is_readable(waker));
}

TEST_CASE("wake leaves errno alone, also when the counter is full") {
    const Waker waker;
    errno = ENOTTY;
    waker.wake();
    CHECK(errno == ENOTTY);
    const std::uint64_t rest = UINT64_MAX - 2;  // an eventfd holds up to 2^64 - 2
    REQUIRE(::write(waker.fd(), &rest, sizeof rest) == sizeof rest);
    errno = ENOTTY;
    waker.wake();
    CHECK(errno == ENOTTY);
    CHECK(is_readable(waker));
    waker.drain();
    CHECK_FALSE(is_readable(waker));
}

const Waker* woken_by_signal = nullptr;

TEST_CASE("a signal handler may wake") {
    const Waker waker;
    woken_by_signal = &waker;
    struct sigaction action{};
    struct sigaction before{};
    action.sa_handler = [](int) { woken_by_signal->wake(); };
    REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
    CHECK(::raise(SIGUSR1) == 0);
    CHECK(::sigaction(SIGUSR1, &before, nullptr) == 0);
    CHECK(is_readable(waker));
}

TEST_CASE("a child process does not inherit the descriptor") {
    const Waker waker;
    CHECK((::fcntl(waker.fd(), F_GETFD) & FD_CLOEXEC) != 0);
}

bool is_waker_refused() {
    try {
        const Waker waker;
    } catch (const std::system_error& error) {
        return error.code().value() == EMFILE &&
               std::string_view{error.what()}.find("eventfd") != std::string_view::npos;
    }
    return false;
}

TEST_CASE("without a descriptor left, a Waker throws") {
    CHECK(holds_when_refused(SYS_eventfd2, EMFILE, is_waker_refused).value_or(true));
}

}  // namespace
}  // namespace epoll
