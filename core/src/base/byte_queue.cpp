#include <epoll/base/byte_queue.hpp>

#include <algorithm>
#include <cassert>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

namespace epoll {

namespace {

/// The smallest block that a copy gets: writes of a few bytes that follow each other share it.
constexpr std::size_t k_block = 4096;

}  // namespace

OwnedBytes::OwnedBytes(OwnedBytes&& other) noexcept
    : bytes_(std::exchange(other.bytes_, {})),
      owner_(std::exchange(other.owner_, nullptr)),
      release_(std::exchange(other.release_, nullptr)) {}

OwnedBytes& OwnedBytes::operator=(OwnedBytes&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(owner_, other.owner_);
    std::swap(release_, other.release_);
    return *this;
}

OwnedBytes::~OwnedBytes() {
    if (release_ != nullptr) {
        release_(owner_);
    }
}

ByteQueue::~ByteQueue() { clear(); }

void ByteQueue::append_copy(std::span<const std::byte> bytes) {
    if (bytes.empty()) {
        return;
    }
    if (first_ != chunks_.size()) {
        Chunk& last = chunks_.back();
        if (last.kind == Kind::copied && last.room >= bytes.size()) {
            std::memcpy(const_cast<std::byte*>(last.data) + last.size, bytes.data(), bytes.size());
            last.size += bytes.size();
            last.room -= bytes.size();
            size_ += bytes.size();
            return;
        }
    }
    append(make_copy(bytes, std::max(bytes.size(), k_block)));
}

void ByteQueue::append_owned(OwnedBytes bytes) {
    if (bytes.bytes_.empty()) {
        return;
    }
    append(
        {bytes.bytes_.data(), bytes.bytes_.size(), bytes.owner_, bytes.release_, 0, Kind::owned});
    bytes.release_ = nullptr;
}

void ByteQueue::append_borrowed(std::span<const std::byte> bytes) {
    if (bytes.empty()) {
        return;
    }
    append({bytes.data(), bytes.size(), nullptr, nullptr, 0, Kind::borrowed});
    has_borrowed_ = true;
}

void ByteQueue::own_borrowed() {
    if (!has_borrowed_) {
        return;
    }
    for (std::size_t i = first_; i != chunks_.size(); ++i) {
        Chunk& chunk = chunks_[i];
        if (chunk.kind == Kind::borrowed) {
            chunk = make_copy({chunk.data, chunk.size}, chunk.size);
        }
    }
    has_borrowed_ = false;
}

std::span<iovec> ByteQueue::gather(std::span<iovec> room) const noexcept {
    const std::size_t count = std::min(room.size(), chunks_.size() - first_);
    for (std::size_t i = 0; i != count; ++i) {
        const Chunk& chunk = chunks_[first_ + i];
        room[i] = {const_cast<std::byte*>(chunk.data), chunk.size};
    }
    return room.first(count);
}

void ByteQueue::consume(std::size_t count) noexcept {
    assert(count <= size_);
    size_ -= count;
    while (count != 0) {
        Chunk& chunk = chunks_[first_];
        if (count < chunk.size) {
            chunk.data += count;
            chunk.size -= count;
            return;
        }
        count -= chunk.size;
        // Releasing an owner may run code that comes back to this queue: leave it consistent first.
        Chunk finished = chunk;
        ++first_;
        if (first_ == chunks_.size()) {
            chunks_.clear();
            first_ = 0;
            has_borrowed_ = false;
        }
        drop(finished);
    }
}

void ByteQueue::clear() noexcept { consume(size_); }

void ByteQueue::append(Chunk chunk) {
    // Consumed places at the front are taken back when the table would have to grow, once they are
    // half of it: fewer would mean to move the whole table again for every few chunks.
    if (chunks_.size() == chunks_.capacity() && first_ != 0 && first_ >= chunks_.size() / 2) {
        chunks_.erase(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(first_));
        first_ = 0;
    }
    try {
        chunks_.push_back(chunk);
    } catch (...) {
        if (chunk.kind == Kind::copied) {
            drop(chunk);  // an owned chunk is still its OwnedBytes' to release
        }
        throw;
    }
    size_ += chunk.size;
}

ByteQueue::Chunk ByteQueue::make_copy(std::span<const std::byte> bytes, std::size_t capacity) {
    void* const block = std::malloc(capacity);
    if (block == nullptr) {
        throw std::bad_alloc();
    }
    std::memcpy(block, bytes.data(), bytes.size());
    return {static_cast<const std::byte*>(block),
            bytes.size(),
            block,
            nullptr,
            capacity - bytes.size(),
            Kind::copied};
}

void ByteQueue::drop(Chunk& chunk) noexcept {
    if (chunk.kind == Kind::copied) {
        std::free(chunk.owner);
    } else if (chunk.kind == Kind::owned && chunk.release != nullptr) {
        chunk.release(chunk.owner);
    }
}

}  // namespace epoll
