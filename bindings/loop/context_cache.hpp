#pragma once

#include <utility>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

/// Where a contextvars.Context keeps its variables: a pointer to an immutable object, which copies
/// of the context share until one of them sets a variable. CPython does not publish the offset: it
/// is found by trying, once.
class ContextLayout {
  public:
    /// Looks for it. Afterwards nothing is known when this interpreter does it in another way;
    /// false with an exception set only when memory is short.
    [[nodiscard]] bool find() noexcept;

    [[nodiscard]] bool is_known() const noexcept { return offset_ != 0; }

    /// Whether two contexts have the same variables. Only when is_known().
    [[nodiscard]] bool are_equal(PyObject* a, PyObject* b) const noexcept {
        return variables(a) == variables(b);
    }

  private:
    [[nodiscard]] void* variables(PyObject* context) const noexcept {
        return *reinterpret_cast<void**>(reinterpret_cast<char*>(context) + offset_);
    }

    Py_ssize_t offset_ = 0;
};

/// Copies of the current context for callbacks. A program that schedules many callbacks seldom sets
/// a variable in between, so one copy stands for all of them, and is copied again when one runs:
/// then it lives for a moment only, and the garbage collector does not meet one for each callback.
/// One that a callback has left unchanged serves the next callback, too.
class ContextCache {
  public:
    /// A copy of the current context that others may have, too: it must not be entered unless the
    /// reference is the only one. Empty with an exception set.
    [[nodiscard]] Ref copy_current(const ContextLayout& layout) noexcept;

    /// A copy of `shared`, which copy_current() has answered, to be entered for one call. Empty
    /// with an exception set.
    [[nodiscard]] Ref take(const ContextLayout& layout, PyObject* shared) noexcept {
        return spare_ && layout.are_equal(spare_.get(), shared)
                   ? std::move(spare_)
                   : Ref::steal(PyContext_Copy(shared));
    }

    /// After the call, with any context: one that is as good as new is kept for the next take(). It
    /// has the variables of the copy that is kept anyway, and nobody else refers to it.
    void give_back(const ContextLayout& layout, Ref context) noexcept {
        if (Py_REFCNT(context.get()) == 1 && copy_ &&
            layout.are_equal(context.get(), copy_.get())) {
            spare_ = std::move(context);
        }
    }

    int traverse(visitproc visit, void* arg) const noexcept {
        Py_VISIT(copy_.get());
        Py_VISIT(spare_.get());
        return 0;
    }
    void clear() noexcept {
        spare_.reset();
        copy_.reset();
    }

  private:
    Ref copy_;   ///< only when the layout is known
    Ref spare_;  ///< entered by nobody, equal to copy_
};

}  // namespace epoll::python
