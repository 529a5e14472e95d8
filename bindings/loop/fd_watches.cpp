#include "fd_watches.hpp"

#include <array>
#include <climits>
#include <optional>
#include <utility>

#include <epoll/loop/reactor.hpp>
#include <epoll/loop/source.hpp>

#include "../errors.hpp"
#include "handle.hpp"
#include "loop.hpp"

namespace epoll::python {

namespace {

constexpr Events events_of(Direction direction) noexcept {
    return direction == Direction::reading ? Events::readable : Events::writable;
}

/// What `file` says its descriptor is: an int, or what its fileno() answers, which may be negative
/// or too large to be one. Nothing with asyncio's exception set.
std::optional<long long> number_of(PyObject* file) {
    Ref number = Ref::borrow(file);
    if (!PyLong_Check(file)) {
        const Ref answer = Ref::steal(PyObject_CallMethod(file, "fileno", nullptr));
        number = answer ? Ref::steal(PyNumber_Long(answer.get())) : Ref{};
        if (!number) {
            if (PyErr_ExceptionMatches(PyExc_AttributeError) ||
                PyErr_ExceptionMatches(PyExc_TypeError) ||
                PyErr_ExceptionMatches(PyExc_ValueError)) {
                PyErr_Clear();
                (void)error(PyExc_ValueError, "Invalid file object: %R", file);
            }
            return std::nullopt;
        }
    }
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(number.get(), &overflow);
    if (value == -1 && overflow == 0 && PyErr_Occurred() != nullptr) {
        return std::nullopt;
    }
    if (overflow != 0) {
        return overflow > 0 ? LLONG_MAX : LLONG_MIN;
    }
    return value;
}

}  // namespace

/// One descriptor, and who waits for it.
class FdWatches::Watch final : private Source {
  public:
    explicit Watch(Loop& loop) noexcept : Source(loop.reactor()), loop_(loop) {}

    /// Makes sure, at once, that the kernel watches the file that `fd` is now, for `direction` and
    /// for all that is waited for; who waited for another file is put out. On failure everybody is.
    void watch(int fd, Direction direction) {
        try {
            if (!is_joined()) {
                join(fd, wanted_with(direction));
            } else if (!renew(wanted_with(direction))) {
                unwant(~events_of(direction));
                vacate_all();
            }
        } catch (...) {
            vacate_all();
            throw;
        }
    }

    /// As watch(), of the descriptor of a socket object, which `identity` (its weak reference)
    /// stands for: the kernel is not asked when it is the same one as before.
    void watch_socket(int fd, Direction direction, Ref identity) {
        if (is_joined() && identity.get() == identity_.get()) {
            want(events_of(direction));
            return;
        }
        watch(fd, direction);
        identity_ = std::move(identity);
    }

    void place_handle(Direction direction, PyObject* file, Ref handle) noexcept {
        if (!file_ && !PyLong_Check(file)) {
            file_ = Ref::borrow(file);
        }
        // The collector must see what it refers to: most often the loop itself.
        if (PyObject_GC_IsTracked(handle.get()) == 0) {
            PyObject_GC_Track(handle.get());
        }
        place(direction, std::move(handle), nullptr);
    }

    void place_waiter(Direction direction, PyObject* owner, FdWaiter& waiter) noexcept {
        place(direction, Ref::borrow(owner), &waiter);
    }

    /// Whether somebody waited there, who is put out.
    bool remove(Direction direction) noexcept {
        unwant(events_of(direction));
        const bool was_taken = static_cast<bool>(at(direction).owner);
        vacate(direction);
        if (!at(Direction::reading).owner && !at(Direction::writing).owner) {
            file_.reset();
        }
        return was_taken;
    }

    /// As remove(), if it is this one who waits there.
    void remove(Direction direction, const FdWaiter& waiter) noexcept {
        if (at(direction).waiter == &waiter) {
            (void)remove(direction);
        }
    }

    [[nodiscard]] Events waited_for() noexcept {
        Events waited = Events::none;
        for (const Direction each : {Direction::reading, Direction::writing}) {
            if (at(each).owner) {
                waited |= events_of(each);
            }
        }
        return waited;
    }

    /// Puts everybody out and stops watching.
    void stop() noexcept {
        leave();
        vacate_all();
    }

    /// Whether somebody waits who was registered as this object.
    [[nodiscard]] bool is_of(PyObject* file) const noexcept { return file_.get() == file; }

    int traverse(visitproc visit, void* arg) const noexcept {
        Py_VISIT(file_.get());
        Py_VISIT(identity_.get());
        for (const Place& place : places_) {
            Py_VISIT(place.owner.get());
        }
        return 0;
    }

  private:
    struct Place {
        Ref owner;                   ///< a Handle, or what keeps the waiter alive; empty: nobody
        FdWaiter* waiter = nullptr;  ///< null: the owner is a Handle
        std::uint64_t since = 0;     ///< the turn in which it came
    };

