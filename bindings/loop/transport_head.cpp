#include "transport_head.hpp"

#include <limits>
#include <utility>

#include "../errors.hpp"

namespace epoll::python {

namespace {

/// True if instances of `base` are exactly what precedes our part in a TransportHead.
bool has_expected_layout(PyObject* base, std::size_t hidden_slots) noexcept {
    constexpr std::size_t k_extra = offsetof(TransportHead<0>, slots);
    const std::size_t size = k_extra + (1 + hidden_slots) * sizeof(PyObject*);
    const Ref slot = Ref::steal(PyObject_GetAttrString(base, "_extra"));
    if (slot && Py_IS_TYPE(slot.get(), &PyMemberDescr_Type) &&
        reinterpret_cast<PyTypeObject*>(base)->tp_basicsize == static_cast<Py_ssize_t>(size) &&
        reinterpret_cast<PyMemberDescrObject*>(slot.get())->d_member->offset ==
            static_cast<Py_ssize_t>(k_extra)) {
        return true;
    }
    (void)error(PyExc_ImportError, "%R has an unknown layout: this asyncio is not CPython's", base);
    return false;
}

/// A number of bytes; one that is too large is as good as the largest. Nothing with an exception
/// set.
std::optional<Py_ssize_t> to_limit(PyObject* number) noexcept {
    const Ref whole = PyFloat_Check(number) ? Ref::steal(PyNumber_Long(number))
                                            : Ref::steal(PyNumber_Index(number));
    int overflow = 0;
    const long long value = whole ? PyLong_AsLongLongAndOverflow(whole.get(), &overflow) : -1;
    if (!whole || (value == -1 && PyErr_Occurred() != nullptr)) {
        return std::nullopt;
    }
    constexpr Py_ssize_t k_most = std::numeric_limits<Py_ssize_t>::max();
    if (overflow != 0) {
        return overflow > 0 ? k_most : -k_most;
    }
    return Py_ssize_t{value};
}

/// See bind_limits(); null is an argument that was left out.
std::optional<FlowLimits> to_flow_limits(PyObject* high, PyObject* low,
                                         std::size_t high_default) noexcept {
    constexpr Py_ssize_t k_most = std::numeric_limits<Py_ssize_t>::max();
    const bool has_high = high != nullptr && high != Py_None;
    const bool has_low = low != nullptr && low != Py_None;
    const auto given_high =
        has_high ? to_limit(high) : std::optional{static_cast<Py_ssize_t>(high_default)};
    const auto given_low = given_high && has_low ? to_limit(low) : std::optional<Py_ssize_t>{0};
    if (!given_high || !given_low) {
        return std::nullopt;
    }
    Py_ssize_t upper = *given_high;
    Py_ssize_t lower = *given_low;
    if (!has_high && has_low) {
        upper = lower > k_most / 4 ? k_most : 4 * lower;
    }
    if (!has_low) {
        lower = upper >> 2;
    }
    if (upper < lower || lower < 0) {
        (void)error(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", upper, lower);
        return std::nullopt;
    }
    return FlowLimits{static_cast<std::size_t>(upper), static_cast<std::size_t>(lower)};
}

}  // namespace

Ref transport_base(const char* name, std::size_t hidden_slots) noexcept {
    const Ref transports = Ref::steal(PyImport_ImportModule("asyncio.transports"));
    Ref base = transports ? Ref::steal(PyObject_GetAttrString(transports.get(), name)) : Ref{};
    return base && has_expected_layout(base.get(), hidden_slots) ? std::move(base) : Ref{};
}

bool allow_start_tls(PyObject* type) noexcept {
    return PyObject_SetAttrString(type, "_start_tls_compatible", Py_True) == 0;
}

Ref sendfile_mode(const char* name) noexcept {
    const Ref constants = Ref::steal(PyImport_ImportModule("asyncio.constants"));
    const Ref modes =
        constants ? Ref::steal(PyObject_GetAttrString(constants.get(), "_SendfileMode")) : Ref{};
    return modes ? Ref::steal(PyObject_GetAttrString(modes.get(), name)) : Ref{};
}

PyGetSetDef attributes_property() noexcept {
    return {"__dict__", &PyObject_GenericGetDict, &PyObject_GenericSetDict, nullptr, nullptr};
}

Ref as_pair(const FlowLimits& limits) noexcept {
    return Ref::steal(Py_BuildValue("(nn)", static_cast<Py_ssize_t>(limits.low),
                                    static_cast<Py_ssize_t>(limits.high)));
}

void warn_unclosed(PyObject* transport) noexcept {
    if (PyErr_ResourceWarning(transport, 1, "unclosed transport %R", transport) < 0) {
        PyErr_WriteUnraisable(transport);
    }
}

std::optional<FlowLimits> bind_limits(const Signature<2>& signature, const CallArguments& arguments,
                                      std::size_t high_default) noexcept {
    const auto bound = signature.bind(arguments);
    return bound ? to_flow_limits((*bound)[0], (*bound)[1], high_default) : std::nullopt;
}

}  // namespace epoll::python
