#include "pipes.hpp"

#include "../ref.hpp"
#include "pipe_transport.hpp"

namespace epoll::python {

Pipes::Pipes() noexcept = default;

Pipes::~Pipes() { close(); }

void Pipes::add(PipeTransport& pipe) noexcept {
    (void)Ref::borrow(pipe.self()).release();
    live_.push_back(pipe);
}

void Pipes::remove(PipeTransport& pipe) noexcept {
    if (pipe.is_linked()) {
        const Ref last = Ref::steal(pipe.self());
        pipe.unlink();
    }
}

void Pipes::close() noexcept {
    while (PipeTransport* const pipe = live_.pop_front()) {
        const Ref last = Ref::steal(pipe->self());
        pipe->abandon();
    }
}

int Pipes::traverse(visitproc visit, void* arg) noexcept {
    for (PipeTransport& pipe : live_) {
        Py_VISIT(pipe.self());
    }
    return 0;
}

}  // namespace epoll::python
