"""The guards: when sending must stop although more could be sent."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from bulkreset.dispatch.clock import Clock
from bulkreset.errors import GuardTripped, TimeLimit
from bulkreset.job import Guards
from bulkreset.rows import Outcome, Status

_FAILURES = frozenset({Status.FAILED, Status.IN_DOUBT})


class Tripwires:
    """Counts what comes back in one execution, and the time; raises where a guard is tripped."""

    def __init__(self, guards: Guards, clock: Clock, wall: Callable[[], datetime]) -> None:
        self._guards = guards
        self._clock = clock
        self._settled = 0
        self._failures = 0
        self._refused_in_a_row = 0
        self._last_code = ""
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
                (clock.now() + _until(guards.stop_at, wall()), f"The run's time is over: stop_at is {guards.stop_at}.")
            )
        self._limit = min(limits, default=None)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count some outcomes, in the order in which they came back."""
        for outcome in outcomes:
            if outcome.status is Status.READY:
                continue
            self._settled += 1
            self._failures += outcome.status in _FAILURES
            self._refused_in_a_row = self._refused_in_a_row + 1 if outcome.status in _FAILURES else 0
            self._last_code = outcome.code

    def check(self) -> None:
        """Raise GuardTripped or TimeLimit where sending must stop."""
        if self._limit and self._clock.now() >= self._limit[0]:
            raise TimeLimit(self._limit[1])
        in_a_row = self._guards.max_refused_in_a_row
        if in_a_row and self._refused_in_a_row >= in_a_row:
            raise GuardTripped(
                f"The last {self._refused_in_a_row} rows all failed ({self._last_code}): it is not the rows that are wrong.",
                "Check the user pool, the endpoint and the input; max_refused_in_a_row sets how many are too many.",
            )
        self._check_failures()

    def _check_failures(self) -> None:
        most = self._guards.max_failures
        if isinstance(most, str):
            if self._settled < self._guards.failures_sample:
                return
            allowed = self._settled * Decimal(most.rstrip("%")) / 100  # exact: 69 of 375 rows are 18.4 %, not more
        elif most is not None:
            allowed = Decimal(most)
        else:
            return
        if self._failures > allowed:
            raise GuardTripped(
                f"{self._failures:,} of {self._settled:,} rows failed, and max_failures allows {most}.",
                "Look at the codes in the report, mend the cause, then resume.",
            )


def _until(time_of_day: str, now: datetime) -> float:
    """Seconds from `now` to the next time the clock on the wall shows `time_of_day`."""
    hour, minute = map(int, time_of_day.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if then <= now:
        then += timedelta(days=1)
    return (then - now).total_seconds()
