// A fast, verifying load client for echo servers of UDP: one thread, one epoll, N sockets.
//
//     datagram_client HOST PORT [options]
//
// Each socket sends K datagrams (--pipeline) with one system call, waits until all K have come
// back, in order, and sends the next ones. Every byte that returns is compared with what was sent;
// a datagram that is lost is a time-out. One line of JSON says what happened, as load_client does;
// any difference, error or time-out is a message on stderr and exit status 1.
//
//   --connections N  1      --size BYTES   1024
//   --pipeline K     1      --duration S   1
//   --messages M     0: stop after M datagrams instead, if it is not 0
//   --timeout S      60: of the whole run
//   --server-pid P   also report the processor time that process P used
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace {

using Options = std::map<std::string, double>;
constexpr std::size_t k_most = 64;  // datagrams of one system call

[[noreturn]] void throw_errno(const char* call) {
    throw std::system_error(errno, std::generic_category(), call);
}

double read_clock(clockid_t clock) {
    timespec now{};
    if (clock_gettime(clock, &now) < 0) {
        throw_errno("clock_gettime");
    }
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

struct Peer {
    int fd = -1;
    std::size_t received = 0;  // of the present batch
    double started = 0;
    bool is_busy = false;
};

class Load {
  public:
    Load(const sockaddr_in& server, const Options& options)
        : options_(options),
          batch_(static_cast<std::size_t>(options.at("--pipeline"))),
          size_(static_cast<std::size_t>(options.at("--size"))),
          room_(batch_ * (size_ + 1)) {
        if (batch_ == 0 || batch_ > k_most || size_ == 0) {
            throw std::invalid_argument("--pipeline is 1 to 64, --size at least 1");
        }
        if (const int pid = static_cast<int>(options.at("--server-pid"));
            pid != 0 && clock_getcpuclockid(pid, &server_clock_) != 0) {
            throw std::invalid_argument("--server-pid: no such process");
        }
        for (std::size_t i = 0; i != batch_; ++i) {
            messages_.emplace_back(size_, static_cast<char>('a' + i % 26));
        }
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ < 0) {
            throw_errno("epoll_create1");
        }
        peers_.resize(static_cast<std::size_t>(options.at("--connections")));
        for (Peer& peer : peers_) {
            open(peer, server);
        }
    }

    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    ~Load() {
        for (const Peer& peer : peers_) {
            close(peer.fd);
        }
        close(epoll_);
    }

    void run() {
        const double start = read_clock(CLOCK_MONOTONIC);
        const double server_cpu = read_clock(server_clock_);
        const double client_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
        const double deadline = start + options_.at("--timeout");
        stop_at_ = options_.at("--messages") > 0 ? deadline : start + options_.at("--duration");
        now_ = start;
        for (Peer& peer : peers_) {
            send_batch(peer);
        }
        while (busy_ != 0) {
            turn();
            if (now_ > deadline) {
                throw std::runtime_error("time-out: a datagram was lost, or the server is slow");
            }
        }
        report(now_ - start, read_clock(server_clock_) - server_cpu,
               read_clock(CLOCK_PROCESS_CPUTIME_ID) - client_cpu);
    }

  private:
    void open(Peer& peer, const sockaddr_in& server) const {
        peer.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (peer.fd < 0) {
            throw_errno("socket");
        }
        if (connect(peer.fd, reinterpret_cast<const sockaddr*>(&server), sizeof server) < 0) {
            throw_errno("connect");
        }
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.ptr = &peer;
        if (epoll_ctl(epoll_, EPOLL_CTL_ADD, peer.fd, &event) < 0) {
            throw_errno("epoll_ctl");
        }
    }

    void turn() {
        std::array<epoll_event, 64> events;
        const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 1000);
        if (ready < 0 && errno != EINTR) {
            throw_errno("epoll_wait");
        }
        now_ = read_clock(CLOCK_MONOTONIC);
        for (int i = 0; i < ready; ++i) {
            receive(*static_cast<Peer*>(events[static_cast<std::size_t>(i)].data.ptr));
        }
    }

    void send_batch(Peer& peer) {
        if (now_ >= stop_at_ || (options_.at("--messages") > 0 &&
                                 static_cast<double>(started_) >= options_.at("--messages"))) {
            return;
        }
        started_ += batch_;
        ++busy_;
        peer.is_busy = true;
        peer.received = 0;
        peer.started = read_clock(CLOCK_MONOTONIC);
        for (std::size_t i = 0; i != batch_; ++i) {
            parts_[i] = {messages_[i].data(), size_};
            headers_[i] = {};
            headers_[i].msg_hdr.msg_iov = &parts_[i];
            headers_[i].msg_hdr.msg_iovlen = 1;
        }
        const int sent = sendmmsg(peer.fd, headers_.data(), static_cast<unsigned>(batch_), 0);
        if (sent < 0) {
            throw_errno("sendmmsg");
        }
        if (static_cast<std::size_t>(sent) != batch_) {
            throw std::runtime_error("the kernel has no room for what is sent");
        }
    }

    void receive(Peer& peer) {
        for (std::size_t i = 0; i != batch_; ++i) {
            parts_[i] = {room_.data() + i * (size_ + 1), size_ + 1};
            headers_[i] = {};
            headers_[i].msg_hdr.msg_iov = &parts_[i];
            headers_[i].msg_hdr.msg_iovlen = 1;
        }
        const int count =
            recvmmsg(peer.fd, headers_.data(), static_cast<unsigned>(batch_), 0, nullptr);
        if (count < 0) {
            if (errno == EAGAIN || errno == EINTR) {
                return;
            }
            throw_errno("recvmmsg");
        }
        for (std::size_t i = 0; i != static_cast<std::size_t>(count); ++i) {
            if (!peer.is_busy || peer.received == batch_ || headers_[i].msg_len != size_ ||
                std::memcmp(parts_[i].iov_base, messages_[peer.received].data(), size_) != 0) {
                throw std::runtime_error("an answer differs from its message");
            }
            ++peer.received;
            latencies_.push_back(static_cast<float>(now_ - peer.started));
        }
        if (peer.received == batch_) {
            --busy_;
            peer.is_busy = false;
            send_batch(peer);
        }
    }

    [[nodiscard]] double latency_us(double share) {
        const auto rank = static_cast<std::size_t>(share * static_cast<double>(latencies_.size()));
        const auto place =
            latencies_.begin() + static_cast<std::ptrdiff_t>(std::min(rank, latencies_.size() - 1));
        std::nth_element(latencies_.begin(), place, latencies_.end());
        return static_cast<double>(*place) * 1e6;
    }

    void report(double seconds, double server_cpu, double client_cpu) {
        const std::size_t count = latencies_.size();
        std::printf("{\"messages\": %zu, \"seconds\": %.6f, \"rate\": %.1f, \"bytes\": %zu, ",
                    count, seconds, static_cast<double>(count) / seconds, count * size_);
        std::printf("\"latency_us\": {\"median\": %.2f, \"p99\": %.2f}, ", latency_us(0.5),
                    latency_us(0.99));
        if (options_.at("--server-pid") > 0) {
            std::printf("\"server_cpu_seconds\": %.6f, ", server_cpu);
        }
        std::printf("\"client_cpu_seconds\": %.6f}\n", client_cpu);
    }

    const Options& options_;
    const std::size_t batch_;
    const std::size_t size_;
    std::vector<std::string> messages_;
    std::vector<char> room_;  // one byte more for each, so that surplus is noticed
    std::array<mmsghdr, k_most> headers_{};
    std::array<iovec, k_most> parts_{};
    std::vector<Peer> peers_;
    std::vector<float> latencies_;
    int epoll_ = -1;
    clockid_t server_clock_ = CLOCK_PROCESS_CPUTIME_ID;
    double now_ = 0;  // once per turn
    double stop_at_ = 0;
    std::uint64_t started_ = 0;
    std::size_t busy_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
    try {
        Options options{{"--connections", 1}, {"--size", 1024},  {"--pipeline", 1},
                        {"--duration", 1},    {"--messages", 0}, {"--timeout", 60},
                        {"--server-pid", 0}};
        sockaddr_in server{};
        server.sin_family = AF_INET;
        if (count < 3 || count % 2 == 0 ||
            inet_pton(AF_INET, arguments[1], &server.sin_addr) != 1) {
            throw std::invalid_argument("usage: datagram_client HOST PORT [--option value ...]");
        }
        server.sin_port = htons(static_cast<std::uint16_t>(std::stoi(arguments[2])));
        for (int i = 3; i < count; i += 2) {
            options.at(arguments[i]) = std::stod(arguments[i + 1]);
        }
        Load{server, options}.run();
        return EXIT_SUCCESS;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "datagram_client: %s\n", failure.what());
        return EXIT_FAILURE;
    }
}
