"""The timetable of a job: the limit in force at a given time, and how long rows take with it. Pure functions.

Times of day are local times. If the clock skips the begin of an entry, the entry begins at the skip. If the clock shows
it twice, the entry begins the first time, and stays in force. Points in time are Unix seconds.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from bulkreset.job.pace import PaceConfig, TimetableEntry
from bulkreset.send.rate_ceiling import Limit

TIMETABLE: Final = "timetable"
_DAY: Final = timedelta(days=1)
_MOST_DAYS: Final = 3653  # longest duration that is computed


@dataclass(frozen=True, slots=True)
class Timetable:
    """The entries of a timetable, and the zone of their times of day; without one, this machine's."""

    entries: Sequence[TimetableEntry]
    zone: ZoneInfo | None = None

    def at(self, moment: float) -> tuple[float | None, float]:
        """Return the current limit in calls per second, None if there is none, and when the next entry begins."""
        _, until, rate = next(self.pieces(moment))
        return rate, until

    def pieces(self, start: float) -> Iterator[tuple[float, float, float | None]]:
        """Yield (begin, end, limit) of the time from `start`, one for each entry.

        The last one has no end. Without entries it is the only one; otherwise it comes after _MOST_DAYS.
        """
        begin, limit = start, None
        for moment, entry in self._begins(start):
            if moment > begin:
                yield begin, moment, limit
                begin = moment
            limit = None if entry.rate == "auto" else entry.rate
        yield begin, math.inf, limit

    def _begins(self, start: float) -> Iterator[tuple[float, TimetableEntry]]:
        """Yield when entries begin, in order, from two days before `start`: the entry in force then is included."""
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
        self._known = (math.inf, -math.inf)  # from, until
        self._rate: float | None = None

    def limits(self, _lane: str, _call: str, _quota: float) -> Iterable[Limit]:
        """Return the current limit. The clock may have been set back."""
        now = self._now()
        if not self._known[0] <= now < self._known[1]:
            self._rate, until = self._timetable.at(now)
            self._known = now, until
        return () if self._rate is None else (Limit(self._rate, TIMETABLE),)


def seconds_to_send(rows: float, ceiling: float, timetable: Timetable, start: float) -> float | None:
    """Return the seconds that `rows` calls take from `start`, limited by `ceiling` and the timetable.

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
    """Return the first time of a day at which the clock shows this time of day or, if it skips it, a later one."""
    hour, minute = map(int, time_of_day.split(":"))
    shown = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001  (the zone, or this machine's, follows)
    first = shown.replace(tzinfo=zone, fold=0).timestamp()
    second = shown.replace(tzinfo=zone, fold=1).timestamp()
    if second >= first:  # the clock shows it once, or twice: the first time is earlier
        return first
    # The clock skips it: it jumps from a time before it to a time after it.
    low, high = int(second), int(first)
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).replace(tzinfo=None, fold=0) < shown:
            low = middle
        else:
            high = middle
    return float(high)
