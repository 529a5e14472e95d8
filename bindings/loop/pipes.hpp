#pragma once

#include <epoll/base/intrusive_list.hpp>

#include "../python.hpp"

namespace epoll::python {

class PipeTransport;
struct LivePipeTag;

/// The pipe transports of a loop that have not ended yet. The loop keeps them alive, as it does
/// those of sockets. On the loop's thread only.
class Pipes {
  public:
    Pipes() noexcept;
    Pipes(const Pipes&) = delete;
    Pipes& operator=(const Pipes&) = delete;
    ~Pipes();

    /// Takes a reference to the object of `pipe`, until remove().
    void add(PipeTransport& pipe) noexcept;
    static void remove(PipeTransport& pipe) noexcept;

    /// For the end of the loop, while its reactor still exists. Nothing is watched or called any
    /// more; a transport that nobody else has dies with a ResourceWarning and closes its pipe.
    void close() noexcept;

    int traverse(visitproc visit, void* arg) noexcept;

  private:
    IntrusiveList<PipeTransport, LivePipeTag> live_;
};

}  // namespace epoll::python
