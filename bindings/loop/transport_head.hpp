#pragma once

#include <cstddef>
#include <optional>

#include "../arguments.hpp"
#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

/// The Python half of a transport: what an object of ours has before its C++ half. It continues
/// the layout of asyncio's BaseTransport, or of transports._FlowControlMixin, which adds four slots
/// to that one; they are hidden by properties and stay empty. asyncio's own sendfile asks for that
/// class.
template <std::size_t HiddenSlots>
struct TransportHead {
    static constexpr std::size_t k_hidden_slots = HiddenSlots;

    PyObject_HEAD
    PyObject* slots[1 + HiddenSlots];
    PyObject* attributes;  ///< __dict__, made when it is needed
    PyObject* weak_references;

    /// What get_extra_info() has; null, or a dict.
    [[nodiscard]] PyObject*& extra() noexcept { return slots[0]; }
};

/// asyncio.transports.<name>, to be the base of a type whose instances begin with a
/// TransportHead<hidden_slots>. Empty with an exception set: ImportError when the layout of
/// asyncio's class is another one.
[[nodiscard]] Ref transport_base(const char* name, std::size_t hidden_slots) noexcept;

/// Sets what start_tls() asks a type of transports for. False with an exception set.
[[nodiscard]] bool allow_start_tls(PyObject* type) noexcept;

/// The member of asyncio's _SendfileMode, for `_sendfile_compatible`. Empty with an exception set.
[[nodiscard]] Ref sendfile_mode(const char* name) noexcept;

/// The __dict__, for a type's table.
[[nodiscard]] PyGetSetDef attributes_property() noexcept;

/// Warns of a transport that went without close(); what becomes of the warning stays here.
void warn_unclosed(PyObject* transport) noexcept;

/// When pause_writing() and resume_writing() are called, in bytes.
struct FlowLimits {
    std::size_t high, low;
};

/// What they are where nobody has set them, as in asyncio.
inline constexpr FlowLimits k_default_limits{64 * 1024, 16 * 1024};

/// (low, high), as get_write_buffer_limits() answers.
[[nodiscard]] Ref as_pair(const FlowLimits& limits) noexcept;

/// The signature of a method that sets limits.
[[nodiscard]] constexpr Signature<2> limits_signature(const char* method) noexcept {
    return {method, {"high", "low"}, {Parameter::optional, Parameter::optional}};
}

/// What the arguments of such a method mean, by asyncio's rules: without `high` it is four times
/// `low`, or `high_default`; without `low` it is a quarter of the other. None is as good as
/// nothing. Nothing with an exception set.
[[nodiscard]] std::optional<FlowLimits> bind_limits(const Signature<2>& signature,
                                                    const CallArguments& arguments,
                                                    std::size_t high_default) noexcept;

}  // namespace epoll::python
