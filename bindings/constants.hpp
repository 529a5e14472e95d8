#pragma once

namespace epoll::python {

/// EPOLL_CLOEXEC, which is O_CLOEXEC on every architecture.
inline constexpr int k_cloexec = 02000000;

}  // namespace epoll::python
