// A fast, verifying load client for echo servers: one thread, one epoll, N connections.
//
//     load_client HOST PORT [options]          load_client UNIX_PATH [options]
//
// Each connection sends a batch of K messages (--pipeline) in one piece, waits until all K have
// come back, and sends the next batch. Every byte that returns is compared with what was sent. At
// the end the batches under way are completed, so the connections close cleanly. One line of JSON
// says what happened; any difference, error or time-out is a message on stderr and exit status 1.
//
//   --connections N  1      --size BYTES   1024: one message on the wire, its framing included
//   --pipeline K     1      --framing F    raw | line | length32
//   --duration S     1      --messages M   stop after M messages instead (rounded up to batches)
//   --warmup S       0: not counted        --timeout S  60: of the whole run
//   --request TEXT --answer TEXT       what is sent and what must come back, instead of an echo
//   --server-pid P   also report the processor time that process P used while it was measured
//
// A latency is the time from the send of a batch to the arrival of the message's last byte.
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

using Nanoseconds = std::int64_t;

[[noreturn]] void throw_errno(const char* call) {
    throw std::system_error(errno, std::generic_category(), call);
}

Nanoseconds read_clock(clockid_t clock) {
    timespec now{};
    if (clock_gettime(clock, &now) < 0) {
        throw_errno("clock_gettime");
    }
    return Nanoseconds{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

double in_seconds(Nanoseconds duration) { return static_cast<double>(duration) / 1e9; }

Nanoseconds from_seconds(double seconds) { return static_cast<Nanoseconds>(seconds * 1e9); }

struct Options {
    std::vector<std::string> target;  // {host, port} or {unix path}
    std::size_t connections = 1;
    std::size_t size = 1024;
    std::size_t pipeline = 1;
    std::string framing = "raw";
    std::string request;  // empty: an echo
    std::string answer;
    double duration = 1;
    std::uint64_t messages = 0;  // 0: the duration decides
    double warmup = 0;
    double timeout = 60;
    int server_pid = 0;
};

template <typename Number>
Number parse_number(std::string_view name, std::string_view text) {
    Number number{};
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc{} || end != text.data() + text.size() || number < Number{}) {
        throw std::invalid_argument(std::string(name) +
                                    ": not a valid number: " + std::string(text));
    }
    return number;
}

void set_option(Options& options, std::string_view name, std::string_view text) {
    if (name == "--connections") {
        options.connections = parse_number<std::size_t>(name, text);
    } else if (name == "--size") {
        options.size = parse_number<std::size_t>(name, text);
    } else if (name == "--pipeline") {
        options.pipeline = parse_number<std::size_t>(name, text);
    } else if (name == "--framing") {
        options.framing = text;
    } else if (name == "--request") {
        options.request = text;
    } else if (name == "--answer") {
        options.answer = text;
        options.size = text.size();
    } else if (name == "--duration") {
        options.duration = parse_number<double>(name, text);
    } else if (name == "--messages") {
        options.messages = parse_number<std::uint64_t>(name, text);
    } else if (name == "--warmup") {
        options.warmup = parse_number<double>(name, text);
    } else if (name == "--timeout") {
        options.timeout = parse_number<double>(name, text);
    } else if (name == "--server-pid") {
        options.server_pid = parse_number<int>(name, text);
    } else {
        throw std::invalid_argument("unknown option " + std::string(name));
    }
}

Options parse_options(const std::vector<std::string_view>& arguments) {
    Options options;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        if (!arguments[i].starts_with("--")) {
            options.target.emplace_back(arguments[i]);
        } else if (i + 1 < arguments.size()) {
            set_option(options, arguments[i], arguments[i + 1]);
            ++i;
        } else {
            throw std::invalid_argument(std::string(arguments[i]) + " needs a value");
        }
    }
    if (options.target.empty() || options.target.size() > 2) {
        throw std::invalid_argument(
            "usage: load_client HOST PORT | UNIX_PATH [--option value ...]");
    }
    if (options.request.empty() != options.answer.empty()) {
        throw std::invalid_argument("--request and --answer belong together");
    }
    if (options.connections == 0 || options.pipeline == 0 || options.size == 0) {
        throw std::invalid_argument("--connections, --pipeline and --size must be at least 1");
    }
    if (options.messages != 0 && options.warmup > 0) {
        throw std::invalid_argument("--warmup goes with --duration, not with --messages");
    }
    return options;
}

