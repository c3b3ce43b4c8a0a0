"""Guards that stop sending at a time limit or after too many failures."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bulkreset.causes import NOT_REACHED, STOPS, THROTTLED
from bulkreset.clock import Clock
from bulkreset.errors import GuardTripped, TimeLimit
from bulkreset.job import GuardsConfig
from bulkreset.models import Outcome, Status
from bulkreset.send_permit import Deadline
from bulkreset.text import format_limit


@dataclass(slots=True)
class _LaneCounters:
    """Counts of finished rows, failures, and failures since the last success."""

    finished: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    in_doubt_in_a_row: int = 0
    last_code: str = ""

    def add(self, outcome: Outcome) -> None:
        failed = outcome.status.facts.failure
        self.finished += 1
        self.failures += failed
        self.failures_in_a_row = self.failures_in_a_row + 1 if failed else 0
        self.in_doubt_in_a_row = self.in_doubt_in_a_row + (outcome.status is Status.IN_DOUBT) if failed else 0
        self.last_code = outcome.code


class GuardMonitor:
    """Counts the outcomes of one execution, watches the time and detects tripped guards.

    Signs of a problem with the calls (failures in a row, a percentage of failures) are counted per lane. An absolute
    number of failures is a limit for all lanes together. Time limits end on `clock` or on the `wall` clock, whichever
    is first. So they notice a sleep of the machine, and a clock that is set back does not extend them.
    """

    def __init__(
        self,
        guards: GuardsConfig,
        clock: Clock,
        wall: Callable[[], datetime],
        is_paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self._guards = guards
        self._clock = clock
        self._is_paused = is_paused
        self._checked_at = clock.now()
        self._all = _LaneCounters()
        self._lanes: defaultdict[int, _LaneCounters] = defaultdict(_LaneCounters)
        self._limits: list[tuple[Deadline, str]] = []
        self._duration: Deadline | None = None
        if guards.max_duration is not None:
            most = format_limit(guards.max_duration)
            self._duration = self._add_limit(guards.max_duration, f"max_duration = {most}", clock, wall)
        if guards.stop_at is not None:
            left = seconds_until(guards.stop_at, wall())
            self._add_limit(left, f"stop_at = {guards.stop_at}", clock, wall)

    def _add_limit(self, seconds: float, limit: str, clock: Clock, wall: Callable[[], datetime]) -> Deadline:
        deadline = Deadline(clock, lambda: wall().timestamp())
        deadline.set(seconds)
        self._limits.append((deadline, limit))
        return deadline

    def seconds_left(self) -> float:
        """Return the seconds until a time limit; infinity without one. Any thread may call it."""
        return min([deadline.seconds_left() for deadline, _ in self._limits]) if self._limits else math.inf

    def add(self, outcomes: Sequence[Outcome], lane: int = 0) -> None:
        """Count outcomes of one lane, in the order in which they arrived."""
        for outcome in outcomes:
            if outcome.status.facts.finished:
                self._all.add(outcome)
                self._lanes[lane].add(outcome)

    def check(self) -> None:
        """Raise GuardTripped or TimeLimit if all sending must stop."""
        now = self._clock.now()
        if self._duration and not self._guards.count_pauses and self._is_paused():
            self._duration.set(self._duration.seconds_left() + now - self._checked_at)
        self._checked_at = now
        for deadline, limit in self._limits:
            if deadline.seconds_left() <= 0:
                raise TimeLimit(f"Time limit reached ({limit}).", STOPS["time_limit"].advice)
        if isinstance(self._guards.max_failures, int) and self._all.failures > self._guards.max_failures:
            raise self._too_many_failures(self._all)

    def violation(self, lane: int = 0) -> GuardTripped | None:
        """Return why one lane must stop; None if it may continue."""
        counted, in_a_row = self._lanes[lane], self._guards.max_refused_in_a_row
        if in_a_row and counted.failures_in_a_row >= in_a_row:
            return _none_succeeded(counted)
        most = self._guards.max_failures
        if not isinstance(most, str) or counted.finished < self._guards.failures_sample:
            return None
        # Decimal is exact: 69 of 375 rows are 18.4 %, not more.
        return (
            self._too_many_failures(counted)
            if counted.failures > counted.finished * Decimal(most.removesuffix("%")) / 100
            else None
        )

    def _too_many_failures(self, counted: _LaneCounters) -> GuardTripped:
        return GuardTripped(
            f"{counted.failures:,} of {counted.finished:,} rows failed. (Limit: max_failures = {self._guards.max_failures}.)",
            STOPS["max_failures"].advice,
        )


def _none_succeeded(counted: _LaneCounters) -> GuardTripped:
    """Return why a lane stops after too many failures in a row. The advice depends on the kind of failure."""
    rows = f"{counted.failures_in_a_row:,} rows in a row"
    limit = f"({counted.last_code}). (Limit: max_refused_in_a_row.)"
    if counted.in_doubt_in_a_row * 2 > counted.failures_in_a_row:
        return GuardTripped(f"{rows} had no answer {limit}", STOPS["no_answers"].advice)
    if counted.last_code in THROTTLED:
        return GuardTripped(f"{rows} were throttled {limit}", STOPS["throttled"].advice)
    if counted.last_code in NOT_REACHED:
        return GuardTripped(f"{rows} could not be sent {limit}", STOPS["not_reached"].advice)
    return GuardTripped(f"{rows} failed {limit}", STOPS["all_failed"].advice)


def seconds_until(time_of_day: str, now: datetime) -> float:
    """Return the seconds from `now` until local time next reads `time_of_day`, allowing for DST changes.

    `now` is local time without a zone; the system knows when the clock changes.
    """
    hour, minute = map(int, time_of_day.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return then.timestamp() - now.timestamp()
