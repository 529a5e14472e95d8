#include <epoll/base/byte_queue.hpp>

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

namespace epoll {
namespace {

static_assert(!std::is_copy_constructible_v<OwnedBytes>);
static_assert(std::is_nothrow_move_constructible_v<OwnedBytes>);
static_assert(std::is_nothrow_move_assignable_v<OwnedBytes>);
static_assert(!std::is_copy_constructible_v<ByteQueue>);
static_assert(!std::is_move_constructible_v<ByteQueue>);

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span{text.data(), text.size()});
}

/// Memory that counts how often it was given back.
struct Owner {
    explicit Owner(std::string content) : text(std::move(content)) {}
    std::string text;
    int released = 0;

    OwnedBytes bytes() {
        return {bytes_of(text), this,
                [](void* self) noexcept { ++static_cast<Owner*>(self)->released; }};
    }
};

/// All iovecs of a queue: it must have no more than 64 chunks.
std::vector<std::string> chunks(const ByteQueue& queue) {
    std::array<iovec, ByteQueue::k_max_gather> room{};
    std::vector<std::string> result;
    for (const iovec& part : queue.gather(room)) {
        result.emplace_back(static_cast<const char*>(part.iov_base), part.iov_len);
    }
    return result;
}

std::string joined(const ByteQueue& queue) {
    std::string result;
    for (const std::string& chunk : chunks(queue)) {
        result += chunk;
    }
    return result;
}

using Chunks = std::vector<std::string>;

TEST_CASE("OwnedBytes releases its owner once, wherever it was moved") {
    Owner owner{"abc"};
    Owner other{"xyz"};
    {
        OwnedBytes first = owner.bytes();
        OwnedBytes second{std::move(first)};
        CHECK(second.bytes().size() == 3);
        OwnedBytes third = other.bytes();
        third = std::move(second);
        CHECK(third.bytes().data() == bytes_of(owner.text).data());
        CHECK(owner.released == 0);
    }
    CHECK(owner.released == 1);
    CHECK(other.released == 1);
}

TEST_CASE("OwnedBytes without a release tells nobody") {
    const std::string text = "static";
    ByteQueue queue;
    queue.append_owned({bytes_of(text), nullptr, nullptr});
    CHECK(joined(queue) == text);
    queue.clear();
    CHECK(queue.is_empty());
}

TEST_CASE("an empty queue gathers nothing, and nothing can be dropped from it") {
    ByteQueue queue;
    CHECK(queue.is_empty());
    CHECK(queue.size() == 0);
    CHECK(chunks(queue).empty());
    queue.consume(0);
    queue.clear();
    queue.own_borrowed();
    CHECK(queue.is_empty());
}

TEST_CASE("appending nothing makes no chunk, and releases the owner at once") {
    Owner owner{""};
    ByteQueue queue;
    queue.append_copy({});
    queue.append_borrowed({});
    queue.append_owned(owner.bytes());
    CHECK(queue.is_empty());
    CHECK(chunks(queue).empty());
    CHECK(owner.released == 1);
}

TEST_CASE("a copy does not look at the memory again") {
    std::string text = "abc";
    ByteQueue queue;
    queue.append_copy(bytes_of(text));
    text = "xyz";
    CHECK(joined(queue) == "abc");
}

TEST_CASE("small copies that follow each other share one block") {
    ByteQueue queue;
    for (int i = 0; i != 1000; ++i) {
        queue.append_copy(bytes_of("abc"));
    }
    CHECK(queue.size() == 3000);
    CHECK(chunks(queue).size() == 1);
}

