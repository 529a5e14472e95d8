#include "event_batch.hpp"

#include <new>
#include <utility>

#include "answers.hpp"
#include "convert.hpp"
#include "gil.hpp"
#include "module_state.hpp"
#include "registration_table.hpp"
#include "reports.hpp"

namespace epoll::python {

bool BatchFilling::begin(EventBatchObject& target) noexcept {
    std::size_t emptied = 0;
    {
        const CriticalSection inside{target.as_python()};
        if (target.batch.is_being_filled) {
            (void)error(PyExc_RuntimeError, "the EventBatch is in use by another wait");
            return false;
        }
        target.batch.is_being_filled = true;
        emptied = target.batch.has_data ? target.batch.count : 0;
        target.batch.count = 0;
        target_ = &target;
    }
    for (std::size_t index = 0; index < emptied; ++index) {
        target.batch.by_data[index].reset();
    }
    target.batch.has_data = false;
    return true;
}

BatchFilling::~BatchFilling() {
    if (target_ != nullptr) {
        const CriticalSection inside{target_->as_python()};
        target_->batch.count = count_;
        target_->batch.is_being_filled = false;
    }
}

std::span<Ready> BatchFilling::room() noexcept {
    return {target_->batch.reports.get(), target_->batch.capacity};
}

void BatchFilling::attach(std::size_t index, Ref pair) {
    EventBatch& batch = target_->batch;
    if (batch.by_data == nullptr) {
        batch.by_data = std::make_unique<Ref[]>(batch.capacity);
    }
    batch.has_data = true;
    batch.by_data[index] = std::move(pair);
}

namespace {

/// Goes through a batch; yields (fd, events), or (object, events) when it is of objects().
struct EventBatchIterator {
    PyObject_HEAD
    Ref batch;  ///< empty: at its end
    std::size_t index;
    bool of_objects;
};

PyObject* make_batch(PyTypeObject* type, PyObject* positional, PyObject* named) noexcept {
    static constexpr const char* k_names[] = {"capacity", nullptr};
    Py_ssize_t capacity = 0;
    if (PyArg_ParseTupleAndKeywords(positional, named, "n:EventBatch", const_cast<char**>(k_names),
                                    &capacity) == 0) {
        return nullptr;
    }
    if (capacity < 1) {
        PyErr_Format(PyExc_ValueError, "capacity must be greater than 0, got %zd", capacity);
        return nullptr;
    }
    Ref object = Ref::steal(type->tp_alloc(type, 0));
    if (!object) {
        return nullptr;
    }
    EventBatch& batch =
        *::new (&reinterpret_cast<EventBatchObject*>(object.get())->batch) EventBatch{};
    const auto count = static_cast<std::size_t>(capacity);
    if (count > static_cast<std::size_t>(PY_SSIZE_T_MAX) / sizeof(Ready)) {
        return PyErr_NoMemory();
    }
    batch.reports.reset(new (std::nothrow) Ready[count]);
    batch.by_fd.reset(new (std::nothrow) Ref[count]);
    if (batch.reports == nullptr || batch.by_fd == nullptr) {
        return PyErr_NoMemory();
    }
    batch.capacity = count;
    return object.release();
}

int traverse_batch(PyObject* self, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(self));
    const EventBatch& batch = reinterpret_cast<EventBatchObject*>(self)->batch;
    for (std::size_t index = 0; batch.has_data && index < batch.capacity; ++index) {
        Py_VISIT(batch.by_data[index].get());
    }
    return 0;
}

int clear_batch(PyObject* self) noexcept {
    EventBatch& batch = reinterpret_cast<EventBatchObject*>(self)->batch;
    batch.count = 0;
    for (std::size_t index = 0; batch.has_data && index < batch.capacity; ++index) {
        batch.by_data[index].reset();
    }
    return 0;
}

Py_ssize_t length_of_batch(PyObject* self) noexcept {
    const CriticalSection inside{self};
    return static_cast<Py_ssize_t>(reinterpret_cast<EventBatchObject*>(self)->batch.count);
}

PyObject* item_of_batch(PyObject* self, Py_ssize_t index) noexcept {
    const CriticalSection inside{self};
    const EventBatch& batch = reinterpret_cast<EventBatchObject*>(self)->batch;
    if (index < 0 || static_cast<std::size_t>(index) >= batch.count) {
        return error(PyExc_IndexError, "EventBatch index out of range").release();
    }
    return Ref::borrow(batch.by_fd[static_cast<std::size_t>(index)].get()).release();
}

PyObject* describe_batch(PyObject* self) noexcept {
    const CriticalSection inside{self};
    const EventBatch& batch = reinterpret_cast<EventBatchObject*>(self)->batch;
    return PyUnicode_FromFormat("<epoll.EventBatch %zu of %zu>", batch.count, batch.capacity);
}

Ref make_iterator(PyObject* batch, bool of_objects) noexcept {
    auto* const type = reinterpret_cast<PyTypeObject*>(
        ModuleState::of_type(Py_TYPE(batch)).event_batch_iterator_type.get());
    Ref object = Ref::steal(type->tp_alloc(type, 0));
    if (object) {
        auto* const iterator = reinterpret_cast<EventBatchIterator*>(object.get());
        ::new (&iterator->batch) Ref{Ref::borrow(batch)};
        iterator->of_objects = of_objects;
    }
    return object;
}

PyObject* iterate_batch(PyObject* self) noexcept { return make_iterator(self, false).release(); }

Ref objects_of_batch(EventBatchObject& self) { return make_iterator(self.as_python(), true); }

Ref clear(EventBatchObject& self) {
    BatchFilling filling;
    return as_none(filling.begin(self));
}

Ref capacity_of_batch(EventBatchObject& self) { return as_number(self.batch.capacity); }

int traverse_iterator(PyObject* self, visitproc visit, void* arg) noexcept {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(reinterpret_cast<EventBatchIterator*>(self)->batch.get());
    return 0;
}

int clear_iterator(PyObject* self) noexcept {
    reinterpret_cast<EventBatchIterator*>(self)->batch.reset();
    return 0;
}

PyObject* next_of_iterator(PyObject* self) noexcept {
    auto& iterator = *reinterpret_cast<EventBatchIterator*>(self);
    Ref ended;  // dropped after the critical sections
    const CriticalSection own{self};
    if (!iterator.batch) {
        return nullptr;
    }
    const CriticalSection inside{iterator.batch.get()};
    const EventBatch& batch = reinterpret_cast<EventBatchObject*>(iterator.batch.get())->batch;
    if (iterator.index >= batch.count) {
        ended = std::move(iterator.batch);
        return nullptr;
    }
    const std::size_t index = iterator.index++;
    PyObject* const pair =
        iterator.of_objects ? batch.object_pair(index) : batch.by_fd[index].get();
    return Ref::borrow(pair).release();
}

constexpr const char* k_batch_text =
    "EventBatch(capacity)\n--\n\n"
    "The events of one Epoll.wait_into(), in memory that is used again by the next.\n"
    "\n"
    "Holds up to capacity events. len() is how many there are; iterating yields\n"
    "(fd, events) tuples of ints, objects() yields (data, events), indexing gives\n"
    "(fd, events). The batch keeps what was attached to the descriptors alive until it is\n"
    "filled again or cleared.\n"
    "\n"
    "While a thread waits into a batch it is empty, and filling or clearing it from\n"
    "another one raises RuntimeError. Raises ValueError for a capacity below 1 and\n"
    "MemoryError when there is no memory for it.\n"
    "\n"
    "    batch = epoll.EventBatch(64)\n"
    "    while ep.wait_into(batch):\n"
    "        for fd, events in batch:\n"
    "            ...";

constexpr const char* k_objects_text =
    "objects($self, /)\n--\n\n"
    "Return an iterator of (data, events): data is the object attached to the\n"
    "descriptor, or the descriptor itself, an int, when nothing was attached.";

constexpr const char* k_clear_text =
    "clear($self, /)\n--\n\n"
    "Drop the events, and the references to what was attached to them.\n"
    "\n"
    "Raises RuntimeError while a thread waits into the batch.";

PyMethodDef batch_methods[] = {
    make_method<objects_of_batch>("objects", k_objects_text),
    make_method<clear>("clear", k_clear_text),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef batch_properties[] = {
    make_property<capacity_of_batch>("capacity", "How many events the batch can hold; an int."),
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot batch_slots[] = {
    {Py_tp_doc, const_cast<char*>(k_batch_text)},
    {Py_tp_new, reinterpret_cast<void*>(&make_batch)},
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse_batch)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear_batch)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<EventBatchObject>)},
    {Py_tp_iter, reinterpret_cast<void*>(&iterate_batch)},
    {Py_tp_repr, reinterpret_cast<void*>(&describe_batch)},
    {Py_sq_length, reinterpret_cast<void*>(&length_of_batch)},
    {Py_sq_item, reinterpret_cast<void*>(&item_of_batch)},
    {Py_tp_methods, batch_methods},
    {Py_tp_getset, batch_properties},
    {0, nullptr},
};

PyType_Spec batch_spec = {"epoll.EventBatch", sizeof(EventBatchObject), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
                          batch_slots};

PyType_Slot iterator_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(&traverse_iterator)},
    {Py_tp_clear, reinterpret_cast<void*>(&clear_iterator)},
    {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate_object<EventBatchIterator>)},
    {Py_tp_iter, reinterpret_cast<void*>(&PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void*>(&next_of_iterator)},
    {0, nullptr},
};

PyType_Spec iterator_spec = {"epoll._core.EventBatchIterator", sizeof(EventBatchIterator), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
                                 Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                             iterator_slots};

}  // namespace

bool add_event_batch_types(PyObject* module, ModuleState& state) {
    state.event_batch_type = make_type(module, batch_spec, nullptr);
    state.event_batch_iterator_type = make_type(module, iterator_spec, nullptr);
    return state.event_batch_type && state.event_batch_iterator_type &&
           PyModule_AddObjectRef(module, "EventBatch", state.event_batch_type.get()) == 0;
}

}  // namespace epoll::python
