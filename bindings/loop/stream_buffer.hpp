#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>

namespace epoll::python {

/// What a StreamReader has received and nobody has read: one contiguous run of bytes in one
/// allocation, so that a line is found by memchr and taken with one copy.
///
///     [ already taken | content | room ]
///                      ^ head_
///
/// Taking moves the head; receiving writes behind the content. Content moves only when the room at
/// the end is too small, and then it goes to the front of the same allocation if half of it is
/// free, so each byte moves a bounded number of times. A buffer that has nothing keeps
/// k_kept for the next small message, or what its last large traffic needed until it is less again,
/// and nothing in between.
class StreamBuffer {
  public:
    /// What is offered to a receive: the least, the first, the most.
    static constexpr std::size_t k_least = std::size_t{1} * 1024;
    static constexpr std::size_t k_first = std::size_t{4} * 1024;
    static constexpr std::size_t k_most = std::size_t{256} * 1024;

    /// What is no more than this is kept when it is empty: who sends short lines costs no
    /// allocation for each, and little while he is idle.
    static constexpr std::size_t k_kept = k_least;

    /// What is more than this is kept as well: it is too expensive to allocate for each message.
    static constexpr std::size_t k_freed_when_empty = 2 * k_first;

    StreamBuffer() noexcept = default;
    StreamBuffer(const StreamBuffer&) = delete;
    StreamBuffer& operator=(const StreamBuffer&) = delete;

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool is_empty() const noexcept { return size_ == 0; }

    /// The memory that it has, in bytes.
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

    /// Valid until something is added or taken.
    [[nodiscard]] std::span<const std::byte> content() const noexcept {
        return {memory_.get() + head_, size_};
    }

    /// Memory behind the content to receive into, in place until the next call of a non-const
    /// member. Its size follows the traffic: it doubles after a receive that filled it, and halves
    /// after one that needed less than a quarter. `wanted` (a reader waits for that many bytes) is
    /// a hint for at least as much, within k_most. Throws std::bad_alloc.
    [[nodiscard]] std::span<std::byte> make_room_to_receive(std::size_t wanted);

    /// `count` bytes were received at the start of the room of make_room_to_receive().
    void add_received(std::size_t count) noexcept;

    /// Copies `bytes`, which may not be part of the content, to the end. Throws std::bad_alloc.
    void append(std::span<const std::byte> bytes);

    /// Forgets the first `count` bytes, at most all.
    void take(std::size_t count) noexcept;
    void clear() noexcept;

    /// The offset of the first `separator` (not empty) that starts at `from` or later.
    [[nodiscard]] std::optional<std::size_t> find(std::span<const std::byte> separator,
                                                  std::size_t from) const noexcept;

  private:
    void make_room(std::size_t count);

    std::unique_ptr<std::byte[]> memory_;
    std::size_t capacity_ = 0;
    std::size_t head_ = 0;
    std::size_t size_ = 0;
    std::size_t offer_ = k_first;  ///< what the next receive is offered
    std::size_t offered_ = 0;      ///< what the last one was
};

}  // namespace epoll::python
