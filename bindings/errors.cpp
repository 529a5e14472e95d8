#include "errors.hpp"

#include <cerrno>
#include <cstdarg>
#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>
#include <utility>

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

Ref take_exception() noexcept {
#if PY_VERSION_HEX >= 0x030C0000
    return Ref::steal(PyErr_GetRaisedException());
#else
    PyObject* type = nullptr;
    PyObject* value = nullptr;
    PyObject* traceback = nullptr;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    const Ref old_type = Ref::steal(type);
    const Ref old_traceback = Ref::steal(traceback);
    if (old_traceback) {
        PyException_SetTraceback(value, old_traceback.get());
    }
    return Ref::steal(value);
#endif
}

void set_exception(Ref exception) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
    PyErr_SetRaisedException(exception.release());
#else
    Ref type = Ref::borrow(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())));
    Ref traceback = Ref::steal(PyException_GetTraceback(exception.get()));
    PyErr_Restore(type.release(), exception.release(), traceback.release());
#endif
}

bool is_leaving_exception() noexcept {
    return PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) != 0 ||
           PyErr_ExceptionMatches(PyExc_SystemExit) != 0;
}

ExceptionKept::ExceptionKept() noexcept
    : kept_(PyErr_Occurred() != nullptr ? take_exception() : Ref{}) {}

ExceptionKept::~ExceptionKept() {
    if (kept_) {
        set_exception(std::move(kept_));
    }
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
