#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>

#include "python.hpp"

namespace epoll::python {

/// What a METH_FASTCALL | METH_KEYWORDS function is called with. All of it is borrowed.
struct CallArguments {
    PyObject* const* values;  ///< the positional ones, then those of `names`
    Py_ssize_t positional;
    PyObject* names;  ///< a tuple of str, or null
};

/// What one parameter of a function is.
enum class Parameter : unsigned char { required, optional, keyword_only };

namespace detail {
bool bind_arguments(const char* function, std::span<const char* const> names,
                    std::span<const Parameter> kinds, const CallArguments& arguments,
                    std::span<PyObject*> bound) noexcept;
}  // namespace detail

/// The name and the parameters of a function of Python, to sort a call's arguments by.
template <std::size_t Count>
struct Signature {
    const char* function;
    std::array<const char*, Count> names;
    std::array<Parameter, Count> kinds;

    /// The borrowed argument of each parameter, null for those left out; nothing, with the
    /// TypeError that a function written in Python would raise, when the call does not fit.
    [[nodiscard]] std::optional<std::array<PyObject*, Count>> bind(
        const CallArguments& arguments) const noexcept {
        std::array<PyObject*, Count> bound{};
        const auto given = static_cast<std::size_t>(arguments.positional);
        if (arguments.names == nullptr && given >= count(Parameter::required) &&
            given <= Count - count(Parameter::keyword_only)) {  // most calls
            std::copy_n(arguments.values, given, bound.begin());
            return bound;
        }
        if (!detail::bind_arguments(function, names, kinds, arguments, bound)) {
            return std::nullopt;
        }
        return bound;
    }

  private:
    [[nodiscard]] constexpr std::size_t count(Parameter kind) const noexcept {
        return static_cast<std::size_t>(std::count(kinds.begin(), kinds.end(), kind));
    }
};

}  // namespace epoll::python