    [[nodiscard]] Place& at(Direction direction) noexcept {
        return places_[static_cast<std::size_t>(direction)];
    }

    [[nodiscard]] std::uint64_t turn() const noexcept { return reactor().turns(); }

    [[nodiscard]] Events wanted_with(Direction direction) noexcept {
        return waited_for() | events_of(direction);
    }

    void place(Direction direction, Ref owner, FdWaiter* waiter) noexcept {
        const Place former = std::exchange(at(direction), Place{std::move(owner), waiter, turn()});
        cancel(former);
    }

    void vacate(Direction direction) noexcept {
        const Place former = std::exchange(at(direction), Place{});
        cancel(former);
    }

    void vacate_all() noexcept {
        vacate(Direction::reading);
        vacate(Direction::writing);
        file_.reset();
        identity_.reset();
    }

    static void cancel(const Place& place) noexcept {
        if (place.owner && place.waiter == nullptr) {
            cancel_handle(place.owner.get());
        }
    }

    void on_ready(Events ready) noexcept override {
        const std::uint64_t present = turn();
        for (const Direction direction : {Direction::reading, Direction::writing}) {
            // What is left out when an exception ends the turn is reported again: the kernel
            // repeats it, but not what the reactor has made up for a descriptor that it could not
            // watch.
            const bool is_repeated = !has_any(ready, Events::error);
            if (has_any(ready, events_of(direction)) && !(loop_.is_leaving() && is_repeated)) {
                notify(direction, present);
            }
        }
    }

    /// The report is older than who came in this turn: epoll repeats it if it still holds.
    void notify(Direction direction, std::uint64_t present) noexcept {
        Place& place = at(direction);
        if (!place.owner) {
            unwant(events_of(direction));
        } else if (place.since == present) {
            return;
        } else if (place.waiter != nullptr) {
            notify_waiter(direction);
        } else if (is_cancelled(place.owner.get())) {
            (void)remove(direction);
        } else {
            const Ref handle = Ref::borrow(place.owner.get());
            run_handle(loop_, handle.get());
        }
    }

    /// Whoever has read usually reads on, a turn later: the wish for that stays until it is
    /// reported with nobody waiting. A socket nearly always can be written to, so there it goes at
    /// once.
    void notify_waiter(Direction direction) noexcept {
        const Place former = std::exchange(at(direction), Place{});
        if (direction == Direction::writing) {
            unwant(Events::writable);
        }
        former.waiter->on_fd_ready();
    }

    Loop& loop_;
    std::array<Place, 2> places_;
    Ref file_;      ///< as what it was registered first, if not as a number
    Ref identity_;  ///< the weak reference of the socket object whose descriptor is registered

    friend class FdWatches;
};

FdWatches::FdWatches(Loop& loop) noexcept : loop_(loop) {}

FdWatches::~FdWatches() { close(); }

FdWatches::Entry* FdWatches::find(int fd) noexcept {
    const auto index = static_cast<std::size_t>(fd);
    return fd >= 0 && index < entries_.size() ? &entries_[index] : nullptr;
}

FdWatches::Entry& FdWatches::at(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= entries_.size()) {
        entries_.resize(index + 1);
    }
    return entries_[index];
}

/// The watch of `fd`, registered by `watch_it`; it gets its place in the table only when the kernel
/// has agreed that there is such a descriptor.
template <class WatchIt>
FdWatches::Watch& FdWatches::watched(int fd, WatchIt watch_it) {
    if (Entry* const entry = find(fd); entry != nullptr && entry->watch != nullptr) {
        Watch& watch = *entry->watch;
        watch_it(watch);
        return watch;
    }
    auto fresh = std::make_unique<Watch>(loop_);
    watch_it(*fresh);
    return *(at(fd).watch = std::move(fresh));
}

Ref FdWatches::add(Direction direction, PyObject* file, PyObject* callback,
                   std::span<PyObject* const> arguments, PyObject* context) {
    if (!loop_.require_open()) {
        return {};
    }
    Ref handle = make_handle(loop_, callback, arguments, context);
    if (!handle) {
        return {};
    }
    const auto number = number_of(file);
    if (!number) {
        return {};
    }
    if (*number < 0) {
        return error(PyExc_ValueError, "Invalid file descriptor: %lld", *number);
    }
    if (*number > INT_MAX) {
        return error(PyExc_OverflowError, "Python int too large to convert to C int");
    }
    const int fd = static_cast<int>(*number);
    try {
        Watch& watch = watched(fd, [&](Watch& it) { it.watch(fd, direction); });
        watch.place_handle(direction, file, Ref::borrow(handle.get()));
        return handle;
    } catch (...) {
        translate_exception();
        return {};
    }
}

