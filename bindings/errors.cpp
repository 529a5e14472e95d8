#include "errors.hpp"

#include <cerrno>
#include <cstdarg>
#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>

#include "gil.hpp"

namespace epoll::python {

Ref os_error(int number) noexcept {
    errno = number;
    PyErr_SetFromErrno(PyExc_OSError);
    return {};
}

Ref error(PyObject* type, const char* format, ...) noexcept {
    va_list values;
    va_start(values, format);
    PyErr_FormatV(type, format, values);
    va_end(values);
    return {};
}

void translate_exception() noexcept {
    try {
        throw;
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
    } catch (const std::length_error&) {
        PyErr_NoMemory();
    } catch (const std::system_error& failure) {
        (void)os_error(failure.code().value());
    } catch (const std::exception& failure) {
        PyErr_SetString(PyExc_RuntimeError, failure.what());
    } catch (...) {
        hang_thread();
    }
}

}  // namespace epoll::python
