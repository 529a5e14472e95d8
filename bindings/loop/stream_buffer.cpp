#include "stream_buffer.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace epoll::python {

std::span<std::byte> StreamBuffer::make_room_to_receive(std::size_t wanted) {
    const std::size_t least = std::max(offer_, std::min(wanted, k_most));
    if (is_empty() && capacity_ > 2 * least) {  // the traffic has become less
        memory_.reset();
        capacity_ = 0;
    }
    make_room(least);
    offered_ = least;
    return {memory_.get() + head_ + size_, least};
}

void StreamBuffer::add_received(std::size_t count) noexcept {
    assert(count <= offered_);
    size_ += count;
    if (count == offered_) {
        offer_ = std::min(std::max(offer_, offered_) * 2, k_most);
    } else if (count < offer_ / 4) {
        offer_ = std::max(offer_ / 2, k_least);
    }
}

void StreamBuffer::append(std::span<const std::byte> bytes) {
    if (bytes.empty()) {
        return;
    }
    make_room(bytes.size());
    std::memcpy(memory_.get() + head_ + size_, bytes.data(), bytes.size());
    size_ += bytes.size();
}

void StreamBuffer::take(std::size_t count) noexcept {
    if (count >= size_) {
        clear();
        return;
    }
    head_ += count;
    size_ -= count;
}

void StreamBuffer::clear() noexcept {
    head_ = 0;
    size_ = 0;
    if (capacity_ > k_kept && capacity_ <= k_freed_when_empty) {  // most connections are idle
        memory_.reset();
        capacity_ = 0;
    }
}

std::optional<std::size_t> StreamBuffer::find(std::span<const std::byte> separator,
                                              std::size_t from) const noexcept {
    assert(!separator.empty());
    if (from >= size_ || size_ - from < separator.size()) {
        return std::nullopt;
    }
    const std::byte* const start = memory_.get() + head_;
    const void* const found =
        separator.size() == 1
            ? std::memchr(start + from, std::to_integer<int>(separator.front()), size_ - from)
            : memmem(start + from, size_ - from, separator.data(), separator.size());
    if (found == nullptr) {
        return std::nullopt;
    }
    return static_cast<std::size_t>(static_cast<const std::byte*>(found) - start);
}

void StreamBuffer::make_room(std::size_t count) {
    if (capacity_ - head_ - size_ >= count) {
        return;
    }
    if (capacity_ >= size_ + count && head_ >= size_) {  // no more is moved than was taken
        std::memcpy(memory_.get(), memory_.get() + head_, size_);
        head_ = 0;
        return;
    }
    const std::size_t capacity = size_ + std::max(count, size_ / 2);
    auto memory = std::make_unique_for_overwrite<std::byte[]>(capacity);
    if (size_ != 0) {
        std::memcpy(memory.get(), memory_.get() + head_, size_);
    }
    memory_ = std::move(memory);
    capacity_ = capacity;
    head_ = 0;
}

}  // namespace epoll::python
