"""Steering: the lowest limit becomes each lane's ceiling, and every change is recorded with its reason."""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bulkreset.cancellation import LaneProgress
from bulkreset.journal.run_state import LaneFacts
from bulkreset.log import open_log
from bulkreset.models import Event, RateChange, StateChanged
from bulkreset.run.lane_run import LaneRun
from bulkreset.run.steering import LOOK_AT_LIMITS_SECONDS, Steering
from bulkreset.send.lane import LaneKey
from bulkreset.send.rate_ceiling import Limit
from tests.send.fakes import FakeClock


class FixedLimits:
    """Limits that a test sets, by lane."""

    def __init__(self) -> None:
        self.given: dict[str, list[Limit]] = {}
        self.asked: Counter[str] = Counter()

    def limits(self, lane: str, _call: str, _quota: float) -> Iterable[Limit]:
        """Return the limits."""
        self.asked[lane] += 1
        return self.given.get(lane, [])


def lane_run(number: int, ceilings: Sequence[float | None]) -> tuple[LaneRun, list[list[float | None]]]:
    """A lane of the run, with the ceilings that its calls got."""
    told: list[list[float | None]] = [[] for _ in ceilings]
    inputs = [
        SimpleNamespace(
            lane=SimpleNamespace(
                key=LaneKey(number), set_ceiling=ceilings_given.append, operation=SimpleNamespace(call=f"Call{index}")
            )
        )
        for index, ceilings_given in enumerate(told)
    ]
    plan = SimpleNamespace(account=f"{number}", region="r")
    progress = LaneProgress("", 1, ceilings[0], lambda: None)
    paces = [(30.0, ceiling) for ceiling in ceilings]
    return LaneRun(cast("Any", plan), cast("Any", inputs), paces, cast("Any", None), {}, progress), told


class SteppedSteering:
    """A steering over two lanes, one of which also signs users out."""

    def __init__(self) -> None:
        self.clock, self.source, self.out = FakeClock(), FixedLimits(), io.StringIO()
        first, self.first = lane_run(0, [24.0, 20.0])
        second, self.second = lane_run(1, [None])
        self.lanes = [first, second]
        self.facts: tuple[LaneFacts, ...] = tuple(
            LaneFacts(account=str(number), region="r", quota=30.0, ceiling=ceiling)
            for number, ceiling in enumerate([24.0, None])
        )
        self.events: list[Event] = []
        log = open_log(self.out, "id", None)
        self.it = Steering(self.lanes, [self.source], self.clock, log, lambda: self.facts, self._commit)

    def _commit(self, events: Sequence[Event]) -> None:
        self.events += events
        for event in events:
            if isinstance(event, StateChanged):
                self.facts = event.changes["lanes"]

    def look(self, **limits: Limit) -> None:
        """Set these limits for the lanes "0/r" and "1/r", and check after the interval."""
        names = {"first": "0/r", "second": "1/r"}
        self.source.given = {names[name]: [limit] for name, limit in limits.items()}
        self.clock.advance(LOOK_AT_LIMITS_SECONDS)
        self.it.check()


@pytest.fixture
def steered() -> SteppedSteering:
    return SteppedSteering()


def test_without_another_limit_nothing_changes(steered: SteppedSteering) -> None:
    steered.look()
    assert (steered.first, steered.second, steered.events) == ([[], []], [[]], [])
    assert [(lane.progress.ceiling, lane.progress.limited_by) for lane in steered.lanes] == [(24.0, ""), (None, "")]


def test_a_lower_limit_holds_for_every_call_of_its_lane(steered: SteppedSteering) -> None:
    steered.look(first=Limit(5.0, "control"))
    assert steered.first == [[5.0], [5.0]]
    assert steered.second == [[]]
    assert [lane.progress.ceiling for lane in steered.lanes] == [5.0, None]
    assert [lane.progress.limited_by for lane in steered.lanes] == ["control", ""]
    steered.look()
    assert steered.first == [[5.0, 24.0], [5.0, 20.0]]
    assert steered.lanes[0].progress.limited_by == ""


def test_a_change_is_recorded_at_once_with_its_reason(steered: SteppedSteering) -> None:
    steered.look(second=Limit(5.0, "timetable"))
    (rate,) = [event for event in steered.events if isinstance(event, RateChange)]
    assert (rate.account, rate.rate, rate.reason) == ("1", 5.0, "ceiling: timetable")
    assert [(fact.limit, fact.limited_by) for fact in steered.facts] == [(None, ""), (5.0, "timetable")]
    assert '"ceiling_changed"' in steered.out.getvalue()
    assert '"timetable"' in steered.out.getvalue()
    before = len(steered.events)
    steered.look(second=Limit(5.0, "timetable"))
    assert len(steered.events) == before


def test_another_reason_of_the_same_rate_is_a_change_too(steered: SteppedSteering) -> None:
    steered.look(first=Limit(5.0, "timetable"))
    steered.look(first=Limit(5.0, "control"))
    assert steered.facts[0].limited_by == "control"
    assert steered.first == [[5.0], [5.0]]  # no repetition for the lane


def test_a_limit_above_the_job_changes_nothing(steered: SteppedSteering) -> None:
    steered.look(first=Limit(22.0, "control"))
    assert steered.first == [[22.0], []]  # of the sign-outs, whose own ceiling is 20


def test_it_looks_only_as_often_as_it_says(steered: SteppedSteering) -> None:
    steered.look()
    asked = dict(steered.source.asked)
    steered.it.check()
    assert dict(steered.source.asked) == asked


def test_it_is_paused_only_if_no_lane_may_send(steered: SteppedSteering) -> None:
    steered.look(first=Limit(0.0, "paused"))
    assert not steered.it.is_paused()
    steered.look(first=Limit(0.0, "paused"), second=Limit(0.0, "paused"))
    assert steered.it.is_paused()
