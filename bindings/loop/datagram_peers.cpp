#include "datagram_peers.hpp"

#include <cstdint>
#include <cstring>

#include "socket_address.hpp"

namespace epoll::python {

namespace {

bool is_internet(int family) noexcept { return family == AF_INET || family == AF_INET6; }

/// The bytes of an IP address that say something: of an IPv4 one family, port and host.
std::size_t significant(const Address& address) noexcept {
    return address.family() == AF_INET ? 8 : address.size();
}

bool is_same(const Address& one, const Address& other) noexcept {
    return one.size() == other.size() &&
           std::memcmp(one.data(), other.data(), significant(one)) == 0;
}

/// Spreads the bits over the highest byte (a multiplication by the golden ratio).
std::size_t place_in_table(std::uint64_t bits) noexcept {
    return static_cast<std::size_t>((bits * 0x9E3779B97F4A7C15U) >> 56);
}

std::uint64_t word_at(const Address& address, std::size_t offset) noexcept {
    std::uint64_t word = 0;
    std::memcpy(&word, reinterpret_cast<const std::byte*>(address.data()) + offset, sizeof word);
    return word;
}

}  // namespace

DatagramPeers::Entry& DatagramPeers::place_of(const Address& address) noexcept {
    static_assert(k_places == 256);
    std::uint64_t bits = word_at(address, 0);
    if (address.family() == AF_INET6) {
        bits = (bits * 31 + word_at(address, 8)) * 31 + word_at(address, 16);
    }
    return by_address_[place_in_table(bits)];
}

DatagramPeers::Entry& DatagramPeers::place_of(PyObject* name) noexcept {
    return by_name_[place_in_table(reinterpret_cast<std::uintptr_t>(name))];
}

Ref DatagramPeers::name_of(const Address& peer) {
    if (!is_internet(peer.family())) {
        return address_object(peer);
    }
    Entry& known = place_of(peer);
    if (known.name && is_same(known.address, peer)) [[likely]] {
        return Ref::borrow(known.name.get());
    }
    Ref name = address_object(peer);
    if (name) {
        known = {peer, Ref::borrow(name.get())};
        place_of(name.get()) = {peer, Ref::borrow(name.get())};
    }
    return name;
}

const Address* DatagramPeers::address_of(int family, PyObject* name) {
    const bool is_remembered = is_internet(family);
    Entry& known = place_of(name);
    if (is_remembered && known.name.get() == name && known.address.family() == family) [[likely]] {
        return &known.address;
    }
    const auto address = plain_address(family, name);
    if (!address) {
        return nullptr;
    }
    if (!is_remembered) {
        path_ = *address;
        return &path_;
    }
    known = {*address, Ref::borrow(name)};
    return &known.address;
}

void DatagramPeers::clear() noexcept {
    for (Table* const table : {&by_address_, &by_name_}) {
        for (Entry& entry : *table) {
            entry.name.reset();
        }
    }
}

}  // namespace epoll::python
