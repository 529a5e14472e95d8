#include <epoll/loop/source.hpp>

#include <chrono>
#include <memory>
#include <system_error>
#include <type_traits>
#include <vector>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "../poll/pair.hpp"
#include "probe.hpp"

namespace epoll {
namespace {

static_assert(!std::is_copy_constructible_v<Probe> && !std::is_move_constructible_v<Probe>);

TEST_CASE("a joined source is told what is ready and wanted, until it has consumed it") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    CHECK_FALSE(probe.is_joined());
    probe.join(pair.near.get(), Events::readable);
    CHECK(probe.is_joined());
    CHECK(probe.wanted() == Events::readable);
    turn(reactor);
    CHECK(probe.calls == 0);
    pair.send_from_far();
    turn(reactor);
    turn(reactor);
    CHECK(probe.calls == 2);
    CHECK(probe.seen == Events::readable);
    pair.drain_near();
    turn(reactor);
    CHECK(probe.calls == 2);
}

TEST_CASE("a descriptor that the kernel refuses leaves the source free to join another") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    const OwnedFd file{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
    CHECK_THROWS_AS(probe.join(file.get(), Events::readable), std::system_error);
    CHECK_FALSE(probe.is_joined());
    CHECK(probe.wanted() == Events::none);
    probe.join(pair.near.get(), Events::writable);
    turn(reactor);
    CHECK(probe.seen == Events::writable);
}

TEST_CASE("a source that left is not called, and may join again") {
    const Pair pair;
    const Pair other;
    Reactor reactor;
    Probe probe{reactor};
    probe.leave();  // nothing yet
    probe.join(pair.near.get(), k_both);
    probe.leave();
    probe.leave();
    CHECK_FALSE(probe.is_joined());
    CHECK(probe.wanted() == Events::none);
    turn(reactor);
    CHECK(probe.calls == 0);
    probe.join(other.near.get(), Events::writable);
    turn(reactor);
    CHECK(probe.seen == Events::writable);
}

/// Two sources of one batch; whichever is told first acts on the other.
struct Rivals {
    enum class Act { destroy, leave, unwant };

    explicit Rivals(Act act) {
        for (int i = 0; i != 2; ++i) {
            pairs[i].send_from_far();
            probes[i] = std::make_unique<Probe>(reactor, [this, act, i](Events) {
                ++calls;
                const int other = 1 - i;
                switch (act) {
                    case Act::destroy: probes[other].reset(); break;
                    case Act::leave: probes[other]->leave(); break;
                    case Act::unwant: probes[other]->unwant(Events::readable); break;
                }
            });
            probes[i]->join(pairs[i].near.get(), Events::readable);
        }
    }

    Pair pairs[2];
    Reactor reactor;
    std::unique_ptr<Probe> probes[2];
    int calls = 0;
};

TEST_CASE("one ready source may end another of the same batch before that is told") {
    for (const auto act : {Rivals::Act::destroy, Rivals::Act::leave, Rivals::Act::unwant}) {
        Rivals rivals{act};
        turn(rivals.reactor);
        CHECK(rivals.reactor.statistics().events == 2);
        CHECK(rivals.calls == 1);
    }
}

TEST_CASE("a source may be destroyed in its own on_ready") {
    const Pair pair;
    Reactor reactor;
    pair.send_from_far();
    std::unique_ptr<Probe> probe;
    probe = std::make_unique<Probe>(reactor, [&](Events) { probe.reset(); });
    probe->join(pair.near.get(), Events::readable);
    turn(reactor);
    CHECK(probe == nullptr);
    turn(reactor);
    CHECK(reactor.statistics().events == 1);
}

TEST_CASE("what a source does not want any more when its turn comes is left out") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    pair.send_from_far();
    probe.join(pair.near.get(), k_both);
    Task task{[&] { probe.unwant(Events::readable); }};  // after collect, before dispatch
    reactor.defer(task);
    turn(reactor);
    CHECK(probe.calls == 1);
    CHECK(probe.seen == Events::writable);
}

