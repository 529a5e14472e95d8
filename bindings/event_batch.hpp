#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <epoll/poll/poller.hpp>

#include "python.hpp"
#include "ref.hpp"

namespace epoll::python {

/// The reports of one wait and what was attached to them, in memory that is used again and again.
struct EventBatch {
    std::unique_ptr<Ready[]> reports;
    std::unique_ptr<Ref[]>
        objects;  ///< made when the first one is attached; empty: nothing attached
    std::size_t capacity = 0;
    std::size_t count = 0;
    bool has_objects = false;
    bool is_being_filled = false;  ///< by a thread that waits: `reports` is the kernel's

    /// Makes room for attached objects. Throws std::bad_alloc.
    void want_objects();
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

    /// Keeps `object` with the report at `index`. Throws std::bad_alloc.
    void attach(std::size_t index, Ref object);

    /// The batch has `count` reports from now on.
    void finish(std::size_t count) noexcept { count_ = count; }

  private:
    EventBatchObject* target_ = nullptr;
    std::size_t count_ = 0;
};

}  // namespace epoll::python
