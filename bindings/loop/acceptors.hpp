#pragma once

#include <memory>
#include <vector>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

class Loop;

/// What a server accepts with; all objects borrowed, those that may be null or None marked.
struct AcceptorParts {
    PyObject* protocol_factory;
    PyObject* socket;   ///< listening already, non-blocking
    PyObject* server;   ///< null, None or the asyncio Server: each transport attaches itself to it
    PyObject* context;  ///< null, None or the context whose copies the connections run in
};

/// The listening sockets of one loop. Each accepted connection becomes a SocketTransport whose
/// protocol comes from the factory.
///
/// A listener watches a duplicate of the program's descriptor: a program that closes its socket
/// object cannot make us accept on a stranger's number. Failures are reported as asyncio reports
/// them; a lack of descriptors once per episode, and the waiting peers are served when it is over.
/// On the loop's thread only.
class Acceptors {
  public:
    explicit Acceptors(Loop& loop) noexcept;
    Acceptors(const Acceptors&) = delete;
    Acceptors& operator=(const Acceptors&) = delete;
    ~Acceptors();

    /// Begins to accept. Who accepted on the same socket object is replaced. False with an
    /// exception set.
    [[nodiscard]] bool start(const AcceptorParts& parts);

    /// Accepts no more on `socket`; whether it did. Who waits in the backlog is reset when the
    /// program has closed its socket, too.
    bool stop(PyObject* socket) noexcept;

    /// Accepts no more at all, for the end of the loop.
    void close() noexcept;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept { close(); }

  private:
    class Acceptor;

    Loop& loop_;
    std::vector<std::unique_ptr<Acceptor>> acceptors_;
};

}  // namespace epoll::python
