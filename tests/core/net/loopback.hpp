#pragma once

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <epoll/base/clock.hpp>
#include <epoll/base/owned_fd.hpp>
#include <epoll/loop/reactor.hpp>
#include <epoll/net/address.hpp>

/// What the tests of sockets share: one thread plays both ends, so the far end never blocks, and
/// every wait has an end.
namespace testing {

inline constexpr epoll::Duration k_limit = std::chrono::seconds{5};

inline std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text});
}

inline std::string text_of(std::span<const std::byte> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Throws when a system call of the test itself failed.
inline int checked(int result, const char* call) {
    if (result < 0) {
        throw std::system_error(errno, std::generic_category(), call);
    }
    return result;
}

/// Turns the reactor until `condition` holds; false when the time is over. The far end of a socket
/// may be served by the condition, so no wait is long.
template <class Condition>
[[nodiscard]] bool turn_until(epoll::Reactor& reactor, Condition condition) {
    const auto end = epoll::Clock::now() + k_limit;
    while (!condition()) {
        if (epoll::Clock::now() >= end) {
            return false;
        }
        reactor.run_turn(epoll::Timeout::after(std::chrono::milliseconds{1}));
    }
    return true;
}

/// Ends a count of turns.
class Alarm {
  public:
    void on_due() noexcept { is_over = true; }
    bool is_over = false;
};

/// How many turns the reactor takes in `duration` when nothing but the kernel wakes it: a handful,
/// or it spins.
[[nodiscard]] inline std::uint64_t turns_during(epoll::Reactor& reactor, epoll::Duration duration) {
    Alarm alarm;
    epoll::MemberTimer<Alarm, &Alarm::on_due> timer{alarm};
    reactor.timers().start(timer, epoll::Clock::now() + duration);
    const std::uint64_t before = reactor.statistics().turns;
    while (!alarm.is_over) {
        reactor.run_turn(epoll::Timeout::forever());
    }
    return reactor.statistics().turns - before;
}

inline constexpr std::uint64_t k_handful = 6;
inline constexpr epoll::Duration k_watch = std::chrono::milliseconds{200};

/// How many descriptors this process has.
inline std::size_t open_descriptors() {
    DIR* const directory = ::opendir("/proc/self/fd");
    if (directory == nullptr) {
        throw std::system_error(errno, std::generic_category(), "opendir");
    }
    std::size_t count = 0;
    while (::readdir(directory) != nullptr) {
        ++count;
    }
    ::closedir(directory);
    return count;
}

/// Two connected sockets: non-blocking, as a Stream wants them.
struct Pair {
    epoll::OwnedFd ours;
    epoll::OwnedFd theirs;
};

inline Pair make_unix_pair() {
    int ends[2];
    checked(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends),
            "socketpair");
    return {epoll::OwnedFd{ends[0]}, epoll::OwnedFd{ends[1]}};
}

inline epoll::Address loopback(std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return {reinterpret_cast<const sockaddr*>(&address), sizeof address};
}

/// Connects and only then becomes non-blocking: on loopback the kernel answers at once.
inline epoll::OwnedFd connect_to(const epoll::Address& address) {
    epoll::OwnedFd socket{
        checked(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
    checked(::connect(socket.get(), address.data(), address.size()), "connect");
    checked(::fcntl(socket.get(), F_SETFL, O_NONBLOCK), "fcntl");
    return socket;
}

inline Pair make_tcp_pair() {
    const epoll::OwnedFd listening{
        checked(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
    const epoll::Address any_port = loopback(0);
    checked(::bind(listening.get(), any_port.data(), any_port.size()), "bind");
    checked(::listen(listening.get(), 1), "listen");
    epoll::OwnedFd theirs = connect_to(epoll::Address::local_of(listening.get()));
    return {
        epoll::OwnedFd{checked(
            ::accept4(listening.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4")},
        std::move(theirs)};
}

/// The far end of a connection: never blocks, keeps what it has received.
class Peer {
  public:
    explicit Peer(epoll::OwnedFd socket) : socket_(std::move(socket)) {}

    /// Sends as much as the kernel takes now and answers how much that was; 0 also after a failure.
    std::size_t send_some(std::string_view text) {
        const ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL);
        return sent > 0 ? static_cast<std::size_t>(sent) : 0;
    }

    /// Sends a text that the kernel has room for.
    void send(std::string_view text) {
        if (send_some(text) != text.size()) {
            throw std::runtime_error("the kernel has no room for what the test sends");
        }
    }

    /// All that has arrived so far.
    const std::string& received() {
        char room[64 * 1024];
        while (!has_ended_) {
            const ssize_t count = ::recv(socket_.get(), room, sizeof room, 0);
            if (count < 0 && errno == EAGAIN) {
                break;
            }
            has_ended_ = count <= 0;
            error_ = count < 0 ? errno : 0;
            received_.append(room, static_cast<std::size_t>(count < 0 ? 0 : count));
        }
        return received_;
    }

    /// As received(), but no more than `most` bytes: a slow reader.
    void receive_some(std::size_t most) {
        std::string room(most, '\0');
        const ssize_t count = ::recv(socket_.get(), room.data(), room.size(), 0);
        received_.append(room, 0, static_cast<std::size_t>(count < 0 ? 0 : count));
    }

    /// The connection is at its end, in order or by error().
    [[nodiscard]] bool has_ended() {
        (void)received();
        return has_ended_;
    }
    [[nodiscard]] int error() const { return error_; }

    void finish() { checked(::shutdown(socket_.get(), SHUT_WR), "shutdown"); }
    void close() { (void)socket_.close(); }

    /// Closes so that the other end hears ECONNRESET (TCP only).
    void reset() {
        const linger at_once{1, 0};
        checked(::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once),
                "SO_LINGER");
        close();
    }

    [[nodiscard]] int fd() const { return socket_.get(); }

  private:
    epoll::OwnedFd socket_;
    std::string received_;
    bool has_ended_ = false;
    int error_ = 0;
};

}  // namespace testing
