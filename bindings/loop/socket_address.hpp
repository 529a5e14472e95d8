#pragma once

#include <optional>

#include <epoll/net/address.hpp>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

/// What the socket module answers for an address: (host, port), (host, port, flow info, scope id),
/// a path as str, an abstract name as bytes; None for no address, or one of another family.
[[nodiscard]] Ref address_object(const Address& address);

/// The other way round, for what can be converted without asking anybody: literals of IP addresses,
/// paths and abstract names. Nothing, and no exception, for all else, such as a host name, a port
/// that is no number, or a wrong type: that is for the socket module to say.
[[nodiscard]] std::optional<Address> plain_address(int family, PyObject* object) noexcept;

/// What asyncio says that it has resolved `object` to, for which plain_address() has an answer:
/// with all four parts for IPv6.
[[nodiscard]] Ref resolved_address(const Address& address, PyObject* object);

}  // namespace epoll::python
