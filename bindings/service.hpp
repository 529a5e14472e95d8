#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include <epoll/loop/reactor.hpp>
#include <epoll/serve/message_server.hpp>

#include "gil.hpp"
#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

/// Who answers the messages of a Service.
enum class Responder : std::uint8_t { echo, hello, python };

/// What a Service calls. Empty: nobody wants to know.
struct ServiceCallbacks {
    Ref handler;   ///< handler(message) or handler(message, connection) -> bytes-like | None
    Ref on_open;   ///< on_open(connection)
    Ref on_close;  ///< on_close(connection, reason, errno)
    Ref on_error;  ///< on_error(what, peer, exception), never empty: where failures are logged
    Ref connection_type;
    bool takes_connection = false;
};

/// A MessageServer whose messages Python answers, and the reactor that it runs on: the heart of the
/// type Server.
///
/// The thread in run() is its thread. With a Python handler that thread holds the GIL except while
/// it waits; with a native one and no callbacks it holds it only to look after signals and to log.
class Service final : private MessageHandler, private WaitObserver {
  public:
    Service(ServiceCallbacks callbacks, Responder responder, const ServerOptions& options);
    ~Service();
    Service(const Service&) = delete;
    Service& operator=(const Service&) = delete;

    /// Takes over a listening socket. Only while it does not run. Throws std::system_error.
    void listen(OwnedFd socket, bool is_shared);

    /// Serves until stop() has taken effect, then answers None. An empty Ref when what Python code
    /// raised ends it: a signal handler anything, a callback what is no Exception. RuntimeError
    /// when it runs or ran already. `signal_fd` (borrowed; -1 for none) becomes readable when the
    /// interpreter has received a signal (signal.set_wakeup_fd).
    [[nodiscard]] Ref run(int signal_fd);

    /// MessageServer::stop() from any thread.
    void stop(Duration grace) noexcept;

    /// Calls `callback` on the service's thread, soon. Any thread. False, and nothing is kept, when
    /// the service has ended.
    [[nodiscard]] bool call_soon(Ref callback);

    [[nodiscard]] ServerStatistics statistics() const noexcept { return server_.statistics(); }
    /// How often a handler or a callback has failed.
    [[nodiscard]] std::uint64_t handler_errors() const noexcept { return handler_errors_.value(); }
    [[nodiscard]] ReactorStatistics turns() const noexcept { return reactor_.statistics(); }

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;

  private:
    class SignalSource;
    friend class SignalSource;

    void on_open(Connection& connection) override;
    void on_message(Connection& connection, std::span<const std::byte> message) override;
    void on_too_long(Connection& connection) override;
    void on_close(Connection& connection, CloseReason reason, int error) noexcept override;
    void on_accept_error(int error) noexcept override;
    void on_stopped() noexcept override;
    void on_block() noexcept override;
    void on_unblock() noexcept override;
    bool prefers_polling() noexcept override;

    template <class Work>
    void with_gil(Work work) noexcept;
    void call_handler(Connection& connection, std::span<const std::byte> message);
    void answer(Connection& connection, Ref result);
    void close_for_failure(const char* what, Connection* connection) noexcept;
    void log_failure(const char* what, const Connection* connection) const noexcept;
    void end_with_exception() noexcept;
    void check_signals() noexcept;
    void on_stop_due() noexcept;
    void on_calls_due() noexcept;

    ServiceCallbacks callbacks_;
    Responder responder_;
    Reactor reactor_;
    MessageServer server_;
    std::optional<GilReleased> released_;
    Counter handler_errors_;
    Ref raised_;  ///< the exception that ends run()
    enum class State : std::uint8_t { fresh, running, ended };
    std::atomic<State> state_{State::fresh};

    std::atomic<Duration::rep> grace_{0};
    MemberDeferred<Service, &Service::on_stop_due> stop_due_{*this};
    std::mutex calls_mutex_;
    std::vector<Ref> calls_;  ///< guarded by calls_mutex_
    MemberDeferred<Service, &Service::on_calls_due> calls_due_{*this};
};

/// The Python object of a connection, made when somebody first wants it: a new reference, or an
/// empty one with an exception set.
[[nodiscard]] Ref connection_object(PyObject* type, Connection& connection);

/// The connection is about to be gone: its Python object, if there is one, learns it.
Ref detach_connection_object(Connection& connection) noexcept;

/// (host, port) of an IP address, a str (or bytes, for an abstract name) of a Unix one.
[[nodiscard]] Ref peer_object(const Address& address);

}  // namespace epoll::python
