#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>

#include <epoll/poll/poller.hpp>

#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

/// The reports of one wait as tuples, in memory that is used again and again.
///
/// The tuples are those that the registrations keep (CachedReport): in the steady state none is
/// made.
struct EventBatch {
    std::unique_ptr<Ready[]> reports;
    std::unique_ptr<Ref[]> by_fd;    ///< (fd, events), `count` of them
    std::unique_ptr<Ref[]> by_data;  ///< (data, events); made when the first is attached
    std::size_t capacity = 0;
    std::size_t count = 0;
    bool has_data = false;         ///< something in by_data is not empty
    bool is_being_filled = false;  ///< by a thread that waits: `reports` is the kernel's

    /// (data, events) of a report, (fd, events) where nothing was attached. Borrowed.
    [[nodiscard]] PyObject* object_pair(std::size_t index) const noexcept {
        return has_data && by_data[index] ? by_data[index].get() : by_fd[index].get();
    }
};

/// The Python object around an EventBatch. All uses of `batch` stand in its critical section.
struct EventBatchObject {
    PyObject_HEAD
    EventBatch batch;

    [[nodiscard]] PyObject* as_python() noexcept { return reinterpret_cast<PyObject*>(this); }
};

/// The filling of a batch: empties it and keeps everybody else from using it, until it ends.
class BatchFilling {
  public:
    /// Sets RuntimeError when the batch is being filled already.
    [[nodiscard]] bool begin(EventBatchObject& target) noexcept;

    BatchFilling() noexcept = default;
    BatchFilling(const BatchFilling&) = delete;
    BatchFilling& operator=(const BatchFilling&) = delete;
    ~BatchFilling();

    /// The place for the kernel's reports.
    [[nodiscard]] std::span<Ready> room() noexcept;

    /// Puts (fd, events) in its place; what was there refers to numbers only.
    void put(std::size_t index, Ref pair) noexcept {
        target_->batch.by_fd[index] = std::move(pair);
    }

    /// Puts (data, events) beside it. Throws std::bad_alloc.
    void attach(std::size_t index, Ref pair);

    /// The batch has `count` reports from now on.
    void finish(std::size_t count) noexcept { count_ = count; }

  private:
    EventBatchObject* target_ = nullptr;
    std::size_t count_ = 0;
};

}  // namespace epoll::python
