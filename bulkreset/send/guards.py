"""The guards: when sending must stop although more could be sent."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from bulkreset.errors import GuardTripped, TimeLimit
from bulkreset.job import GuardsConfig
from bulkreset.models import Outcome, Status
from bulkreset.send.clock import Clock

_FAILURES = frozenset({Status.FAILED, Status.IN_DOUBT})


@dataclass(slots=True)
class _LaneCounters:
    """What has come back: rows, failures, and failures since the last success."""

    settled: int = 0
    failures: int = 0
    failures_in_a_row: int = 0
    last_code: str = ""

    def add(self, outcome: Outcome) -> None:
        failed = outcome.status in _FAILURES
        self.settled += 1
        self.failures += failed
        self.failures_in_a_row = self.failures_in_a_row + 1 if failed else 0
        self.last_code = outcome.code


class GuardMonitor:
    """Counts what comes back in one execution, and the time; says where a guard is tripped.

    What says that something is wrong with the calls (refusals in a row, a share of failures) is counted by lane; a
    number of failures is a bound for all lanes together.
    """

    def __init__(self, guards: GuardsConfig, clock: Clock, wall: Callable[[], datetime]) -> None:
        self._guards = guards
        self._clock = clock
        self._all = _LaneCounters()
        self._lanes: defaultdict[int, _LaneCounters] = defaultdict(_LaneCounters)
        limits = []
        if guards.max_duration is not None:
            limits.append(
                (
                    clock.now() + guards.max_duration,
                    f"The run's time is over: max_duration is {guards.max_duration:g} s.",
                )
            )
        if guards.stop_at is not None:
            limits.append(
                (
                    clock.now() + _seconds_until(guards.stop_at, wall()),
                    f"The run's time is over: stop_at is {guards.stop_at}.",
                )
            )
        self._limit = min(limits, default=None)

    def add(self, outcomes: Sequence[Outcome], lane: int = 0) -> None:
        """Count some outcomes of one lane, in the order in which they came back."""
        for outcome in outcomes:
            if outcome.status is not Status.READY:
                self._all.add(outcome)
                self._lanes[lane].add(outcome)

    def check(self) -> None:
        """Raise GuardTripped or TimeLimit where all sending must stop."""
        if self._limit and self._clock.now() >= self._limit[0]:
            raise TimeLimit(self._limit[1])
        if isinstance(self._guards.max_failures, int) and self._all.failures > self._guards.max_failures:
            raise self._too_many_failures(self._all)

    def violation(self, lane: int = 0) -> GuardTripped | None:
        """Why one lane must stop; None where it may go on."""
        counted, in_a_row = self._lanes[lane], self._guards.max_refused_in_a_row
        if in_a_row and counted.failures_in_a_row >= in_a_row:
            return GuardTripped(
                f"The last {counted.failures_in_a_row} rows all failed ({counted.last_code}): it is not the rows that are wrong.",
                "Check the user pool, the endpoint and the input; max_refused_in_a_row sets how many are too many.",
            )
        most = self._guards.max_failures
        if not isinstance(most, str) or counted.settled < self._guards.failures_sample:
            return None
        # Exact: 69 of 375 rows are 18.4 %, not more.
        return (
            self._too_many_failures(counted)
            if counted.failures > counted.settled * Decimal(most.rstrip("%")) / 100
            else None
        )

    def _too_many_failures(self, counted: _LaneCounters) -> GuardTripped:
        return GuardTripped(
            f"{counted.failures:,} of {counted.settled:,} rows failed, and max_failures allows {self._guards.max_failures}.",
            "Look at the codes in the report, mend the cause, then resume.",
        )


def _seconds_until(time_of_day: str, now: datetime) -> float:
    """Seconds from `now` to the next time the clock on the wall shows `time_of_day`, which may be put forward or back till then.

    `now` is local and has no zone: the system knows when the clock changes.
    """
    hour, minute = map(int, time_of_day.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return then.timestamp() - now.timestamp()