/// One message of `options.size` bytes; `index` varies the text, so that a wrong order is noticed.
std::string make_message(const Options& options, std::size_t index) {
    std::string message(options.size, '\0');
    for (std::size_t i = 0; i < message.size(); ++i) {
        message[i] = static_cast<char>('a' + (index * 7 + i) % 26);
    }
    if (options.framing == "line") {
        message.back() = '\n';
    } else if (options.framing == "length32") {
        if (options.size < 4 || options.size - 4 > UINT32_MAX) {
            throw std::invalid_argument("--size does not fit --framing length32");
        }
        for (std::size_t i = 0; i < 4; ++i) {
            message[i] = static_cast<char>((options.size - 4) >> (24 - 8 * i) & 0xff);
        }
    } else if (options.framing != "raw") {
        throw std::invalid_argument("--framing is raw, line or length32");
    }
    return message;
}

std::string make_batch(const Options& options, const std::string& text) {
    std::string batch;
    for (std::size_t i = 0; i < options.pipeline; ++i) {
        batch += text.empty() ? make_message(options, i) : text;
    }
    return batch;
}

/// Counts durations in buckets that are at most 1/64 of their value wide.
class Histogram {
  public:
    void add(Nanoseconds duration, std::uint64_t count) {
        counts_[bucket_of(static_cast<std::uint64_t>(duration))] += count;
        total_ += count;
    }

    /// The lower bound of the bucket in which the given share of all durations is reached.
    [[nodiscard]] double quantile(double share) const {
        const auto rank = static_cast<std::uint64_t>(share * static_cast<double>(total_));
        std::uint64_t seen = 0;
        for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
            seen += counts_[bucket];
            if (seen > rank) {
                return static_cast<double>(lower_bound_of(bucket));
            }
        }
        return 0;
    }

  private:
    static constexpr unsigned k_bits = 6;

    static std::size_t bucket_of(std::uint64_t value) {
        const auto width = static_cast<unsigned>(std::bit_width(value));
        const unsigned shift = width > k_bits + 1 ? width - (k_bits + 1) : 0;
        return (std::size_t{shift} << k_bits) + static_cast<std::size_t>(value >> shift);
    }

    static std::uint64_t lower_bound_of(std::size_t bucket) {
        const std::size_t shift = bucket < (2U << k_bits) ? 0 : (bucket >> k_bits) - 1;
        return (std::uint64_t{bucket} - (std::uint64_t{shift} << k_bits)) << shift;
    }

    std::array<std::uint64_t, std::size_t{66 - k_bits} << k_bits> counts_{};
    std::uint64_t total_ = 0;
};

struct Connection {
    int fd = -1;
    std::size_t sent = 0;      // of the present batch
    std::size_t received = 0;  // of the present batch
    Nanoseconds started = 0;
    bool wants_write = false;
    bool is_busy = false;
};

int connect_to(const addrinfo& address) {
    const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        throw_errno("socket");
    }
    if (connect(fd, address.ai_addr, address.ai_addrlen) < 0) {
        throw_errno("connect");
    }
    const int on = 1;
    if (address.ai_family != AF_UNIX &&
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0) {
        throw_errno("setsockopt");
    }
    return fd;
}

int connect_to(const std::vector<std::string>& target) {
    addrinfo address{};
    if (target.size() == 1) {
        sockaddr_un path{};
        path.sun_family = AF_UNIX;
        if (target[0].size() >= sizeof path.sun_path) {
            throw std::invalid_argument("the path of the Unix socket is too long");
        }
        target[0].copy(path.sun_path, target[0].size());
        address.ai_family = AF_UNIX;
        address.ai_addr = reinterpret_cast<sockaddr*>(&path);
        address.ai_addrlen = sizeof path;
        return connect_to(address);
    }
    addrinfo* found = nullptr;
    address.ai_socktype = SOCK_STREAM;
    if (const int failure = getaddrinfo(target[0].c_str(), target[1].c_str(), &address, &found)) {
        throw std::runtime_error(gai_strerror(failure));
    }
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, &freeaddrinfo);
    return connect_to(*found);
}

