#include "held_handles.hpp"

#include "../gil.hpp"
#include "handle_part.hpp"

namespace epoll::python {

namespace {

void track_if_shared(PyObject* handle) noexcept {
    if (Py_REFCNT(handle) > 1 && PyObject_GC_IsTracked(handle) == 0) {
        PyObject_GC_Track(handle);
    }
}

}  // namespace

HeldHandles::HeldHandles() noexcept = default;

HeldHandles::~HeldHandles() { drop_all(); }

void HeldHandles::add(HandlePart& part) noexcept {
    const CriticalSection section{part.loop_slot()};
    settle();
    newest_ = &part;
    held_.push_back(part);
}

void HeldHandles::remove(HandlePart& part) noexcept {
    if (newest_ == &part) {
        newest_ = nullptr;
    }
    part.ListHook<HeldTag>::unlink();
    track_if_shared(part.handle());
}

void HeldHandles::settle() noexcept {
    if (newest_ != nullptr) {
        track_if_shared(newest_->handle());
        newest_ = nullptr;
    }
}

void HeldHandles::drop_all() noexcept {
    while (HandlePart* const part = held_.front()) {
        part->cancel();
        if (part->is_timer()) {
            timer_of(*part).stop();
        }
        const Ref handle = part->let_go();
    }
}

int HeldHandles::traverse(visitproc visit, void* arg) noexcept {
    for (HandlePart& part : held_) {
        PyObject* const handle = part.handle();
        if (PyObject_GC_IsTracked(handle) != 0) {
            Py_VISIT(handle);
        } else if (Py_REFCNT(handle) == 1) {  // ours alone
            if (const int stopped = Py_TYPE(handle)->tp_traverse(handle, visit, arg);
                stopped != 0) {
                return stopped;
            }
        }
    }
    return 0;
}

}  // namespace epoll::python
