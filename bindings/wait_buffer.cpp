#include "wait_buffer.hpp"

#include <cstdlib>
#include <limits>
#include <new>

#include "python.hpp"

namespace epoll::python {

namespace {

constexpr std::size_t k_most_kept = 65'536;  // reports; 768 KiB

}  // namespace

/// Stands before its reports, in the same piece of memory.
struct WaitBuffer::Lease::Block {
    std::size_t capacity;

    static Block* make(std::size_t capacity) {
        constexpr std::size_t most = std::numeric_limits<std::size_t>::max() / sizeof(Ready) - 2;
        void* const memory =
            capacity <= most ? std::malloc(sizeof(Block) + capacity * sizeof(Ready)) : nullptr;
        if (memory == nullptr) {
            throw std::bad_alloc{};
        }
        return ::new (memory) Block{capacity};
    }

    Ready* reports() noexcept { return reinterpret_cast<Ready*>(this + 1); }
};

WaitBuffer::~WaitBuffer() { std::free(kept_.load(std::memory_order_relaxed)); }

WaitBuffer::Lease::Block* WaitBuffer::exchange(Lease::Block* block) noexcept {
#ifdef Py_GIL_DISABLED
    return kept_.exchange(block, std::memory_order_acq_rel);
#else
    Lease::Block* const kept = kept_.load(std::memory_order_relaxed);
    kept_.store(block, std::memory_order_relaxed);
    return kept;
#endif
}

WaitBuffer::Lease::Lease(WaitBuffer& buffer, std::size_t count)
    : buffer_(buffer), block_(buffer.exchange(nullptr)), count_(count) {
    if (block_ == nullptr || block_->capacity < count) {
        std::free(block_);
        block_ = Block::make(count);
    }
}

WaitBuffer::Lease::~Lease() {
    Block* surplus = block_;
    if (block_->capacity <= k_most_kept) {
        surplus = buffer_.exchange(block_);
    }
    std::free(surplus);
}

std::span<Ready> WaitBuffer::Lease::room() const noexcept { return {block_->reports(), count_}; }

}  // namespace epoll::python
