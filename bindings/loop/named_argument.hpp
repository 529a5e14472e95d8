#pragma once

#include "../arguments.hpp"
#include "../ref.hpp"

namespace epoll::python {

/// The signature of a method with one parameter, which a program may give by its name.
[[nodiscard]] constexpr Signature<1> named_argument(const char* method, const char* name) noexcept {
    return {method, {name}, {Parameter::required}};
}

/// For make_method: a function of one argument as a method of that signature, since asyncio's
/// methods are written in Python and take each argument by name, too.
template <class Self, Ref (*Function)(Self&, PyObject*), const Signature<1>& signature>
Ref by_name(Self& self, const CallArguments& arguments) {
    // NOLINTNEXTLINE(readability-redundant-parentheses): it sees those of the instantiation
    const auto bound = signature.bind(arguments);
    return bound ? Function(self, (*bound)[0]) : Ref{};
}

}  // namespace epoll::python
