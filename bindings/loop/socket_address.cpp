#include "socket_address.hpp"

#include <array>
#include <cstdint>
#include <exception>
#include <limits>
#include <string>
#include <string_view>

#include <epoll/net/socket_calls.hpp>

namespace epoll::python {

namespace {

/// An int, and nothing that can be made one, from 0 to `most`.
std::optional<std::uint32_t> small_number(PyObject* object, std::uint32_t most) noexcept {
    if (!PyLong_CheckExact(object)) {
        return std::nullopt;
    }
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow != 0 || value < 0 || value > static_cast<long long>(most)) {
        return std::nullopt;
    }
    return static_cast<std::uint32_t>(value);
}

std::optional<Address> plain_ip_address(int family, PyObject* object) noexcept {
    const Py_ssize_t most = family == AF_INET6 ? 4 : 2;
    if (!PyTuple_CheckExact(object) || PyTuple_GET_SIZE(object) < 2 ||
        PyTuple_GET_SIZE(object) > most || !PyUnicode_CheckExact(PyTuple_GET_ITEM(object, 0))) {
        return std::nullopt;
    }
    constexpr std::array<std::uint32_t, 3> largest{
        std::numeric_limits<std::uint16_t>::max(), 0xFFFFF,
        std::numeric_limits<std::uint32_t>::max()};  // port, flow info, scope id
    std::array<std::uint32_t, 3> numbers{};
    for (std::size_t index = 0; static_cast<Py_ssize_t>(index) + 1 != PyTuple_GET_SIZE(object);
         ++index) {
        const auto number = small_number(
            PyTuple_GET_ITEM(object, static_cast<Py_ssize_t>(index) + 1), largest[index]);
        if (!number) {
            return std::nullopt;
        }
        numbers[index] = *number;
    }
    Py_ssize_t size = 0;
    const char* const host = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(object, 0), &size);
    if (host == nullptr || std::string_view{host}.size() != static_cast<std::size_t>(size)) {
        PyErr_Clear();
        return std::nullopt;
    }
    return ip_address(family, host, static_cast<std::uint16_t>(numbers[0]), numbers[1], numbers[2]);
}

std::optional<Address> plain_unix_address(PyObject* object) noexcept {
    const Ref path = PyUnicode_CheckExact(object) ? Ref::steal(PyUnicode_EncodeFSDefault(object))
                                                  : Ref::borrow(object);
    if (!path) {
        PyErr_Clear();
        return std::nullopt;
    }
    if (!PyBytes_CheckExact(path.get())) {
        return std::nullopt;
    }
    try {
        return Address::unix_path({PyBytes_AS_STRING(path.get()),
                                   static_cast<std::size_t>(PyBytes_GET_SIZE(path.get()))});
    } catch (const std::exception&) {
        return std::nullopt;
    }
}

}  // namespace

Ref address_object(const Address& address) {
    if (const auto parts = ip_parts(address)) {
        return Ref::steal(address.family() == AF_INET
                              ? Py_BuildValue("(si)", parts->host, int{parts->port})
                              : Py_BuildValue("(siII)", parts->host, int{parts->port},
                                              parts->flow_info, parts->scope_id));
    }
    if (!address.is_unix()) {
        return Ref::none();
    }
    const std::string path = address.host();
    const auto size = static_cast<Py_ssize_t>(path.size());
    return Ref::steal(path.starts_with('\0') ? PyBytes_FromStringAndSize(path.data(), size)
                                             : PyUnicode_DecodeFSDefaultAndSize(path.data(), size));
}

std::optional<Address> plain_address(int family, PyObject* object) noexcept {
    return family == AF_UNIX ? plain_unix_address(object) : plain_ip_address(family, object);
}

Ref resolved_address(const Address& address, PyObject* object) {
    const auto parts = ip_parts(address);
    if (!parts || address.family() != AF_INET6) {
        return Ref::borrow(object);
    }
    return Ref::steal(Py_BuildValue("(OiII)", PyTuple_GET_ITEM(object, 0), int{parts->port},
                                    parts->flow_info, parts->scope_id));
}

}  // namespace epoll::python
