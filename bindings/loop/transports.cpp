#include "transports.hpp"

namespace epoll::python {

Transports::Transports() noexcept = default;

Transports::~Transports() { close(); }

void Transports::add(LiveTransport& transport) noexcept {
    (void)Ref::borrow(transport.self()).release();
    live_.push_back(transport);
}

void Transports::remove(LiveTransport& transport) noexcept {
    if (transport.is_linked()) {
        const Ref last = Ref::steal(transport.self());
        transport.unlink();
    }
}

void Transports::close() noexcept {
    while (LiveTransport* const transport = live_.pop_front()) {
        const Ref last = Ref::steal(transport->self());
        transport->abandon();
    }
}

Ref Transports::list() noexcept {
    Ref all = Ref::steal(PyList_New(0));
    for (const LiveTransport& transport : live_) {
        if (!all || PyList_Append(all.get(), transport.self()) < 0) {
            return {};
        }
    }
    return all;
}

int Transports::traverse(visitproc visit, void* arg) noexcept {
    for (LiveTransport& transport : live_) {
        Py_VISIT(transport.self());
    }
    return 0;
}

}  // namespace epoll::python
