#pragma once

#include <utility>

namespace epoll {

/// A descriptor with exactly one owner: the only class of this library that calls close(2).
///
/// Move-only. An empty OwnedFd holds -1. There is no conversion to int or bool: descriptor 0 is a
/// valid one and would read as "false".
class OwnedFd {
  public:
    OwnedFd() noexcept = default;

    /// Takes ownership of `fd`; -1 makes an empty object.
    explicit OwnedFd(int fd) noexcept : fd_(fd) {}

    OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    OwnedFd& operator=(OwnedFd&& other) noexcept;
    OwnedFd(const OwnedFd&) = delete;
    OwnedFd& operator=(const OwnedFd&) = delete;
    ~OwnedFd() { (void)close(); }

    explicit operator bool() const = delete;

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

    /// Gives the descriptor away without closing it; this object is empty afterwards.
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

    /// Closes the descriptor now and answers errno, 0 on success or when there was nothing to
    /// close.
    ///
    /// close(2) is never repeated: on Linux the descriptor is free even when EINTR is reported, and
    /// a second call could close a stranger's.
    int close() noexcept;

  private:
    int fd_ = -1;
};

}  // namespace epoll