TEST_CASE("a source that leaves and joins inside a batch hears nothing of its former report") {
    const Pair pair;
    const Pair silent;
    Reactor reactor;
    Probe probe{reactor};
    pair.send_from_far();
    probe.join(pair.near.get(), Events::readable);
    Task task{[&] {
        probe.leave();
        probe.join(silent.near.get(), Events::readable);
    }};
    reactor.defer(task);
    turn(reactor);
    CHECK(probe.calls == 0);
}

TEST_CASE("a wish costs one epoll_ctl, before the next wait") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    const Changes changes{reactor};
    probe.want(Events::writable);
    probe.want(Events::writable);
    CHECK(changes.count() == 0);
    turn(reactor);
    CHECK(changes.count() == 1);
    CHECK(probe.seen == Events::writable);
    turn(reactor);
    CHECK(changes.count() == 1);
}

TEST_CASE("a wish that is taken back before the wait costs nothing") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    const Changes changes{reactor};
    probe.want(Events::writable);
    probe.unwant(Events::writable);
    turn(reactor);
    CHECK(changes.count() == 0);
    CHECK(probe.calls == 0);
}

TEST_CASE("what is not wanted is disarmed by its first report, with exactly one epoll_ctl") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    const Changes changes{reactor};
    probe.unwant(Events::readable);
    turn(reactor);
    CHECK(changes.count() == 0);
    pair.send_from_far();
    CHECK(turns_while_idle(reactor) <= k_handful);
    CHECK(changes.count() == 1);
    CHECK(probe.calls == 0);
    probe.want(Events::readable);
    turn(reactor);
    CHECK(changes.count() == 2);
    CHECK(probe.calls == 1);
}

TEST_CASE("what is unwanted and wanted again before it is reported costs nothing") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    const Changes changes{reactor};
    probe.unwant(Events::readable);
    turn(reactor);
    probe.want(Events::readable);
    pair.send_from_far();
    turn(reactor);
    CHECK(probe.calls == 1);
    CHECK(changes.count() == 0);
}

TEST_CASE("one of two events is disarmed while the other is reported") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    pair.send_from_far();
    probe.join(pair.near.get(), k_both);
    const Changes changes{reactor};
    probe.unwant(Events::readable);
    turn(reactor);
    turn(reactor);
    CHECK(changes.count() == 1);
    CHECK(probe.calls == 2);
    CHECK(probe.seen == Events::writable);
}

TEST_CASE("an echo in the steady state makes no epoll_ctl") {
    const Pair pair;
    Reactor reactor;
    Probe probe{
        reactor, [&](Events) {
            char room[64];
            const ssize_t count = ::recv(pair.near.get(), room, sizeof room, 0);
            CHECK(count > 0);
            CHECK(::send(pair.near.get(), room, static_cast<std::size_t>(count), 0) == count);
        }};
    probe.join(pair.near.get(), Events::readable);
    const Changes changes{reactor};
    char room[64];
    for (int i = 0; i != 1000; ++i) {
        pair.send_from_far("hello");
        reactor.run_turn(Timeout::after(std::chrono::seconds{5}));
        REQUIRE(::recv(pair.far.get(), room, sizeof room, 0) == 5);
    }
    CHECK(changes.count() == 0);
    CHECK(probe.calls == 1000);
}

TEST_CASE("slots are used again, and each user hears its own reports") {
    Reactor reactor;
    const Pair pair;
    pair.send_from_far();
    for (int round = 0; round != 100; ++round) {
        std::vector<std::unique_ptr<Probe>> probes;
        for (int i = 0; i != 3; ++i) {
            probes.push_back(std::make_unique<Probe>(reactor));
        }
        const Pair silent;
        probes[0]->join(silent.near.get(), Events::readable);
        probes[1]->join(silent.far.get(), Events::readable);
        probes[0]->leave();
        probes[2]->join(pair.near.get(), Events::readable);
        turn(reactor);
        CHECK(probes[1]->calls == 0);
        CHECK(probes[2]->calls == 1);
    }
}

