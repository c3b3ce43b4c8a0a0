"""The check of a worker's report before it is used: a report that cannot be true is refused as a whole."""

import math
from collections.abc import Mapping, Sequence

from bulkreset.cluster.placement import TRANSITIONS, GroupEvent, GroupState
from bulkreset.cluster.protocol import MAX_TEXT, InvalidMessage, LaneAddress, RowReport, WorkerReport
from bulkreset.cluster.remote_lane import LaneGroup, RemoteLane, WorkerSession
from bulkreset.cognito.response import FATAL_SET
from bulkreset.job.pace import FASTEST, SLOWEST
from bulkreset.models import Outcome, StepOutcome
from bulkreset.send.operations import OperationResult
from bulkreset.send.pacer import PacerState
from bulkreset.statuses import WORKER_RESULTS

_ROUNDING = 1 + 1e-6
_LONGEST = 2 / SLOWEST  # seconds between two slots, plus the same again for a slot that is in use


def check_report(report: WorkerReport, post: WorkerSession, groups: Mapping[int, LaneGroup]) -> None:
    """Raise InvalidMessage if the worker cannot report this now."""
    _Check(post, groups).check(report)


class _Check:
    def __init__(self, post: WorkerSession, groups: Mapping[int, LaneGroup]) -> None:
        self._post = post
        self._groups = groups

    def check(self, report: WorkerReport) -> None:
        _ensure(math.isfinite(report.unix), "an invalid time")
        for row in report.results:
            self._check_row(row)
        for address, state in report.states:
            _check_state(self._lane(address), state)
        for address, rate, _ in report.changes:
            _check_rate(self._lane(address), rate)
        self._check_events(GroupEvent.OPENED, [number for number, _ in report.opened])
        self._check_events(GroupEvent.REFUSED, [failed.group for failed in report.failed])
        self._check_events(GroupEvent.EMPTIED, report.halted)
        self._check_events(GroupEvent.CLOSED, [number for number, _ in report.retired])
        for number, states in report.retired:
            lanes = self._groups[number].lanes
            _ensure(len(states) == len(lanes), "the states of other lanes")
            for lane, state in zip(lanes, states, strict=True):
                _check_state(lane, state)

    def _check_events(self, event: GroupEvent, numbers: Sequence[int]) -> None:
        _ensure(len(set(numbers)) == len(numbers), f"{event} twice")
        for number in numbers:
            _ensure((self._group(number).state, event) in TRANSITIONS, f"{event} at the wrong time")

    def _group(self, number: int) -> LaneGroup:
        """Return a group that this worker has. A halted one may be closed already, and goes to no other worker."""
        group = self._groups.get(number)
        if group is None or (group.worker is not self._post and group.state is not GroupState.HALTED):
            raise InvalidMessage("lanes that it does not have")
        return group

    def _lane(self, address: LaneAddress) -> RemoteLane[object]:
        number, index = address
        lanes = self._group(number).lanes
        _ensure(index < len(lanes), "a lane that does not exist")
        return lanes[index]

    def _check_row(self, row: RowReport) -> None:
        lane, outcome = self._lane(row.lane), row.outcome
        step = outcome.step if isinstance(outcome, StepOutcome) else ""
        _ensure(step == (lane.operation.step.name if lane.operation.step else ""), "a result of another call")
        _ensure(not isinstance(outcome, Outcome) or _is_outcome(outcome), "a result that no row can have")
        calls = lane.operation.step.most_calls if lane.operation.step else 1
        _ensure(0 <= outcome.attempts <= lane.pace.max_attempts * calls, "a wrong number of attempts")
        _ensure(0 <= outcome.throttled <= outcome.attempts, "a wrong number of throttled attempts")
        _ensure(row.fatal is None or row.fatal.disposition in FATAL_SET, "an answer that is not fatal")
        fatal = (row.fatal.code, row.fatal.message, row.fatal.request_id) if row.fatal else ()
        _ensure(all(len(text) <= MAX_TEXT for text in (*_texts(outcome), *fatal)), "a long text")


def _ensure(holds: object, what: str) -> None:
    if not holds:
        raise InvalidMessage(what)


def _texts(outcome: OperationResult) -> tuple[str, ...]:
    request_id = outcome.request_id if isinstance(outcome, Outcome) else ""
    return outcome.code, outcome.message, request_id


def _is_outcome(outcome: Outcome) -> bool:
    times = (outcome.latency_ms, outcome.started_at, outcome.finished_at)
    return outcome.status in WORKER_RESULTS and all(time is None or 0 <= time < 2**53 for time in times)


def _is_time(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds >= 0


def _check_rate(lane: RemoteLane[object], rate: float | None) -> None:
    """Refuse a rate above the job's ceiling: it would claim more rows than the worker can send.

    A report may be older than the lane's present ceiling.
    """
    ceiling = lane.highest
    has_none = rate is None
    _ensure(has_none == (ceiling is None) or (lane.is_steered and not has_none), "a rate of another lane")
    if rate is not None:
        fits = (rate >= 0 if lane.is_steered else rate > 0) and rate <= (ceiling or FASTEST) * _ROUNDING
        _ensure(fits, "a rate that the lane cannot have")


def _check_state(lane: RemoteLane[object], state: PacerState) -> None:
    _check_rate(lane, state.rate)
    _ensure(0 <= state.next_in <= _LONGEST, "a slot that the lane cannot have")
    _ensure(state.w_max is None or (_is_time(state.w_max) and state.w_max > 0), "a rate that the lane cannot have")
    _ensure(_is_time(state.backoff) and 0 < state.backoff < 1, "a factor that the lane cannot have")
    _ensure(state.cut_ago >= 0, "a cut in the future")
    _ensure(all(_is_time(ago) for ago in state.accepted), "a call in the future")