/// What was measured between the end of the warm-up and the end of the run.
struct Meter {
    Nanoseconds begin = 0;
    Nanoseconds end = 0;
    Nanoseconds server_cpu = 0;  // at first the reading at the beginning, then the difference
    Nanoseconds client_cpu = 0;
    std::uint64_t messages = 0;
    Histogram latencies;
};

class Load {
  public:
    explicit Load(const Options& options)
        : options_(options),
          batch_(make_batch(options, options.request)),
          expected_(make_batch(options, options.answer)),
          buffer_(expected_.size() + 1) {
        if (options.server_pid != 0 && clock_getcpuclockid(options.server_pid, &server_clock_)) {
            throw std::invalid_argument("--server-pid: no such process");
        }
        epoll_ = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ < 0) {
            throw_errno("epoll_create1");
        }
        connections_.resize(options.connections);
        for (Connection& connection : connections_) {
            connection.fd = connect_to(options.target);
            arm(EPOLL_CTL_ADD, connection);
        }
    }

    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

    ~Load() {
        for (const Connection& connection : connections_) {
            close(connection.fd);
        }
        close(epoll_);
    }

    const Meter& run() {
        const Nanoseconds start = read_clock(CLOCK_MONOTONIC);
        const Nanoseconds deadline = start + from_seconds(options_.timeout);
        measure_from_ = start + from_seconds(options_.warmup);
        stop_at_ =
            options_.messages != 0 ? deadline : measure_from_ + from_seconds(options_.duration);
        now_ = start;
        follow_phase();
        for (Connection& connection : connections_) {
            start_batch(connection);
        }
        while (busy_ != 0) {
            turn(deadline);
        }
        if (phase_ != Phase::draining) {
            now_ = read_clock(CLOCK_MONOTONIC);
            finish_measuring();
        }
        return meter_;
    }

  private:
    enum class Phase { warming_up, measuring, draining };

    void turn(Nanoseconds deadline) {
        std::array<epoll_event, 512> events;
        const int ready = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 1000);
        if (ready < 0 && errno != EINTR) {
            throw_errno("epoll_wait");
        }
        now_ = read_clock(CLOCK_MONOTONIC);
        if (now_ > deadline) {
            throw std::runtime_error("time-out: " + std::to_string(busy_) +
                                     " connections wait for answers");
        }
        follow_phase();
        for (int i = 0; i < ready; ++i) {
            const epoll_event& event = events[static_cast<std::size_t>(i)];
            auto& connection = *static_cast<Connection*>(event.data.ptr);
            if ((event.events & EPOLLOUT) != 0) {
                send_rest(connection);
            }
            if ((event.events & ~std::uint32_t{EPOLLOUT}) != 0) {
                receive(connection);
            }
        }
    }

    void follow_phase() {
        if (phase_ == Phase::warming_up && now_ >= measure_from_) {
            phase_ = Phase::measuring;
            meter_.begin = now_;
            meter_.server_cpu = read_clock(server_clock_);
            meter_.client_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
        } else if (phase_ == Phase::measuring && now_ >= stop_at_) {
            finish_measuring();
        }
    }

    void finish_measuring() {
        phase_ = Phase::draining;
        meter_.end = now_;
        meter_.server_cpu = read_clock(server_clock_) - meter_.server_cpu;
        meter_.client_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - meter_.client_cpu;
    }

    void start_batch(Connection& connection) {
        if (phase_ == Phase::draining ||
            (options_.messages != 0 && started_ >= options_.messages)) {
            return;
        }
        started_ += options_.pipeline;
        ++busy_;
        connection.is_busy = true;
        connection.sent = 0;
        connection.received = 0;
        connection.started = read_clock(CLOCK_MONOTONIC);
        send_rest(connection);
    }

    void send_rest(Connection& connection) {
        const ssize_t sent = send(connection.fd, batch_.data() + connection.sent,
                                  batch_.size() - connection.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            throw_errno("send");
        }
        connection.sent += sent > 0 ? static_cast<std::size_t>(sent) : 0;
        const bool wants_write = connection.sent < batch_.size();
        if (wants_write != connection.wants_write) {
            connection.wants_write = wants_write;
            arm(EPOLL_CTL_MOD, connection);
        }
    }

    void receive(Connection& connection) {
        const ssize_t count = recv(connection.fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
        if (count < 0) {
            if (errno == EAGAIN || errno == EINTR) {
                return;
            }
            throw_errno("recv");
        }
        if (count == 0) {
            throw std::runtime_error("the server closed a connection");
        }
        verify(connection, static_cast<std::size_t>(count));
        const std::size_t before = connection.received / options_.size;
        connection.received += static_cast<std::size_t>(count);
        record(connection, connection.received / options_.size - before);
        if (connection.received == expected_.size()) {
            --busy_;
            connection.is_busy = false;
            start_batch(connection);
        }
    }

    void verify(const Connection& connection, std::size_t count) const {
        if (!connection.is_busy || connection.received + count > expected_.size()) {
            throw std::runtime_error("more bytes came back than were expected");
        }
        if (std::memcmp(buffer_.data(), expected_.data() + connection.received, count) != 0) {
            throw std::runtime_error("an answer differs from its message");
        }
    }

    void record(const Connection& connection, std::size_t completed) {
        if (phase_ == Phase::measuring && completed != 0) {
            meter_.latencies.add(read_clock(CLOCK_MONOTONIC) - connection.started, completed);
            meter_.messages += completed;
        }
    }

    void arm(int operation, Connection& connection) const {
        epoll_event event{};
        event.events = EPOLLIN;
        if (connection.wants_write) {
            event.events |= EPOLLOUT;
        }
        event.data.ptr = &connection;
        if (epoll_ctl(epoll_, operation, connection.fd, &event) < 0) {
            throw_errno("epoll_ctl");
        }
    }

    const Options& options_;
    const std::string batch_;     // what a connection sends
    const std::string expected_;  // what comes back
    std::vector<char> buffer_;    // one byte more than that, so that surplus is noticed
    std::vector<Connection> connections_;
    int epoll_ = -1;
    clockid_t server_clock_ = CLOCK_PROCESS_CPUTIME_ID;
    Phase phase_ = Phase::warming_up;
    Nanoseconds now_ = 0;  // once per turn
    Nanoseconds measure_from_ = 0;
    Nanoseconds stop_at_ = 0;
    std::uint64_t started_ = 0;
    std::size_t busy_ = 0;
    Meter meter_;
};