/// The number of `pair.near` now stands for the near end of another pair; a duplicate keeps the
/// file that it stood for open, so that the kernel still reports it.
struct Replaced {
    explicit Replaced(Pair& pair) : kept(::dup(pair.near.get())) {
        REQUIRE(::dup2(fresh.near.get(), pair.near.get()) == pair.near.get());
    }
    Pair fresh;
    OwnedFd kept;
};

TEST_CASE("renewing tells the kernel at once, with one epoll_ctl while the file is the same") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    const std::uint64_t before = reactor.statistics().changes;
    CHECK(probe.renew(Events::writable));
    CHECK(reactor.statistics().changes == before + 1);
    CHECK(probe.wanted() == Events::writable);
    turn(reactor);
    CHECK(probe.seen == Events::writable);
}

TEST_CASE("renewing finds out that the number stands for another file, and hears of that one") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    const Replaced replaced{pair};
    pair.send_from_far();  // to the file that the duplicate keeps open
    CHECK_FALSE(probe.renew(Events::readable));
    turn(reactor);
    CHECK(probe.calls == 0);
    replaced.fresh.send_from_far();
    turn(reactor);
    CHECK(probe.calls == 1);
}

TEST_CASE("renewing what an unwanted hang-up has taken out of epoll joins it anew, and says so") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    probe.unwant(Events::readable);
    CHECK(pair.far.close() == 0);
    turn(reactor);
    CHECK(probe.calls == 0);
    CHECK_FALSE(probe.renew(Events::readable));
    CHECK(probe.wanted() == Events::readable);
    turn(reactor);
    CHECK(probe.calls == 1);
    CHECK(probe.renew(Events::readable));
}

TEST_CASE("renewing a closed number throws and watches nothing") {
    Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    CHECK(pair.near.close() == 0);
    CHECK_THROWS_AS((void)probe.renew(Events::readable), std::system_error);
    CHECK_FALSE(probe.is_joined());
    turn(reactor);
    CHECK(probe.calls == 0);
}

TEST_CASE("a source whose file was closed does not touch who joined its number since") {
    Pair pair;
    Reactor reactor;
    Probe former{reactor};
    Probe latter{reactor};
    former.join(pair.near.get(), Events::readable);
    former.unwant(Events::readable);
    const Replaced replaced{pair};
    latter.join(pair.near.get(), Events::readable);
    SUBCASE("when it leaves") { former.leave(); }
    SUBCASE("when the kernel reports the closed file, which a duplicate keeps open") {
        pair.send_from_far();
        turn(reactor);
        turn(reactor);
    }
    CHECK(latter.calls == 0);
    replaced.fresh.send_from_far();
    turn(reactor);
    CHECK(latter.calls == 1);
    CHECK(former.calls == 0);
}

TEST_CASE("an exclusive source is paused and armed again; each epoll_ctl is counted") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable | Events::exclusive);
    pair.send_from_far();
    turn(reactor);
    CHECK(probe.seen == Events::readable);
    const Changes changes{reactor};
    probe.unwant(Events::readable);
    CHECK(turns_while_idle(reactor) <= k_handful);
    CHECK(probe.calls == 1);
    CHECK(changes.count() == 2);  // it cannot be modified: removed and added
    probe.want(Events::readable);
    turn(reactor);
    CHECK(probe.calls == 2);
    CHECK(probe.seen == Events::readable);
    CHECK(changes.count() == 4);
}

TEST_CASE("a source becomes exclusive after it has joined") {
    const Pair pair;
    Reactor reactor;
    Probe probe{reactor};
    probe.join(pair.near.get(), Events::readable);
    probe.want(Events::exclusive);
    turn(reactor);
    CHECK(probe.calls == 0);
    pair.send_from_far();
    turn(reactor);
    CHECK(probe.calls == 1);
    CHECK(probe.seen == Events::readable);
}

}  // namespace
}  // namespace epoll
