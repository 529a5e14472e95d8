#pragma once

#include <vector>

#include "../python.hpp"
#include "../ref.hpp"

namespace epoll::python {

class Loop;
struct HandleLayout;

enum class HandleKind : unsigned char { plain, timer, threadsafe };

/// Makes the handles of one type, and keeps some dead ones to be used again: their parts are whole,
/// their slots are those of a new one. Without the GIL it keeps none.
///
/// The slots of a new handle are empty, but for those in which nearly all handles have the same:
/// False in _cancelled and _scheduled, None in _repr and _source_traceback.
class HandlePool {
  public:
    HandlePool() = default;
    HandlePool(const HandlePool&) = delete;
    HandlePool& operator=(const HandlePool&) = delete;
    ~HandlePool() { close(); }

    /// `type` (borrowed) and `layout` outlive the pool. May throw std::bad_alloc.
    void open(PyTypeObject* type, HandleKind kind, const HandleLayout& layout);

    /// A new handle of `loop`, of which the garbage collector does not know.
    [[nodiscard]] Ref make(Loop& loop) noexcept;

    /// Takes back a handle that nobody refers to, after it has emptied the slots.
    void put(PyObject* dead) noexcept;

    /// For the garbage collector: the types of what is kept.
    int traverse(visitproc visit, void* arg) const noexcept;

    /// Frees what is kept, and what is put from now on; make() must not be called any more.
    void close() noexcept;

  private:
    template <class Visit>
    void for_each_filled(Visit visit) const noexcept;
    [[nodiscard]] PyObject* allocate() const noexcept;
    void blank(PyObject* dead) const noexcept;
    void free(PyObject* dead) const noexcept;

    PyTypeObject* type_ = nullptr;
    const HandleLayout* layout_ = nullptr;
    HandleKind kind_ = HandleKind::plain;
    std::vector<Py_ssize_t> others_;  ///< slots that the layout does not know
    std::vector<PyObject*> dead_;     ///< each has a reference to its type
    std::size_t most_ = 0;            ///< that it keeps; there is room for them
};

}  // namespace epoll::python
