#pragma once

#include <cstddef>
#include <optional>
#include <utility>

#include "../arguments.hpp"
#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

/// The Python half of a transport. It continues the layout of asyncio's
/// transports._FlowControlMixin, which adds four slots to the one of BaseTransport; the base must
/// be that class, as asyncio's own sendfile asks for it. The four are hidden by properties and stay
/// empty.
struct TransportHead {
    PyObject_HEAD
    PyObject* extra;  ///< what get_extra_info() has; null, or a dict
    PyObject* hidden[4];
    PyObject* attributes;  ///< __dict__, made when it is needed
    PyObject* weak_references;

    int traverse(visitproc visit, void* arg) const noexcept;
    void clear() noexcept;
};

/// The __dict__, and where it and the weak references are: for the type's tables.
[[nodiscard]] PyGetSetDef attributes_property() noexcept;
extern PyMemberDef transport_members[];

/// Makes a type derived from asyncio's class, whose instances begin with a TransportHead, and adds
/// it to `module` as `name`; `sendfile_mode` names the member of asyncio's _SendfileMode that
/// sendfile() shall find. Empty with an exception set: ImportError when the layout of asyncio's
/// class is another one.
[[nodiscard]] Ref make_transport_type(PyObject* module, const char* name, PyType_Spec& spec,
                                      const char* sendfile_mode);

/// As above, for a transport of datagrams: an asyncio.DatagramTransport.
[[nodiscard]] Ref make_datagram_transport_type(PyObject* module, const char* name,
                                               PyType_Spec& spec);

/// Warns of a transport that went without close(); what becomes of the warning stays here.
void warn_unclosed(PyObject* transport) noexcept;

/// What set_write_buffer_limits(high, low) means, in bytes.
struct FlowLimits {
    std::size_t high, low;
};

/// asyncio's rules: without `high` it is four times `low`, or `high_default`; without `low` it is a
/// quarter of the other. Null and None are left out. Nothing with an exception set.
[[nodiscard]] std::optional<FlowLimits> to_flow_limits(PyObject* high, PyObject* low,
                                                       std::size_t high_default) noexcept;

/// The same for the arguments of set_write_buffer_limits(high=None, low=None).
[[nodiscard]] std::optional<FlowLimits> bind_write_limits(const CallArguments& arguments) noexcept;

}  // namespace epoll::python
