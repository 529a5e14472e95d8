#pragma once

#include <atomic>
#include <cassert>

namespace epoll {

/// The place that an object keeps for its membership in at most one list at a time.
///
/// Tag tells several memberships of one class apart. Destroying a member unlinks it, so a list
/// never holds a dangling pointer. Not copyable, not movable, one thread.
template <class Tag>
class ListHook {
  public:
    ListHook() noexcept = default;
    ListHook(const ListHook&) = delete;
    ListHook& operator=(const ListHook&) = delete;

    [[nodiscard]] bool is_linked() const noexcept { return next_ != nullptr; }

    /// Leaves the list; nothing happens when it is in none.
    void unlink() noexcept {
        if (next_ != nullptr) {
            previous_->next_ = next_;
            next_->previous_ = previous_;
            previous_ = nullptr;
            next_ = nullptr;
        }
    }

  protected:
    ~ListHook() { unlink(); }

  private:
    template <class T, class OfTag>
    friend class IntrusiveList;  // and its iterator, a member
    template <class T, class OfTag>
    friend class IntrusiveInbox;

    ListHook* previous_ = nullptr;
    ListHook* next_ = nullptr;
};

/// A doubly linked list of objects that derive from ListHook<Tag>: no allocation, O(1) unlink.
///
/// The list owns nothing. Its destructor unlinks what is left.
template <class T, class Tag>
class IntrusiveList {
  public:
    IntrusiveList() noexcept {
        head_.previous_ = &head_;
        head_.next_ = &head_;
    }
    IntrusiveList(const IntrusiveList&) = delete;
    IntrusiveList& operator=(const IntrusiveList&) = delete;
    ~IntrusiveList() {
        while (pop_front() != nullptr) {
        }
    }

    /// Walks the members, first to last. While a walk lasts, members may be appended, and no member
    /// but those already passed may leave.
    class Iterator {
      public:
        explicit Iterator(ListHook<Tag>* at) noexcept : at_(at) {}
        T& operator*() const noexcept { return static_cast<T&>(*at_); }
        Iterator& operator++() noexcept {
            at_ = at_->next_;
            return *this;
        }
        bool operator==(const Iterator&) const noexcept = default;

      private:
        ListHook<Tag>* at_;
    };
    [[nodiscard]] Iterator begin() noexcept { return Iterator{head_.next_}; }
    [[nodiscard]] Iterator end() noexcept { return Iterator{&head_}; }

    [[nodiscard]] bool is_empty() const noexcept { return head_.next_ == &head_; }

    /// Appends a member that is in no list of this tag.
    void push_back(T& item) noexcept {
        ListHook<Tag>& hook = item;
        assert(!hook.is_linked());
        hook.previous_ = head_.previous_;
        hook.next_ = &head_;
        head_.previous_->next_ = &hook;
        head_.previous_ = &hook;
    }

    /// The first member, or null when the list is empty.
    [[nodiscard]] T* front() noexcept {
        return is_empty() ? nullptr : static_cast<T*>(static_cast<ListHook<Tag>*>(head_.next_));
    }

    /// Unlinks and answers the first member, or null when the list is empty.
    T* pop_front() noexcept {
        T* item = front();
        if (item != nullptr) {
            static_cast<ListHook<Tag>&>(*item).unlink();
        }
        return item;
    }

    /// Moves all members of `other` to the end of this list, in their order.
    void splice_back(IntrusiveList& other) noexcept {
        if (other.is_empty()) {
            return;
        }
        head_.previous_->next_ = other.head_.next_;
        other.head_.next_->previous_ = head_.previous_;
        other.head_.previous_->next_ = &head_;
        head_.previous_ = other.head_.previous_;
        other.head_.previous_ = &other.head_;
        other.head_.next_ = &other.head_;
    }

    /// Moves all members of `other` to the front of this list, in their order.
    void splice_front(IntrusiveList& other) noexcept {
        if (!other.is_empty()) {
            other.splice_back(*this);
            splice_back(other);
        }
    }

  private:
    struct Anchor final : ListHook<Tag> {};
    Anchor head_;  // of a circular list: its neighbours are the first and the last member
};

/// What any thread may hand to one: a stack without a lock, of objects that derive from
/// ListHook<Tag>. An object in it is in no list of this tag, does not count as linked, and must not
/// be destroyed before it is taken.
template <class T, class Tag>
class IntrusiveInbox {
  public:
    IntrusiveInbox() noexcept = default;
    IntrusiveInbox(const IntrusiveInbox&) = delete;
    IntrusiveInbox& operator=(const IntrusiveInbox&) = delete;

    /// Sequentially consistent, as is put(): who puts and then reads a flag, and who sets that flag
    /// and then asks here, do not miss each other.
    [[nodiscard]] bool is_empty() const noexcept { return newest_.load() == nullptr; }

    /// Any thread.
    void put(T& item) noexcept {
        ListHook<Tag>& hook = item;
        assert(!hook.is_linked());
        hook.previous_ = newest_.load(std::memory_order_relaxed);
        while (!newest_.compare_exchange_weak(hook.previous_, &hook)) {
        }
    }

    /// Calls take(item) for each, in the order in which they were put. What is put meanwhile stays.
    template <class Take>
    void take_all(Take take) noexcept {
        ListHook<Tag>* oldest = nullptr;
        for (ListHook<Tag>* at = newest_.exchange(nullptr); at != nullptr;) {
            ListHook<Tag>* const before = at->previous_;
            at->previous_ = oldest;
            oldest = at;
            at = before;
        }
        while (oldest != nullptr) {
            ListHook<Tag>& hook = *oldest;
            oldest = hook.previous_;
            hook.previous_ = nullptr;
            take(static_cast<T&>(hook));
        }
    }

  private:
    std::atomic<ListHook<Tag>*> newest_ = nullptr;
};

}  // namespace epoll
