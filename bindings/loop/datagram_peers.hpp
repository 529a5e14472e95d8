#pragma once

#include <array>
#include <cstddef>

#include <epoll/net/address.hpp>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

/// What Python calls the peers of a loop's datagrams, and what the kernel calls them. A program
/// usually answers the one that it has heard of, so both ways remember what went through them
/// lately, as many as there are places: a tuple cannot change, and is known by its identity.
class DatagramPeers {
  public:
    /// As address_object(): what recvfrom() of the socket module answers. Empty with an exception
    /// set.
    [[nodiscard]] Ref name_of(const Address& peer);

    /// As plain_address(): null, and no exception, for what only the socket module can judge. Valid
    /// until the next call.
    [[nodiscard]] const Address* address_of(int family, PyObject* name);

    void clear() noexcept;

  private:
    static constexpr std::size_t k_places = 256;

    struct Entry {
        Address address;
        Ref name;
    };
    using Table = std::array<Entry, k_places>;

    [[nodiscard]] Entry& place_of(const Address& address) noexcept;
    [[nodiscard]] Entry& place_of(PyObject* name) noexcept;

    Table by_address_;
    Table by_name_;
    Address path_;  ///< the last one of another kind: those are not remembered
};

}  // namespace epoll::python
