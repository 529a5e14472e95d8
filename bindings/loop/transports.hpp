#pragma once

#include <epoll/base/intrusive_list.hpp>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

struct LiveTransportTag;

/// A transport that the loop keeps alive.
class LiveTransport : public ListHook<LiveTransportTag> {
  public:
    /// The Python object, borrowed.
    [[nodiscard]] virtual PyObject* self() const noexcept = 0;

    /// The loop ends: see Transports::close().
    virtual void abandon() noexcept = 0;

  protected:
    ~LiveTransport() = default;
};

/// The transports of a loop that have not ended yet. The loop keeps them alive: whoever drops the
/// last reference to one that reads has not closed the connection. On the loop's thread only.
class Transports {
  public:
    Transports() noexcept;
    Transports(const Transports&) = delete;
    Transports& operator=(const Transports&) = delete;
    ~Transports();

    /// Takes a reference to the object of `transport`, until remove().
    void add(LiveTransport& transport) noexcept;
    static void remove(LiveTransport& transport) noexcept;

    /// For the end of the loop, while its reactor still exists. Nothing is watched or called any
    /// more; a transport that nobody else has dies, with a ResourceWarning as every unclosed one,
    /// and closes its connection.
    void close() noexcept;

    /// A list of them; empty with an exception set.
    [[nodiscard]] Ref list() noexcept;

    int traverse(visitproc visit, void* arg) noexcept;
    void clear() noexcept { close(); }

  private:
    IntrusiveList<LiveTransport, LiveTransportTag> live_;
};

}  // namespace epoll::python
