#include "handle_pool.hpp"

#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <new>

#include "handle_part.hpp"

namespace epoll::python {

namespace {

#ifdef Py_GIL_DISABLED
constexpr std::size_t k_most = 0;
#else
constexpr std::size_t k_most = 4096;
#endif

/// Gives the slot `blank`, as a new handle has it.
[[gnu::always_inline]] inline void reset(PyObject* handle, Py_ssize_t offset,
                                         PyObject* blank) noexcept {
    if (slot_of(handle, offset) != blank) {
        const Ref old = exchange_slot(handle, offset, Ref::borrow(blank));
    }
}

/// Whether the layout has a name for the slot, in the class of a handle of that kind.
bool is_known(const HandleLayout& at, HandleKind kind, Py_ssize_t offset) noexcept {
    const std::initializer_list<Py_ssize_t> common = {
        at.callback, at.args, at.context, at.loop, at.cancelled, at.repr, at.source_traceback};
    return std::find(common.begin(), common.end(), offset) != common.end() ||
           (kind == HandleKind::timer && (offset == at.when || offset == at.scheduled)) ||
           (kind == HandleKind::threadsafe && offset == at.lock);
}

}  // namespace

void HandlePool::open(PyTypeObject* type, HandleKind kind, const HandleLayout& layout) {
    const PyTypeObject& base = *type->tp_base;
    for (Py_ssize_t at = sizeof(PyObject); at < base.tp_basicsize; at += sizeof(PyObject*)) {
        if (at != base.tp_weaklistoffset && !is_known(layout, kind, at)) {
            others_.push_back(at);
        }
    }
    dead_.reserve(k_most);
    most_ = k_most;
    type_ = type;
    kind_ = kind;
    layout_ = &layout;
}

Ref HandlePool::make(Loop& loop) noexcept {
    PyObject* handle = nullptr;
    if (dead_.empty()) [[unlikely]] {
        handle = allocate();
        if (handle == nullptr) {
            return {};
        }
    } else {
        handle = dead_.back();
        dead_.pop_back();
        Py_SET_REFCNT(handle, 1);
    }
    slot_of(handle, layout_->loop) = Ref::borrow(loop.self()).release();
    return Ref::steal(handle);
}

/// Calls visit(offset, value) for each slot of a blank handle that is not empty.
template <class Visit>
void HandlePool::for_each_filled(Visit visit) const noexcept {
    visit(layout_->cancelled, Py_False);
    visit(layout_->repr, Py_None);
    visit(layout_->source_traceback, Py_None);
    if (kind_ == HandleKind::timer) {
        visit(layout_->scheduled, Py_False);
    }
}

PyObject* HandlePool::allocate() const noexcept {
    PyObject* const handle = PyObject_GC_New(PyObject, type_);
    if (handle != nullptr) {
        const auto size = static_cast<std::size_t>(type_->tp_basicsize);
        std::memset(reinterpret_cast<std::byte*>(handle) + sizeof(PyObject), 0,
                    size - sizeof(PyObject));
        for_each_filled([handle](Py_ssize_t offset, PyObject* value) {
            slot_of(handle, offset) = Ref::borrow(value).release();
        });
        const auto place = static_cast<std::ptrdiff_t>(size - sizeof(HandlePart));
        auto& part = *::new (&part_of(handle)) HandlePart{kind_, place - layout_->loop};
        if (kind_ == HandleKind::timer) {
            ::new (&timer_of(part)) TimerPart{};
        }
    }
    return handle;
}

/// Gives all slots but the one of the loop what a new handle has there.
void HandlePool::blank(PyObject* dead) const noexcept {
    const HandleLayout& at = *layout_;
    for_each_filled([dead](Py_ssize_t offset, PyObject* value) { reset(dead, offset, value); });
    reset(dead, at.callback, nullptr);
    reset(dead, at.args, nullptr);
    reset(dead, at.context, nullptr);
    if (kind_ == HandleKind::timer) {
        reset(dead, at.when, nullptr);
    } else if (kind_ == HandleKind::threadsafe) {
        reset(dead, at.lock, nullptr);
    }
    for (const Py_ssize_t other : others_) {
        reset(dead, other, nullptr);
    }
}

void HandlePool::put(PyObject* dead) noexcept {
    blank(dead);
    const Ref loop = exchange_slot(dead, layout_->loop, Ref{});  // it keeps this pool alive
    if (dead_.size() < most_) {
        dead_.push_back(dead);
    } else {
        free(dead);
    }
}

int HandlePool::traverse(visitproc visit, void* arg) const noexcept {
    for (const PyObject* const dead : dead_) {
        Py_VISIT(Py_TYPE(dead));
    }
    return 0;
}

void HandlePool::close() noexcept {
    most_ = 0;
    for (PyObject* const dead : dead_) {
        free(dead);
    }
    dead_.clear();
}

void HandlePool::free(PyObject* dead) const noexcept {
    HandlePart& part = part_of(dead);
    if (kind_ == HandleKind::timer) {
        std::destroy_at(&timer_of(part));
    }
    std::destroy_at(&part);
    for_each_filled([dead](Py_ssize_t offset, PyObject*) {
        const Ref dropped = exchange_slot(dead, offset, Ref{});
    });
    const Ref type = Ref::steal(reinterpret_cast<PyObject*>(Py_TYPE(dead)));
    PyObject_GC_Del(dead);
}

}  // namespace epoll::python