TEST_CASE("a copy that does not fit into the block gets its own") {
    const std::string large(10'000, 'x');
    ByteQueue queue;
    queue.append_copy(bytes_of("a"));
    queue.append_copy(bytes_of(large));
    CHECK(chunks(queue) == Chunks{"a", large});
}

TEST_CASE("copies keep their place among the other kinds") {
    Owner owner{"two"};
    const std::string lent = "four";
    ByteQueue queue;
    queue.append_copy(bytes_of("one"));
    queue.append_owned(owner.bytes());
    queue.append_copy(bytes_of("three"));
    queue.append_borrowed(bytes_of(lent));
    queue.append_copy(bytes_of("five"));
    CHECK(chunks(queue) == Chunks{"one", "two", "three", "four", "five"});
    CHECK(queue.size() == 19);
}

TEST_CASE("owned and borrowed bytes are not copied") {
    Owner owner{"abc"};
    const std::string lent = "def";
    ByteQueue queue;
    queue.append_owned(owner.bytes());
    queue.append_borrowed(bytes_of(lent));
    std::array<iovec, 2> room{};
    const auto parts = queue.gather(room);
    CHECK(parts[0].iov_base == owner.text.data());
    CHECK(parts[1].iov_base == lent.data());
}

TEST_CASE("gather fills no more than its room, from the front") {
    const std::string text = "abcdef";
    ByteQueue queue;
    for (const char& letter : text) {
        queue.append_borrowed(bytes_of({&letter, 1}));
    }
    std::array<iovec, 4> room{};
    CHECK(queue.gather(room).size() == 4);
    CHECK(queue.gather(std::span{room}.first(0)).empty());
    queue.consume(5);
    const auto parts = queue.gather(room);
    REQUIRE(parts.size() == 1);
    CHECK(parts[0].iov_base == &text[5]);
    CHECK(parts.data() == room.data());
}

TEST_CASE("an owner is released with its last byte, not before") {
    Owner owner{"abc"};
    ByteQueue queue;
    queue.append_copy(bytes_of("-"));
    queue.append_owned(owner.bytes());
    queue.append_copy(bytes_of("+"));
    queue.consume(3);
    CHECK(owner.released == 0);
    CHECK(chunks(queue) == Chunks{"c", "+"});
    queue.consume(1);
    CHECK(owner.released == 1);
    CHECK(joined(queue) == "+");
}

TEST_CASE("clear and the destructor release every owner once") {
    Owner first{"abc"};
    Owner second{"def"};
    {
        ByteQueue queue;
        queue.append_owned(first.bytes());
        queue.append_owned(second.bytes());
        queue.consume(1);
        SUBCASE("clear") { queue.clear(); }
        SUBCASE("destructor") {}
    }
    CHECK(first.released == 1);
    CHECK(second.released == 1);
}

TEST_CASE("a queue can be used again after clear") {
    ByteQueue queue;
    queue.append_copy(bytes_of("abc"));
    queue.clear();
    CHECK(queue.size() == 0);
    queue.append_copy(bytes_of("def"));
    CHECK(chunks(queue) == Chunks{"def"});
}

TEST_CASE("own_borrowed copies what is left of each borrowed chunk") {
    std::string first = "abc";
    std::string second = "def";
    Owner owner{"ghi"};
    ByteQueue queue;
    queue.append_borrowed(bytes_of(first));
    queue.append_owned(owner.bytes());
    queue.append_borrowed(bytes_of(second));
    queue.consume(1);
    queue.own_borrowed();
    first.assign("...");
    second.assign("...");
    CHECK(chunks(queue) == Chunks{"bc", "ghi", "def"});
    CHECK(owner.released == 0);
    queue.append_copy(bytes_of("!"));
    CHECK(joined(queue) == "bcghidef!");
    SUBCASE("what is borrowed afterwards is borrowed again") {
        std::string third = "jkl";
        queue.append_borrowed(bytes_of(third));
        third.assign("JKL");
        CHECK(joined(queue) == "bcghidef!JKL");
        queue.own_borrowed();
        third.assign("...");
        CHECK(joined(queue) == "bcghidef!JKL");
    }
}

/// Appends to the queue from inside the release.
struct Appender {
    ByteQueue& queue;
    std::string text = "abc";
    std::size_t size_seen = 0;

    OwnedBytes bytes() {
        return {bytes_of(text), this, [](void* self) noexcept {
                    auto& appender = *static_cast<Appender*>(self);
                    appender.size_seen = appender.queue.size();
                    appender.queue.append_copy(bytes_of("again"));
                }};
    }
};

TEST_CASE("a release may append to the queue") {
    ByteQueue queue;
    Appender appender{queue};
    SUBCASE("when its bytes were all there was") {
        queue.append_owned(appender.bytes());
        queue.consume(3);
        CHECK(appender.size_seen == 0);
        CHECK(joined(queue) == "again");
    }
    SUBCASE("while more is being dropped behind it") {
        queue.append_owned(appender.bytes());
        queue.append_copy(bytes_of("def"));
        queue.consume(5);
        CHECK(appender.size_seen == 1);
        CHECK(joined(queue) == "fagain");
    }
    SUBCASE("while everything is being dropped") {
        queue.append_owned(appender.bytes());
        queue.append_copy(bytes_of("def"));
        queue.clear();
        CHECK(joined(queue) == "again");
    }
    CHECK(queue.size() == joined(queue).size());
}

/// A queue and, beside it, what it should hold.
class Model {
  public:
    void append(std::mt19937& random) {
        const std::size_t most = random() % 8 == 0 ? 6000 : 40;
        std::string text(random() % most, ' ');
        for (char& letter : text) {
            letter = static_cast<char>('a' + random() % 26);
        }
        expected_ += text;
        switch (random() % 3) {
            case 0: queue_.append_copy(bytes_of(text)); break;
            case 1: queue_.append_owned(owners_.emplace_back(std::move(text)).bytes()); break;
            default: queue_.append_borrowed(bytes_of(lent_.emplace_back(std::move(text))));
        }
    }

    void consume(std::mt19937& random) {
        const std::size_t count = random() % (expected_.size() + 1);
        queue_.consume(count);
        expected_.erase(0, count);
    }

    void own_borrowed() {
        queue_.own_borrowed();
        for (std::string& text : lent_) {
            text.assign(text.size(), '#');
        }
        lent_.clear();
    }

    /// Takes all out by gather and consume, as a sender does.
    void drain() {
        std::string sent;
        while (!queue_.is_empty()) {
            const std::string part = joined(queue_);
            queue_.consume(part.size());
            sent += part;
        }
        REQUIRE(sent == expected_);
        expected_.clear();
        for (const Owner& owner : owners_) {
            REQUIRE(owner.released == 1);
        }
        owners_.clear();
    }

    void check() const {
        REQUIRE(queue_.size() == expected_.size());
        const std::string front = joined(queue_);
        REQUIRE(front == expected_.substr(0, front.size()));
    }

  private:
    std::deque<Owner> owners_;
    std::deque<std::string> lent_;
    ByteQueue queue_;
    std::string expected_;
};

TEST_CASE("random appends and drops agree with a string") {
    std::mt19937 random{7};
    Model model;
    for (int step = 0; step != 5000; ++step) {
        switch (random() % 10) {
            case 0: model.own_borrowed(); break;
            case 1: model.drain(); break;
            case 2:
            case 3:
            case 4: model.consume(random); break;
            default: model.append(random);
        }
        model.check();
    }
}

}  // namespace
}  // namespace epoll