int FdWatches::remove(Direction direction, PyObject* file) {
    if (loop_.is_closed()) {
        return 0;
    }
    const auto number = number_of(file);
    if (number && *number >= 0) {
        Entry* const entry = *number <= INT_MAX ? find(static_cast<int>(*number)) : nullptr;
        return entry != nullptr && entry->watch != nullptr && entry->watch->remove(direction) ? 1
                                                                                              : 0;
    }
    if (!number && PyErr_ExceptionMatches(PyExc_ValueError) == 0) {
        return -1;
    }
    // A file object that was closed since: the one that was registered is still known by itself.
    for (const Entry& entry : entries_) {
        if (entry.watch != nullptr && entry.watch->is_of(file)) {
            PyErr_Clear();
            return entry.watch->remove(direction) ? 1 : 0;
        }
    }
    if (number) {
        (void)error(PyExc_ValueError, "Invalid file descriptor: %lld", *number);
    }
    return -1;
}

Events FdWatches::waited_for(int fd) noexcept {
    Entry* const entry = find(fd);
    return entry != nullptr && entry->watch != nullptr ? entry->watch->waited_for() : Events::none;
}

bool FdWatches::wait(Direction direction, int fd, PyObject* socket, PyObject* owner,
                     FdWaiter& waiter) {
    if (!loop_.require_open() || !require_no_transport(fd, nullptr)) {
        return false;
    }
    Ref identity = Ref::steal(PyWeakref_NewRef(socket, nullptr));
    if (!identity) {
        return false;
    }
    try {
        Watch& watch =
            watched(fd, [&](Watch& it) { it.watch_socket(fd, direction, std::move(identity)); });
        watch.place_waiter(direction, owner, waiter);
        return true;
    } catch (...) {
        translate_exception();
        return false;
    }
}

void FdWatches::stop_waiting(Direction direction, int fd, const FdWaiter& waiter) noexcept {
    if (Entry* const entry = find(fd); entry != nullptr && entry->watch != nullptr) {
        entry->watch->remove(direction, waiter);
    }
}

bool FdWatches::require_no_transport(PyObject* file) {
    const auto number = number_of(file);
    return number && (*number < 0 || *number > INT_MAX ||
                      require_no_transport(static_cast<int>(*number), file));
}

bool FdWatches::require_no_transport(int fd, PyObject* named) {
    const Entry* const entry = find(fd);
    const Ref transport = entry != nullptr && entry->transport != nullptr
                              ? Ref::borrow(entry->transport)
                              : inherited_transport(fd);
    if (!transport) {
        return PyErr_Occurred() == nullptr;
    }
    const Ref is_closing = Ref::steal(PyObject_CallMethod(transport.get(), "is_closing", nullptr));
    const int closing = is_closing ? PyObject_IsTrue(is_closing.get()) : -1;
    if (closing == 0) {
        const Ref name = named != nullptr ? Ref::borrow(named) : Ref::steal(PyLong_FromLong(fd));
        if (name) {
            (void)error(PyExc_RuntimeError, "File descriptor %R is used by transport %R",
                        name.get(), transport.get());
        }
    }
    return closing == 1;
}

/// The transport that inherited code has entered in the loop's WeakValueDictionary; empty, with or
/// without an exception set.
Ref FdWatches::inherited_transport(int fd) {
    if (!inherited_transports_) {
        Ref transports = Ref::steal(PyObject_GetAttrString(loop_.self(), "_transports"));
        Ref data =
            transports ? Ref::steal(PyObject_GetAttrString(transports.get(), "data")) : Ref{};
        if (!data) {
            if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
                PyErr_Clear();
            }
            return {};
        }
        inherited_transports_ = std::move(transports);
        inherited_data_ = std::move(data);
    }
    if (PyDict_Check(inherited_data_.get()) && PyDict_Size(inherited_data_.get()) == 0) {
        return {};
    }
    Ref transport = Ref::steal(PyObject_CallMethod(inherited_transports_.get(), "get", "i", fd));
    return transport && transport.get() != Py_None ? std::move(transport) : Ref{};
}

void FdWatches::adopt(int fd, PyObject* transport) {
    Entry& entry = at(fd);
    entry.transport = transport;
    release(fd);
}

void FdWatches::forget(int fd) noexcept {
    if (Entry* const entry = find(fd)) {
        entry->transport = nullptr;
    }
}

void FdWatches::release(int fd) noexcept {
    if (Entry* const entry = find(fd); entry != nullptr && entry->watch != nullptr) {
        entry->watch->stop();
    }
}

void FdWatches::close() noexcept {
    // What dies here may call the loop: it finds an empty table.
    const std::vector<Entry> former = std::exchange(entries_, {});
    for (const Entry& entry : former) {
        if (entry.watch != nullptr) {
            entry.watch->stop();
        }
    }
    inherited_transports_.reset();
    inherited_data_.reset();
}

int FdWatches::traverse(visitproc visit, void* arg) const noexcept {
    Py_VISIT(inherited_transports_.get());
    Py_VISIT(inherited_data_.get());
    for (const Entry& entry : entries_) {
        if (entry.watch != nullptr) {
            if (const int result = entry.watch->traverse(visit, arg); result != 0) {
                return result;
            }
        }
    }
    return 0;
}

}  // namespace epoll::python
