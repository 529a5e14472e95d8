#include <epoll/base/io_result.hpp>

#include <cerrno>
#include <string>
#include <system_error>

#include <doctest/doctest.h>

namespace epoll {
namespace {

TEST_CASE("a count is a success") {
    errno = EBADF;  // left over from an earlier call
    const IoResult result = IoResult::from(7);
    CHECK(result.ok());
    CHECK(result.size() == 7);
    CHECK(result.error == 0);
    CHECK_FALSE(result.end_of_stream());
}

TEST_CASE("0 is a success that means the end of the stream") {
    const IoResult result = IoResult::from(0);
    CHECK(result.ok());
    CHECK(result.end_of_stream());
}

TEST_CASE("-1 takes errno and counts nothing") {
    errno = ECONNRESET;
    const IoResult result = IoResult::from(-1);
    errno = 0;
    CHECK(result.error == ECONNRESET);
    CHECK(result.count == 0);
    CHECK_FALSE(result.ok());
    CHECK_FALSE(result.end_of_stream());
    CHECK_FALSE(result.would_block());
    CHECK_FALSE(result.interrupted());
}

TEST_CASE("not now is neither a failure of another kind nor the end") {
    for (const int error : {EAGAIN, EWOULDBLOCK}) {
        const IoResult result{0, error};
        CHECK(result.would_block());
        CHECK_FALSE(result.end_of_stream());
        CHECK_FALSE(result.interrupted());
    }
}

TEST_CASE("an interrupted call says so") { CHECK(IoResult{0, EINTR}.interrupted()); }

TEST_CASE("throw_error carries the number and the name of the call") {
    try {
        throw_error(EMFILE, "epoll_create1");
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == EMFILE);
        CHECK(error.code().category().name() == std::generic_category().name());
        CHECK(std::string{error.what()}.find("epoll_create1") != std::string::npos);
    }
}

TEST_CASE("throw_errno takes the errno of this moment") {
    errno = ENOSPC;
    CHECK_THROWS_WITH_AS(throw_errno("epoll_ctl"), doctest::Contains("epoll_ctl"),
                         std::system_error);
    errno = ENOSPC;
    try {
        throw_errno("epoll_ctl");
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == ENOSPC);
    }
}

}  // namespace
}  // namespace epoll
