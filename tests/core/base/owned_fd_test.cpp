#include <epoll/base/owned_fd.hpp>

#include <cerrno>
#include <type_traits>
#include <utility>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <doctest/doctest.h>

namespace {

int close_calls = 0;
int close_error = 0;  // what the next close(2) reports, after it has closed

}  // namespace

// Stands before the C library's: counts, and can fail as the kernel does, with the descriptor gone.
extern "C" int close(int fd) {
    ++close_calls;
    const long result = ::syscall(SYS_close, fd);
    if (const int error = std::exchange(close_error, 0); error != 0) {
        errno = error;
        return -1;
    }
    return static_cast<int>(result);
}

namespace epoll {
namespace {

int open_null() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

bool is_descriptor(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

static_assert(!std::is_copy_constructible_v<OwnedFd> && !std::is_copy_assignable_v<OwnedFd>);
static_assert(std::is_nothrow_move_constructible_v<OwnedFd>);
static_assert(std::is_nothrow_move_assignable_v<OwnedFd>);
static_assert(!std::is_constructible_v<bool, OwnedFd> && !std::is_convertible_v<OwnedFd, int>);
static_assert(!std::is_convertible_v<int, OwnedFd>);

TEST_CASE("an empty OwnedFd holds -1 and closes nothing") {
    close_calls = 0;
    {
        OwnedFd fd;
        CHECK(fd.get() == -1);
        CHECK_FALSE(fd.is_open());
        CHECK(fd.close() == 0);
        CHECK(OwnedFd{-1}.get() == -1);
    }
    CHECK(close_calls == 0);
}

TEST_CASE("descriptor 0 is an open one") {
    OwnedFd fd{0};
    CHECK(fd.is_open());
    CHECK(fd.release() == 0);
}

TEST_CASE("the destructor closes once") {
    const int raw = open_null();
    REQUIRE(raw >= 0);
    close_calls = 0;
    {
        const OwnedFd fd{raw};
    }
    CHECK(close_calls == 1);
    CHECK_FALSE(is_descriptor(raw));
}

TEST_CASE("close() closes once and leaves the object empty") {
    OwnedFd fd{open_null()};
    REQUIRE(fd.is_open());
    close_calls = 0;
    CHECK(fd.close() == 0);
    CHECK(fd.get() == -1);
    CHECK(fd.close() == 0);
    CHECK(close_calls == 1);
}

TEST_CASE("close() answers the error of a descriptor that somebody else has closed") {
    OwnedFd fd{open_null()};
    REQUIRE(::close(fd.get()) == 0);
    CHECK(fd.close() == EBADF);
    CHECK_FALSE(fd.is_open());
}

TEST_CASE("an interrupted close is a success and never repeated") {
    OwnedFd fd{open_null()};
    const int raw = fd.get();
    close_calls = 0;
    close_error = EINTR;
    CHECK(fd.close() == 0);
    CHECK(close_calls == 1);
    CHECK_FALSE(is_descriptor(raw));
}

TEST_CASE("another error of close is answered and never repeated") {
    OwnedFd fd{open_null()};
    close_calls = 0;
    close_error = EIO;
    CHECK(fd.close() == EIO);
    CHECK(fd.close() == 0);
    CHECK(close_calls == 1);
}

TEST_CASE("moving leaves the source empty and closes nothing") {
    OwnedFd first{open_null()};
    const int raw = first.get();
    close_calls = 0;
    const OwnedFd second{std::move(first)};
    CHECK(first.get() == -1);  // NOLINT(bugprone-use-after-move): a promise of the class
    CHECK(second.get() == raw);
    CHECK(close_calls == 0);
}

TEST_CASE("move assignment closes what was held before") {
    OwnedFd source{open_null()};
    OwnedFd target{open_null()};
    const int kept = source.get();
    const int lost = target.get();
    close_calls = 0;
    target = std::move(source);
    CHECK(target.get() == kept);
    CHECK(close_calls == 1);
    CHECK_FALSE(is_descriptor(lost));
    CHECK(is_descriptor(kept));
}

TEST_CASE("moving an OwnedFd onto itself keeps the descriptor") {
    OwnedFd fd{open_null()};
    const int raw = fd.get();
    OwnedFd& same = fd;
    fd = std::move(same);
    CHECK(fd.get() == raw);
    CHECK(is_descriptor(raw));
}

TEST_CASE("release gives the descriptor away open") {
    OwnedFd fd{open_null()};
    const int raw = fd.release();
    CHECK_FALSE(fd.is_open());
    CHECK(is_descriptor(raw));
    const OwnedFd again{raw};
}

}  // namespace
}  // namespace epoll
