"""The course: how a run went over time, and how long its calls took, in buckets whose number does not grow with the run."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count, takewhile
from typing import Any

from bulkreset.journal.journal import Journal

BUCKETS = 90  # of time, at most
BARS = 20  # of latency, about: up to the slowest hundredth, which shares the last one
_WIDTHS = (
    200,
    500,
    *(1000 * it for it in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200)),
)
_DAY = 86_400_000
_SHARES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class TimeBucket:
    """One bucket of time: when it began (Unix ms), rows settled and calls throttled per second, the calls per second that were allowed.

    `allowed` is None where a lane is not paced.
    """

    at_ms: int
    settled: float
    throttled: float
    allowed: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run over time; buckets are `width` ms wide. `ceiling` is that of all lanes together, None where one has none."""

    width: int
    buckets: tuple[TimeBucket, ...]
    ceiling: float | None


@dataclass(frozen=True, slots=True)
class LatencyBar:
    """Latencies from `least` ms up to, but not with, `below` ms (None: without end), and how many rows' they were."""

    least: int
    below: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class LatencyHistogram:
    """How long the rows' last calls took, in ms; `shares` has the time within which so many of a hundred were answered."""

    rows: int
    shares: Mapping[int, int]
    longest: int
    bars: tuple[LatencyBar, ...]


def build_timeline(journal: Journal, lanes: Sequence[Mapping[str, Any]]) -> Timeline | None:
    """How the run went; None where nothing was sent. `lanes` are the journal's."""
    span = journal.send_span()
    if span is None:
        return None
    first, last = span
    width = bucket_width(last - first)
    begin = first // width * width
    found = {bucket: (rows, throttled) for bucket, rows, throttled in journal.settled_over_time(begin, width)}
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
    """A width of buckets, in ms, of which a span has no more than BUCKETS and one."""
    days = (_DAY << power for power in count())
    return next(
        width for width in (*_WIDTHS, *takewhile(lambda it: it <= span, days), 2 * span) if span < width * BUCKETS
    )


def _ceiling(lanes: Sequence[Mapping[str, Any]]) -> float | None:
    ceilings = [lane.get("ceiling") for lane in lanes]
    return sum(it for it in ceilings if it) if ceilings and None not in ceilings else None


def _allowed(
    journal: Journal, lanes: Sequence[Mapping[str, Any]], first: int, width: int, number: int
) -> list[float] | None:
    """The rate of all lanes together in each bucket: a lane has its ceiling until its first change, and keeps its last rate."""
    if _ceiling(lanes) is None:
        return None
    changes: dict[tuple[str, str], dict[int, tuple[float, float]]] = {}
    for account, region, bucket, mean, last in journal.rates_over_time(first, width):
        changes.setdefault((account, region), {})[bucket] = (mean, last)
    total = [0.0] * number
    for lane in lanes:
        of_lane = _carry_forward(changes.get((lane["account"], lane["region"]), {}), lane["ceiling"], number)
        total = [sum(both) for both in zip(total, of_lane, strict=True)]
    return total


def _carry_forward(changes: Mapping[int, tuple[float, float]], ceiling: float, number: int) -> Iterator[float]:
    rate = ceiling
    for bucket in range(number):
        mean, rate = changes.get(bucket, (rate, rate))
        yield mean


def build_latency_histogram(journal: Journal) -> LatencyHistogram | None:
    """How long the calls took; None where none was answered."""
    found = journal.latencies()
    if not found:
        return None
    upto = list(accumulate(rows for _, rows in found))
    shares = {share: found[bisect_left(upto, upto[-1] * share / 100)][0] for share in _SHARES}
    longest = max(found[-1][0], *(row.latency_ms or 0 for row in journal.slowest_rows(1)))
    return LatencyHistogram(upto[-1], shares, longest, tuple(_bars(found, shares[99])))


def _bars(found: Sequence[tuple[int, int]], most: int) -> Iterator[LatencyBar]:
    """Bars of one width from the quickest to `most`, and one for what is beyond."""
    width = round_up((most - found[0][0] + 1) / BARS)
    begin = found[0][0] // width * width
    number = (most - begin) // width + 1
    rows = [0] * (number + 1)
    for latency, of_them in found:
        rows[min((latency - begin) // width, number)] += of_them
    for place in range(number):
        yield LatencyBar(begin + place * width, begin + (place + 1) * width, rows[place])
    if rows[number]:
        yield LatencyBar(begin + number * width, None, rows[number])


def round_up(least: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, … that is not less."""
    return next(
        step * tens for tens in (int(10**power) for power in count()) for step in (1, 2, 5) if step * tens >= least
    )
