#include <epoll/base/io_result.hpp>

#include <system_error>

namespace epoll {

void throw_error(int error, const char* call) {
    throw std::system_error(error, std::generic_category(), call);
}

void throw_errno(const char* call) { throw_error(errno, call); }

}  // namespace epoll
