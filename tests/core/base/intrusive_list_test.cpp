#include <epoll/base/intrusive_list.hpp>

#include <iterator>
#include <list>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace epoll {
namespace {

struct OneTag;
struct OtherTag;

struct Item : ListHook<OneTag>, ListHook<OtherTag> {
    explicit Item(int label) : name(label) {}
    int name;
    [[nodiscard]] bool is_in_one() const { return ListHook<OneTag>::is_linked(); }
    [[nodiscard]] bool is_in_other() const { return ListHook<OtherTag>::is_linked(); }
    void leave_one() { ListHook<OneTag>::unlink(); }
};

using One = IntrusiveList<Item, OneTag>;
using Other = IntrusiveList<Item, OtherTag>;

template <class List>
std::vector<int> names(List& list) {
    std::vector<int> result;
    for (const Item& item : list) {
        result.push_back(item.name);
    }
    return result;
}

using Names = std::vector<int>;

TEST_CASE("an empty list has no first member") {
    One list;
    CHECK(list.is_empty());
    CHECK(list.front() == nullptr);
    CHECK(list.pop_front() == nullptr);
    CHECK(names(list).empty());
}

TEST_CASE("members come out in the order they were appended") {
    Item a{1};
    Item b{2};
    One list;
    list.push_back(a);
    list.push_back(b);
    CHECK(names(list) == Names{1, 2});
    CHECK(list.front() == &a);
    CHECK(list.pop_front() == &a);
    CHECK_FALSE(a.is_in_one());
    CHECK(list.pop_front() == &b);
    CHECK(list.is_empty());
}

TEST_CASE("a member leaves from any place, and leaving twice is nothing") {
    Item a{1};
    Item b{2};
    Item c{3};
    One list;
    list.push_back(a);
    list.push_back(b);
    list.push_back(c);
    b.leave_one();
    b.leave_one();
    CHECK(names(list) == Names{1, 3});
    c.leave_one();
    CHECK(names(list) == Names{1});
    a.leave_one();
    CHECK(list.is_empty());
    list.push_back(b);
    CHECK(names(list) == Names{2});
}

TEST_CASE("tags are separate memberships") {
    Item a{1};
    One one;
    Other other;
    one.push_back(a);
    CHECK_FALSE(a.is_in_other());
    other.push_back(a);
    a.leave_one();
    CHECK(one.is_empty());
    CHECK(names(other) == Names{1});
}

TEST_CASE("a member that is destroyed leaves every list") {
    Item before{1};
    auto dying = std::make_unique<Item>(2);
    Item after{3};
    One one;
    Other other;
    one.push_back(before);
    one.push_back(*dying);
    one.push_back(after);
    other.push_back(*dying);
    dying.reset();
    CHECK(names(one) == Names{1, 3});
    CHECK(other.is_empty());
}

TEST_CASE("a list that is destroyed unlinks what is left in it") {
    Item a{1};
    Item b{2};
    {
        One list;
        list.push_back(a);
        list.push_back(b);
    }
    CHECK_FALSE(a.is_in_one());
    CHECK_FALSE(b.is_in_one());
}

TEST_CASE("splice_front moves all, in order, before what is there") {
    Item a{1};
    Item b{2};
    Item c{3};
    One target;
    One source;
    SUBCASE("both have members") {
        target.push_back(c);
        source.push_back(a);
        source.push_back(b);
        target.splice_front(source);
        CHECK(names(target) == Names{1, 2, 3});
    }
    SUBCASE("the target is empty") {
        source.push_back(a);
        source.push_back(b);
        target.splice_front(source);
        CHECK(names(target) == Names{1, 2});
    }
    SUBCASE("the source is empty") {
        target.push_back(c);
        target.splice_front(source);
        CHECK(names(target) == Names{3});
    }
    CHECK(source.is_empty());
}

TEST_CASE("splice_back moves all, in order, behind what is there") {
    Item a{1};
    Item b{2};
    Item c{3};
    One target;
    One source;
    SUBCASE("both have members") {
        target.push_back(a);
        source.push_back(b);
        source.push_back(c);
        target.splice_back(source);
        CHECK(names(target) == Names{1, 2, 3});
    }
    SUBCASE("the target is empty") {
        source.push_back(b);
        source.push_back(c);
        target.splice_back(source);
        CHECK(names(target) == Names{2, 3});
    }
    SUBCASE("the source is empty") {
        target.push_back(a);
        target.splice_back(source);
        CHECK(names(target) == Names{1});
    }
    SUBCASE("both are empty") {
        target.splice_back(source);
        CHECK(target.is_empty());
    }
    CHECK(source.is_empty());
    Item later{4};
    source.push_back(later);  // the source is a list like any other afterwards
    CHECK(names(source) == Names{4});
}

TEST_CASE("a walk sees what is appended during it") {
    Item a{1};
    Item b{2};
    One list;
    list.push_back(a);
    Names seen;
    for (const Item& item : list) {
        seen.push_back(item.name);
        if (&item == &a) {
            list.push_back(b);
        }
    }
    CHECK(seen == Names{1, 2});
}

TEST_CASE("members already passed may leave during a walk") {
    Item a{1};
    Item b{2};
    Item c{3};
    One list;
    list.push_back(a);
    list.push_back(b);
    list.push_back(c);
    Names seen;
    Item* passed = nullptr;
    for (Item& item : list) {
        seen.push_back(item.name);
        if (passed != nullptr) {
            passed->leave_one();
        }
        passed = &item;
    }
    CHECK(seen == Names{1, 2, 3});
    CHECK(names(list) == Names{3});
}

TEST_CASE("popping one by one, members behind may leave") {
    Item a{1};
    Item b{2};
    Item c{3};
    One list;
    list.push_back(a);
    list.push_back(b);
    list.push_back(c);
    Names seen;
    while (const Item* const item = list.pop_front()) {
        seen.push_back(item->name);
        b.leave_one();
    }
    CHECK(seen == Names{1, 3});
}

TEST_CASE("random changes agree with std::list") {
    std::mt19937 random{20250101};
    std::vector<std::unique_ptr<Item>> items;
    for (int i = 0; i != 32; ++i) {
        items.push_back(std::make_unique<Item>(i));
    }
    One list;
    std::list<int> model;
    for (int step = 0; step != 20'000; ++step) {
        const auto index = random() % items.size();
        Item& item = *items[index];
        switch (random() % 4) {
            case 0:
                if (!item.is_in_one()) {
                    list.push_back(item);
                    model.push_back(item.name);
                }
                break;
            case 1:
                item.leave_one();
                model.remove(item.name);
                break;
            case 2:
                model.remove(item.name);
                items[index] = std::make_unique<Item>(static_cast<int>(index));
                break;
            default: {
                const Item* const first = list.pop_front();
                REQUIRE((first == nullptr) == model.empty());
                if (first != nullptr) {
                    REQUIRE(first->name == model.front());
                    model.pop_front();
                }
            }
        }
        REQUIRE(names(list) == Names(model.begin(), model.end()));
    }
}

TEST_CASE("an inbox gives out what was put in, in that order, once") {
    IntrusiveInbox<Item, OneTag> inbox;
    Item a{1}, b{2}, c{3};
    CHECK(inbox.is_empty());
    inbox.put(a);
    inbox.put(b);
    CHECK(!inbox.is_empty());
    CHECK(!a.is_in_one());
    Names taken;
    inbox.take_all([&](Item& item) {
        taken.push_back(item.name);
        if (item.name == 1) {
            inbox.put(c);  // stays for the next time
            inbox.put(a);
        }
    });
    CHECK(taken == Names{1, 2});
    inbox.take_all([&](Item& item) { taken.push_back(item.name); });
    CHECK(taken == Names{1, 2, 3, 1});
    CHECK(inbox.is_empty());
}

TEST_CASE("what was in an inbox may join a list") {
    IntrusiveInbox<Item, OneTag> inbox;
    One list;
    Item a{1}, b{2};
    inbox.put(a);
    inbox.put(b);
    inbox.take_all([&](Item& item) { list.push_back(item); });
    CHECK(names(list) == Names{1, 2});
}

TEST_CASE("many threads may put into an inbox while one takes") {
    constexpr int k_threads = 4;
    constexpr int k_each = 2000;
    IntrusiveInbox<Item, OneTag> inbox;
    std::list<Item> items;
    std::vector<std::thread> threads;
    for (int i = 0; i != k_threads * k_each; ++i) {
        items.emplace_back(i);
    }
    auto next = items.begin();
    for (int t = 0; t != k_threads; ++t) {
        const auto first = next;
        std::advance(next, k_each);
        threads.emplace_back([&inbox, first, next] {
            for (auto at = first; at != next; ++at) {
                inbox.put(*at);
            }
        });
    }
    std::vector<int> last(k_threads, -1);
    int taken = 0;
    bool is_in_order = true;
    while (taken != k_threads * k_each) {
        inbox.take_all([&](Item& item) {
            ++taken;
            int& before = last[static_cast<std::size_t>(item.name / k_each)];
            is_in_order = is_in_order && before < item.name;
            before = item.name;
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    CHECK(is_in_order);
    CHECK(inbox.is_empty());
}

}  // namespace
}  // namespace epoll
