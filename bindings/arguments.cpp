#include "arguments.hpp"

#include <algorithm>

#include "errors.hpp"

namespace epoll::python::detail {

namespace {

bool too_many(const char* function, std::size_t most, Py_ssize_t given) noexcept {
    if (most == 0) {
        (void)error(PyExc_TypeError, "%s() takes no positional arguments", function);
    } else {
        (void)error(PyExc_TypeError, "%s() takes at most %zu positional argument%s (%zd given)",
                    function, most, most == 1 ? "" : "s", given);
    }
    return false;
}

bool bind_keyword(const char* function, std::span<const char* const> names, PyObject* name,
                  PyObject* value, std::span<PyObject*> bound) noexcept {
    for (std::size_t place = 0; place < names.size(); ++place) {
        if (PyUnicode_CompareWithASCIIString(name, names[place]) != 0) {
            continue;
        }
        if (bound[place] != nullptr) {
            (void)error(PyExc_TypeError, "%s() got multiple values for argument '%U'", function,
                        name);
            return false;
        }
        bound[place] = value;
        return true;
    }
    (void)error(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", function, name);
    return false;
}

}  // namespace

bool bind_arguments(const char* function, std::span<const char* const> names,
                    std::span<const Parameter> kinds, const CallArguments& arguments,
                    std::span<PyObject*> bound) noexcept {
    const auto first_keyword = std::find(kinds.begin(), kinds.end(), Parameter::keyword_only);
    const auto most = static_cast<std::size_t>(first_keyword - kinds.begin());
    const auto given = static_cast<std::size_t>(arguments.positional);
    if (given > most) {
        return too_many(function, most, arguments.positional);
    }
    std::copy_n(arguments.values, given, bound.begin());
    const Py_ssize_t named = arguments.names == nullptr ? 0 : PyTuple_GET_SIZE(arguments.names);
    for (Py_ssize_t index = 0; index < named; ++index) {
        if (!bind_keyword(function, names, PyTuple_GET_ITEM(arguments.names, index),
                          arguments.values[arguments.positional + index], bound)) {
            return false;
        }
    }
    for (std::size_t place = given; place < names.size(); ++place) {
        if (kinds[place] == Parameter::required && bound[place] == nullptr) {
            (void)error(PyExc_TypeError, "%s() missing required argument '%s' (pos %zu)", function,
                        names[place], place + 1);
            return false;
        }
    }
    return true;
}

}  // namespace epoll::python::detail
