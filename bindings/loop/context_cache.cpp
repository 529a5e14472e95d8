#include "context_cache.hpp"

namespace epoll::python {

namespace {

/// Sets a new variable in `context`.
bool set_variable(PyObject* context) noexcept {
    const Ref variable = Ref::steal(PyContextVar_New("epoll._loop", nullptr));
    if (!variable || PyContext_Enter(context) < 0) {
        return false;
    }
    const Ref token = Ref::steal(PyContextVar_Set(variable.get(), Py_None));
    return PyContext_Exit(context) == 0 && token;
}

}  // namespace

bool ContextLayout::find() noexcept {
    const Ref original = Ref::steal(PyContext_New());
    if (!original || !set_variable(original.get())) {
        return false;
    }
    const Ref same = Ref::steal(PyContext_Copy(original.get()));
    const Ref other = Ref::steal(PyContext_Copy(original.get()));
    if (!same || !other || !set_variable(other.get())) {
        return false;
    }
    const Py_ssize_t size = Py_TYPE(original.get())->tp_basicsize;
    Py_ssize_t found = 0;
    int count = 0;
    for (offset_ = sizeof(PyObject); offset_ + Py_ssize_t{sizeof(void*)} <= size;
         offset_ += sizeof(void*)) {
        if (variables(original.get()) != nullptr && are_equal(original.get(), same.get()) &&
            !are_equal(original.get(), other.get())) {
            found = offset_;
            ++count;
        }
    }
    offset_ = count == 1 ? found : 0;
    return true;
}

Ref ContextCache::copy_current(const ContextLayout& layout) noexcept {
    PyObject* const current = PyThreadState_Get()->context;
    if (copy_ && current != nullptr && layout.are_equal(current, copy_.get())) {
        return Ref::borrow(copy_.get());
    }
    Ref copy = Ref::steal(PyContext_CopyCurrent());
    if (copy && layout.is_known()) {
        spare_.reset();
        copy_ = Ref::borrow(copy.get());
    }
    return copy;
}

}  // namespace epoll::python
