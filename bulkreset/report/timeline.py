"""A run's rate over time and its latencies, in buckets. Their number does not grow with the run."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, pairwise, takewhile

from bulkreset.clock import DAY_MS
from bulkreset.journal.journal import Journal
from bulkreset.journal.run_state import LaneFacts

BUCKETS = 90  # time buckets: at most this many, plus one
BARS = 40  # the most latency bars: two decades in 20 steps each, four decades in 10
_WIDTHS = (
    200,
    500,
    *(1000 * it for it in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200)),
)
# Steps of a decade, in hundredths: the preferred numbers of ISO 3 (series R20, R10 and R5), then 1, 2, 5.
_R20 = (100, 112, 125, 140, 160, 180, 200, 224, 250, 280, 315, 355, 400, 450, 500, 560, 630, 710, 800, 900)
_DECADES = (_R20, _R20[::2], _R20[::4], (100, 200, 500))
_SHARES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class TimeBucket:
    """One bucket of time, which starts at `at_ms` (Unix ms).

    `finished` is rows per second; `throttled` and `allowed` are calls per second. `allowed` is None if a lane is
    not paced.
    """

    at_ms: int
    finished: float
    throttled: float
    allowed: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run over time. Buckets are `width` ms wide. `ceiling` is the sum of all lanes, None if a lane has none."""

    width: int
    buckets: tuple[TimeBucket, ...]
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class LatencyBar:
    """The number of rows with a latency from `least` ms to less than `below` ms."""

    least: int
    below: int
    rows: int


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """Latencies of the rows' last calls, in ms. `shares` maps a percentile (50, 90, 99) to its latency."""

    rows: int
    shares: Mapping[int, int]
    longest: int
    bars: tuple[LatencyBar, ...]


def build_timeline(journal: Journal) -> Timeline | None:
    """Return the run over time, None if nothing was sent."""
    lanes = journal.state.lanes
    span = journal.read.send_span()
    if span is None:
        return None
    first, last = span
    width = bucket_width(last - first)
    begin = first // width * width
    found = {bucket: (rows, throttled) for bucket, rows, throttled in journal.read.finished_over_time(begin, width)}
    number = (last - begin) // width + 1
    allowed = _allowed(journal, lanes, begin, width, number)
    seconds = width / 1000
    steps = (
        TimeBucket(begin + place * width, rows / seconds, throttled / seconds, allowed[place] if allowed else None)
        for place in range(number)
        for rows, throttled in [found.get(place, (0, 0))]
    )
    return Timeline(width, tuple(steps), _ceiling(lanes))


def bucket_width(span: int) -> int:
    """Return the bucket width in ms that divides `span` (ms) into at most BUCKETS + 1 buckets."""
    days = (DAY_MS << power for power in count())
    return next(
        width for width in (*_WIDTHS, *takewhile(lambda it: it <= span, days), 2 * span) if span < width * BUCKETS
    )


def _ceiling(lanes: Sequence[LaneFacts]) -> float | None:
    ceilings = [lane.ceiling for lane in lanes]
    return sum(it for it in ceilings if it) if ceilings and None not in ceilings else None


def _allowed(journal: Journal, lanes: Sequence[LaneFacts], first: int, width: int, number: int) -> list[float] | None:
    """Return the allowed calls per second of all lanes in each bucket. None if a lane is not paced.

    A lane has its ceiling until its first rate change, then its last rate.
    """
    if _ceiling(lanes) is None:
        return None
    changes: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    for account, region, bucket, mean, last in journal.read.rates_over_time(first, width):
        changes.setdefault((account, region), {})[bucket] = (mean, last)
    total = [0.0] * number
    for lane in lanes:
        of_lane = _carry_forward(changes.get((lane.account, lane.region), {}), lane.ceiling or 0.0, number)
        total = [sum(both) for both in zip(total, of_lane, strict=True)]
    return total


def _carry_forward(changes: Mapping[int, tuple[float, float]], ceiling: float, number: int) -> Iterator[float]:
    rate = ceiling
    for bucket in range(number):
        mean, rate = changes.get(bucket, (rate, rate))
        yield mean


def build_latency_histogram(journal: Journal) -> LatencyHistogram | None:
    """Return the latency histogram, None if no call was answered."""
    found = journal.read.latencies()
    if not found:
        return None
    upto = list(accumulate(rows for _, rows in found))
    shares = {share: found[bisect_left(upto, upto[-1] * share / 100)][0] for share in _SHARES}
    longest = max(found[-1][0], *(row.latency_ms or 0 for row in journal.read.slowest_rows(1)))
    return LatencyHistogram(upto[-1], shares, longest, tuple(_bars(found)))


def _bars(found: Sequence[tuple[int, int]]) -> Iterator[LatencyBar]:
    """Yield bars on a logarithmic scale, so that a long tail and the many fast calls are seen in one chart."""
    for least, below in pairwise(_bar_edges(found[0][0], found[-1][0])):
        yield LatencyBar(least, below, sum(rows for latency, rows in found if least <= latency < below))


def _bar_edges(lowest: int, highest: int) -> list[int]:
    """Return the edges of at most BARS bars, in whole ms.

    Below 10 ms a bar is one ms or more; the first may begin at 0.
    """
    edges: list[int] = []
    for decade in _DECADES:
        powers = range(len(str(highest)) + 1)
        every = sorted({0, *(step * 10**power // 100 for power in powers for step in decade)})
        edges = every[bisect_right(every, lowest) - 1 : bisect_right(every, highest) + 1]
        if len(edges) <= BARS + 1:
            break
    return edges


def round_up(least: float) -> int:
    """Return the lowest of 1, 2, 5, 10, 20, 50, … that is at least `least`."""
    return next(
        step * tens for tens in (int(10**power) for power in count()) for step in (1, 2, 5) if step * tens >= least
    )
