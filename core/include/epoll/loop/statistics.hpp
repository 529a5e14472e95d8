#pragma once

#include <cstdint>

#include <epoll/base/counter.hpp>
#include <epoll/base/histogram.hpp>

namespace epoll {

/// What a reactor has done since it was made. Times are brought up to date by each wait, so they
/// lack what happens at the moment.
struct ReactorStatistics {
    std::uint64_t turns;     ///< rounds of the loop
    std::uint64_t waits;     ///< times the kernel was asked, the ones with a timeout of 0 included
    std::uint64_t events;    ///< reports of the kernel
    std::uint64_t changes;   ///< epoll_ctl calls
    std::uint64_t timers;    ///< timers fired
    std::uint64_t deferred;  ///< deferred and posted items run
    std::uint64_t dispatched;  ///< times that a ready source was called
    std::uint64_t watched;     ///< sources that are joined now, the reactor's own not included

    std::uint64_t ready;       ///< deferred items that the last turn has run
    std::uint64_t most_ready;  ///< the most that a turn has run

    std::uint64_t waiting;  ///< ns in waits that might block
    std::uint64_t running;  ///< ns in run() and run_turn() outside of them

    /// How late timers were fired: from their moment to the one at which the timers' phase began.
    HistogramCounts lateness;

    /// How long the stretches between waits were: so long, at most, a report of the kernel had to
    /// wait. Their sum is `running`.
    HistogramCounts stretches;
};

/// What the streams, datagram sockets and listeners of one reactor have done, all together; others
/// that move bytes may add theirs. They count here themselves, on the reactor's thread; any thread
/// may read.
struct Traffic {
    Counter bytes_received;
    Counter bytes_sent;
    Counter connections_opened;  ///< streams made, the accepted ones included
    Counter connections_closed;  ///< streams that have ended
    Counter connections_accepted;
    Counter accept_errors;  ///< failures of accept4(2) that were not the connection's own
};

}  // namespace epoll