void print_report(const Options& options, const Meter& meter) {
    const double seconds = in_seconds(meter.end - meter.begin);
    const auto messages = static_cast<double>(meter.messages);
    std::printf("{\"messages\": %llu, \"seconds\": %.6f, \"rate\": %.1f, \"bytes\": %llu, ",
                static_cast<unsigned long long>(meter.messages), seconds, messages / seconds,
                static_cast<unsigned long long>(meter.messages * options.size));
    std::printf("\"latency_us\": {\"median\": %.2f, \"p99\": %.2f}, ",
                meter.latencies.quantile(0.50) / 1e3, meter.latencies.quantile(0.99) / 1e3);
    if (options.server_pid != 0) {
        std::printf("\"server_cpu_seconds\": %.6f, ", in_seconds(meter.server_cpu));
    }
    std::printf("\"client_cpu_seconds\": %.6f}\n", in_seconds(meter.client_cpu));
}

void raise_descriptor_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

}  // namespace

int main(int count, char** arguments) {
    try {
        raise_descriptor_limit();
        const Options options = parse_options({arguments + 1, arguments + count});
        Load load(options);
        print_report(options, load.run());
        return EXIT_SUCCESS;
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "load_client: %s\n", failure.what());
        return EXIT_FAILURE;
    }
}
