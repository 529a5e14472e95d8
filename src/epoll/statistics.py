"""What a loop has done: loop.statistics()."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import _loop

__all__ = ["Durations", "LoopStatistics"]

_FIRST_BOUND_NS = 1024


@dataclass(frozen=True, slots=True)
class Durations:
    """How many durations there were of which length.

    The buckets are the same in every loop and every version: up to 1,024 ns, from there to
    2,048 ns, and so on in powers of two up to 17.2 s; the last one has all that was longer.
    """

    counts: tuple[int, ...]
    """How many durations fell into each bucket."""

    total_ns: int
    """The sum of all durations, in nanoseconds."""

    @property
    def count(self) -> int:
        """How many durations there were."""
        return sum(self.counts)

    @property
    def bounds_ns(self) -> tuple[int, ...]:
        """The longest duration of each bucket but the last, which has no bound; nanoseconds."""
        return tuple(_FIRST_BOUND_NS << place for place in range(len(self.counts) - 1))

    def quantile_ns(self, fraction: float) -> float:
        """Return a bound in nanoseconds below which this fraction (0 to 1) of the durations lies.

        It is exact to a factor of two: the bound of the bucket in which the fraction is reached;
        infinity for the last one, and 0 when there were no durations.

            loop.statistics().timer_lag.quantile_ns(0.99)
        """
        if not 0 <= fraction <= 1:
            raise ValueError(f"a fraction is between 0 and 1, not {fraction}")
        needed = fraction * self.count
        for bound, reached in zip(self.bounds_ns, self._cumulative(), strict=False):
            if reached >= needed:
                return bound if reached else 0.0
        return float("inf")

    def _cumulative(self) -> Iterator[int]:
        return itertools.accumulate(self.counts)


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """What a loop has done since it was made; it does not change any more.

    All are counts since then, except `ready`, `most_ready`, `descriptors_watched` and
    `connections_open`. The numbers are read one after the other: asked from another thread while
    the loop runs, each is exact, but they need not belong to the same moment. Times are brought up
    to date when the loop asks the kernel, so they lack the callback that runs right now.

    Connections are the native stream transports: TCP and Unix sockets, and what is below TLS.
    """

    turns: int
    """Rounds of the loop."""

    waits: int
    """Times that the kernel was asked for events (epoll_pwait2), without blocking or with it."""

    events: int
    """What the kernel has reported; the loop's own wake-ups are among them."""

    epoll_ctl_calls: int
    """System calls that changed what the kernel watches."""

    timers_fired: int
    """Timers that have come due and were not cancelled."""

    callbacks_run: int
    """All that the loop has called: scheduled callbacks, timers, and for each event who waited."""

    waiting_ns: int
    """Time in waits that may block, in nanoseconds."""

    running_ns: int
    """Time in run_forever() and its like outside of those waits, in nanoseconds."""

    ready: int
    """Scheduled callbacks that the last turn had to run."""

    most_ready: int
    """The most that any turn had to run."""

    descriptors_watched: int
    """Descriptors that the loop watches now, with its self-pipe."""

    connections_closed: int
    """Connections that have ended."""

    connections_opened: int
    """Connections that were made, by either side."""

    connections_accepted: int
    """Connections that servers have accepted."""

    accept_errors: int
    """Times that a server could not accept, as for lack of descriptors."""

    bytes_received: int
    """Bytes that transports have read: of connections, datagrams and pipes."""

    bytes_sent: int
    """Bytes that transports have handed to the kernel; those of sendfile() pass by."""

    timer_lag: Durations
    """How late timers were: from their moment to the one at which a turn came to its timers."""

    run_time: Durations
    """How long the loop ran between two waits: so long, at most, was it deaf to the kernel."""

    @property
    def connections_open(self) -> int:
        """Connections that have not ended yet."""
        return self.connections_opened - self.connections_closed


def statistics_of(loop: _loop.Loop) -> LoopStatistics:
    """Read the counters of a loop."""
    fields = loop._statistics()
    for name in ("timer_lag", "run_time"):
        fields[name] = Durations(*fields[name])
    return LoopStatistics(**fields)
