#include "transport_head.hpp"

#include <limits>

#include <epoll/net/stream.hpp>

#include "../errors.hpp"

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#endif

namespace epoll::python {

namespace {

using Layout = TransportHead;

#if PY_VERSION_HEX < 0x030C0000
constexpr int k_offset_type = T_PYSSIZET;
constexpr int k_read_only = READONLY;
#else
constexpr int k_offset_type = Py_T_PYSSIZET;
constexpr int k_read_only = Py_READONLY;
#endif

/// True if instances of `base` are exactly what precedes our part in TransportHead.
bool has_expected_layout(PyObject* base) noexcept {
    const Ref slot = Ref::steal(PyObject_GetAttrString(base, "_extra"));
    if (slot && Py_IS_TYPE(slot.get(), &PyMemberDescr_Type) &&
        reinterpret_cast<PyTypeObject*>(base)->tp_basicsize == offsetof(Layout, attributes) &&
        reinterpret_cast<PyMemberDescrObject*>(slot.get())->d_member->offset ==
            offsetof(Layout, extra)) {
        return true;
    }
    (void)error(PyExc_ImportError, "%R has an unknown layout: this asyncio is not CPython's", base);
    return false;
}

Ref attribute_of(const char* module_name, const char* name) noexcept {
    const Ref module = Ref::steal(PyImport_ImportModule(module_name));
    return module ? Ref::steal(PyObject_GetAttrString(module.get(), name)) : Ref{};
}

Ref transport_base() noexcept {
    Ref base = attribute_of("asyncio.transports", "_FlowControlMixin");
    return base && has_expected_layout(base.get()) ? std::move(base) : Ref{};
}

/// Sets what start_tls() and sendfile() ask a transport for.
bool add_constants(PyObject* type, const char* sendfile_mode) noexcept {
    const Ref constants = Ref::steal(PyImport_ImportModule("asyncio.constants"));
    const Ref modes =
        constants ? Ref::steal(PyObject_GetAttrString(constants.get(), "_SendfileMode")) : Ref{};
    const Ref mode = modes ? Ref::steal(PyObject_GetAttrString(modes.get(), sendfile_mode)) : Ref{};
    return mode && PyObject_SetAttrString(type, "_sendfile_compatible", mode.get()) == 0 &&
           PyObject_SetAttrString(type, "_start_tls_compatible", Py_True) == 0;
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

}  // namespace

int TransportHead::traverse(visitproc visit, void* arg) const noexcept {
    for (PyObject* const held : {extra, hidden[0], hidden[1], hidden[2], hidden[3], attributes}) {
        Py_VISIT(held);
    }
    return 0;
}

void TransportHead::clear() noexcept {
    Ref::steal(std::exchange(extra, nullptr)).reset();
    for (PyObject*& slot : hidden) {
        Ref::steal(std::exchange(slot, nullptr)).reset();
    }
    Ref::steal(std::exchange(attributes, nullptr)).reset();
}

PyGetSetDef attributes_property() noexcept {
    return {"__dict__", &PyObject_GenericGetDict, &PyObject_GenericSetDict, nullptr, nullptr};
}

PyMemberDef transport_members[] = {
    {"__dictoffset__", k_offset_type, offsetof(Layout, attributes), k_read_only, nullptr},
    {"__weaklistoffset__", k_offset_type, offsetof(Layout, weak_references), k_read_only, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

Ref make_transport_type(PyObject* module, const char* name, PyType_Spec& spec,
                        const char* sendfile_mode) {
    const Ref base = transport_base();
    if (!base) {
        return {};
    }
    Ref type = Ref::steal(PyType_FromModuleAndSpec(module, &spec, base.get()));
    return type && add_constants(type.get(), sendfile_mode) &&
                   PyModule_AddObjectRef(module, name, type.get()) == 0
               ? std::move(type)
               : Ref{};
}

Ref make_datagram_transport_type(PyObject* module, const char* name, PyType_Spec& spec) {
    const Ref base = transport_base();
    const Ref datagrams = base ? attribute_of("asyncio.transports", "DatagramTransport") : Ref{};
    const Ref bases = datagrams ? Ref::steal(PyTuple_Pack(2, base.get(), datagrams.get())) : Ref{};
    Ref type = bases ? Ref::steal(PyType_FromModuleAndSpec(module, &spec, bases.get())) : Ref{};
    return type && PyModule_AddObjectRef(module, name, type.get()) == 0 ? std::move(type) : Ref{};
}

void warn_unclosed(PyObject* transport) noexcept {
    if (PyErr_ResourceWarning(transport, 1, "unclosed transport %R", transport) < 0) {
        PyErr_WriteUnraisable(transport);
    }
}

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

std::optional<FlowLimits> bind_write_limits(const CallArguments& arguments) noexcept {
    static constexpr Signature<2> k_signature{
        "set_write_buffer_limits",
        {"high", "low"},
        {Parameter::optional, Parameter::optional},
    };
    const auto bound = k_signature.bind(arguments);
    return bound ? to_flow_limits((*bound)[0], (*bound)[1], WaterMarks{}.high) : std::nullopt;
}

}  // namespace epoll::python
