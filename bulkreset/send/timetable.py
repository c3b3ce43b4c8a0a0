"""The timetable of a job: which limit is in force at a moment, and how long rows take with it. Pure functions.

Times of day are those of a clock on the wall. If a clock is put forward over the begin of an entry, the entry begins at
that moment; if a clock shows it twice, the entry begins the first time, and stays. Moments are Unix seconds.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from bulkreset.job.pace import PaceConfig, TimetableEntry
from bulkreset.send.ceiling import Limit

TIMETABLE: Final = "timetable"
_DAY: Final = timedelta(days=1)
_MOST_DAYS: Final = 3653  # of a duration that is computed


@dataclass(frozen=True, slots=True)
class Timetable:
    """The entries of a timetable, and the zone of their times of day; without one, this machine's."""

    entries: Sequence[TimetableEntry]
    zone: ZoneInfo | None = None

    def at(self, moment: float) -> tuple[float | None, float]:
        """Return the limit in force in calls per second, None if there is none, and when the next entry begins."""
        _, until, rate = next(self.pieces(moment))
        return rate, until

    def pieces(self, start: float) -> Iterator[tuple[float, float, float | None]]:
        """Yield (begin, end, limit) of the time from `start`, one for each entry in force.

        The last one has no end. It is the only one without entries, and else comes after _MOST_DAYS.
        """
        begin, limit = start, None
        for moment, entry in self._begins(start):
            if moment > begin:
                yield begin, moment, limit
                begin = moment
            limit = None if entry.rate == "auto" else entry.rate
        yield begin, float("inf"), limit

    def _begins(self, start: float) -> Iterator[tuple[float, TimetableEntry]]:
        """Yield when entries begin, in order, from two days before `start`: the one in force then is among them."""
        entries = sorted(self.entries, key=lambda entry: entry.begin)
        first = datetime.fromtimestamp(start, self.zone).date() - 2 * _DAY
        for number in range(_MOST_DAYS if entries else 0):
            for entry in entries:
                yield _begin(first + number * _DAY, entry.begin, self.zone), entry


def timetable_of(pace: PaceConfig) -> Timetable:
    """Return the job's timetable."""
    return Timetable(pace.timetable, ZoneInfo(pace.timezone) if pace.timezone else None)


class TimetableLimit:
    """A timetable as a source of limits. `now` returns the Unix time."""

    def __init__(self, timetable: Timetable, now: Callable[[], float]) -> None:
        self._timetable = timetable
        self._now = now
        self._known = (float("inf"), float("-inf"))  # from, until
        self._rate: float | None = None

    def limits(self, _lane: str, _call: str, _quota: float) -> Iterable[Limit]:
        """Return the limit that is in force now. The clock may have been set back."""
        now = self._now()
        if not self._known[0] <= now < self._known[1]:
            self._rate, until = self._timetable.at(now)
            self._known = now, until
        return () if self._rate is None else (Limit(self._rate, TIMETABLE),)


def seconds_to_send(rows: float, ceiling: float, timetable: Timetable, start: float) -> float | None:
    """Return the seconds that `rows` calls take from `start`, at most at `ceiling` and at the timetable's limit.

    Returns None if they take more than _MOST_DAYS.
    """
    left = float(rows)
    for begin, end, limit in timetable.pieces(start):
        rate = ceiling if limit is None else min(ceiling, limit)
        if left <= 0:
            return begin - start
        if rate and left <= rate * (end - begin):
            return begin - start + left / rate
        left -= rate * (end - begin) if rate else 0.0
    return None


def rows_until(end: float, ceiling: float, timetable: Timetable, start: float) -> float:
    """Return how many calls may leave from `start` to `end`."""
    sent = 0.0
    for begin, until, limit in timetable.pieces(start):
        if begin >= end:
            break
        sent += (ceiling if limit is None else min(ceiling, limit)) * (min(until, end) - begin)
    return sent


def _begin(day: date, time_of_day: str, zone: ZoneInfo | None) -> float:
    """Return the first moment of a day at which the clock shows this time or, if it skips it, a later one."""
    hour, minute = map(int, time_of_day.split(":"))
    shown = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001  (the zone, or this machine's, follows)
    first = shown.replace(tzinfo=zone, fold=0).timestamp()
    second = shown.replace(tzinfo=zone, fold=1).timestamp()
    if second >= first:  # the clock shows it once, or twice: the first time is earlier
        return first
    # The clock skips it: it jumps between the two moments, from a time before this one to a time after it.
    low, high = int(second), int(first)
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).replace(tzinfo=None, fold=0) < shown:
            low = middle
        else:
            high = middle
    return float(high)
