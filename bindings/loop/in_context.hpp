#pragma once

#include "../python.hpp"

namespace epoll::python {

/// Makes `context` (borrowed, a contextvars.Context) the current one while it lives.
class InContext {
  public:
    explicit InContext(PyObject* context) noexcept
        : context_(context), is_entered_(PyContext_Enter(context) == 0) {}
    InContext(const InContext&) = delete;
    InContext& operator=(const InContext&) = delete;
    ~InContext() {
        if (is_entered_) {
            (void)PyContext_Exit(context_);
        }
    }

    /// False with RuntimeError set when somebody else has entered it: then call nothing.
    [[nodiscard]] bool is_entered() const noexcept { return is_entered_; }

  private:
    PyObject* context_;
    bool is_entered_;
};

}  // namespace epoll::python
