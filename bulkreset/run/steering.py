"""Sets the ceilings of the lanes while a run sends, and records each change with its reason."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from bulkreset.clock import Clock, now_ms
from bulkreset.journal.run_state import LaneFacts
from bulkreset.log import Log
from bulkreset.models import Event, RateChange, StateChanged
from bulkreset.run.lane_run import LaneRun
from bulkreset.send.rate_ceiling import JOB, Limit, lowest

LOOK_AT_LIMITS_SECONDS: Final = 0.5  # seconds between two checks of the limits


class LimitSource(Protocol):
    """A source of limits on lanes, besides the job's own ceiling."""

    def limits(self, lane: str, call: str, quota: float) -> Iterable[Limit]:
        """Return the current limits on one kind of call.

        `lane` is its "ACCOUNT/REGION". `call` is the kind of call, and `quota` its calls per second.
        """


@dataclass
class Steering:
    """Checks all limits every LOOK_AT_LIMITS_SECONDS, on the coordinator's thread, and sets changed ceilings.

    `facts` returns the lanes as the journal has them, in the order of `lanes`. `commit` commits events at once, because
    a paused lane has no results to commit them with. `orders` returns the events of new orders.
    """

    _lanes: Sequence[LaneRun]
    _sources: Sequence[LimitSource]
    _clock: Clock
    _log: Log
    _facts: Callable[[], Sequence[LaneFacts]]
    _commit: Callable[[Sequence[Event]], None]
    _orders: Callable[[], Sequence[Event]] = tuple

    def __post_init__(self) -> None:
        self._looked_at = float("-inf")
        self._limits: dict[tuple[int, int], Limit] = {
            (lane.number, index): Limit(ceiling, JOB)
            for lane in self._lanes
            for index, (_, ceiling) in enumerate(lane.paces)
        }

    def check(self) -> None:
        """Set the ceilings that have changed since the last check. Raises RecordError."""
        if self._clock.now() < self._looked_at + LOOK_AT_LIMITS_SECONDS:
            return
        self._looked_at = self._clock.now()
        changed = [lane for lane in self._lanes if self._steer(lane)]
        events = [*self._orders(), *(self._events(changed) if changed else ())]
        if events:
            self._commit(events)

    def is_paused(self) -> bool:
        """Return whether no lane may send anything."""
        return all(limit.rate == 0 for limit in self._limits.values())

    def _steer(self, lane: LaneRun) -> bool:
        """Set the ceilings of one lane; return whether the limit on its passwords has changed."""
        password_changed = False
        for index, (quota, ceiling) in enumerate(lane.paces):
            call = lane.inputs[index].lane.operation.call
            others = (limit for source in self._sources for limit in source.limits(lane.name, call, quota))
            limit = lowest([Limit(ceiling, JOB), *others])
            before = self._limits[lane.number, index]
            if limit == before:
                continue
            self._limits[lane.number, index] = limit
            if limit.rate != before.rate:
                lane.inputs[index].lane.set_ceiling(limit.rate)
            at = {"account": lane.plan.account, "region": lane.plan.region}
            self._log.info(
                "ceiling_changed", **at, call=call, ceiling=limit.rate and round(limit.rate, 3), reason=limit.reason
            )
            if index == 0:
                password_changed = True
                lane.progress.ceiling, lane.progress.limited_by = limit.rate, limited_by(limit)
        return password_changed

    def _events(self, changed: Sequence[LaneRun]) -> list[Event]:
        now = now_ms()
        limits: Mapping[int, Limit] = {lane.number: self._limits[lane.number, 0] for lane in changed}
        lanes = tuple(
            fact.model_copy(update={"limit": limits[number].rate, "limited_by": limited_by(limits[number])})
            if number in limits
            else fact
            for number, fact in enumerate(self._facts())
        )
        rates = [
            RateChange(now, lane.plan.account, lane.plan.region, round(limit.rate, 2), f"ceiling: {limit.reason}")
            for lane in changed
            if (limit := limits[lane.number]).rate is not None
        ]
        return [StateChanged({"lanes": lanes}), *rates]


def limited_by(limit: Limit) -> str:
    """Return the reason of a limit, "" if it is the job's own ceiling."""
    return "" if limit.reason == JOB else limit.reason
