#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <sys/uio.h>

namespace epoll {

/// Bytes whose memory is kept alive by somebody, until `release(owner)` says that they are done.
///
/// Move-only. A program without reference counts uses ByteQueue::append_copy instead.
class OwnedBytes {
  public:
    /// May append to the ByteQueue that calls it, unless that is being destroyed; it must not
    /// gather from it nor consume.
    using Release = void (*)(void* owner) noexcept;

    /// Takes over one reference to `owner`, which keeps `bytes` in place until `release` is called.
    OwnedBytes(std::span<const std::byte> bytes, void* owner, Release release) noexcept
        : bytes_(bytes), owner_(owner), release_(release) {}
    OwnedBytes(OwnedBytes&& other) noexcept;
    OwnedBytes& operator=(OwnedBytes&& other) noexcept;
    OwnedBytes(const OwnedBytes&) = delete;
    OwnedBytes& operator=(const OwnedBytes&) = delete;
    ~OwnedBytes();

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  private:
    friend class ByteQueue;
    std::span<const std::byte> bytes_;
    void* owner_;
    Release release_;  ///< null: nobody to tell
};

/// What could not be sent yet, in order: a queue of bytes that is read as iovecs.
///
/// Three kinds of chunk, told apart by who owns the memory: copied (this queue), owned (an
/// OwnedBytes) and borrowed (the caller, until own_borrowed() or an empty queue). An empty queue
/// keeps no memory but its (small) table of chunks. One thread.
class ByteQueue {
  public:
    /// The most iovecs that gather() fills: UIO_MAXIOV of the kernel is 1,024, and past a few dozen
    /// the gain is nil.
    static constexpr std::size_t k_max_gather = 64;

    ByteQueue() = default;
    ByteQueue(const ByteQueue&) = delete;
    ByteQueue& operator=(const ByteQueue&) = delete;
    ~ByteQueue();

    [[nodiscard]] bool is_empty() const noexcept { return size_ == 0; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Appends a copy. Small copies that follow each other share one block of memory.
    void append_copy(std::span<const std::byte> bytes);

    /// Appends without copying; the owner is released as soon as its last byte was consumed.
    void append_owned(OwnedBytes bytes);

    /// Appends without copying. The memory must stay in place until the bytes were consumed or
    /// own_borrowed() was called, whichever comes first.
    void append_borrowed(std::span<const std::byte> bytes);

    /// Replaces what is left of every borrowed chunk by a copy.
    void own_borrowed();

    /// Fills `room` with the first chunks, in order, and answers the filled part.
    [[nodiscard]] std::span<iovec> gather(std::span<iovec> room) const noexcept;

    /// Drops the first `count` bytes, which must not be more than size().
    void consume(std::size_t count) noexcept;

    /// Drops everything.
    void clear() noexcept;

  private:
    enum class Kind : unsigned char { copied, owned, borrowed };

    struct Chunk {
        const std::byte* data;
        std::size_t size;
        void* owner;  ///< copied: the block to free; owned: argument of release
        OwnedBytes::Release release;
        std::size_t room;  ///< copied: bytes still free behind data + size
        Kind kind;
    };

    void append(Chunk chunk);
    static Chunk make_copy(std::span<const std::byte> bytes, std::size_t capacity);
    static void drop(Chunk& chunk) noexcept;

    std::vector<Chunk> chunks_;  ///< [first_, end) are in use
    std::size_t first_ = 0;
    std::size_t size_ = 0;
    bool has_borrowed_ = false;
};

}  // namespace epoll
