#pragma once

#include "../python.hpp"

namespace epoll::python {

/// Counts one more or one less user of the socket object's descriptor, as socket.makefile() does:
/// a close() by the program waits for the last of them. False, and no exception, for an object that
/// does not count them: it is closed by whoever owns it.
bool change_io_references(PyObject* socket, long change) noexcept;

}  // namespace epoll::python
