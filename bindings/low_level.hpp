#pragma once

#include "python.hpp"

namespace epoll::python {

/// The functions of the module: create, ctl, wait and close, ended by an empty entry.
[[nodiscard]] PyMethodDef* low_level_functions() noexcept;

}  // namespace epoll::python
