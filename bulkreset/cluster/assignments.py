"""Assignment of lane groups to workers: carries out what each transition of placement.py means for orders and rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bulkreset.clock import Clock, now_ms
from bulkreset.cluster.balance import assign
from bulkreset.cluster.dask_cluster import SKEW_SECONDS
from bulkreset.cluster.placement import GroupEvent, GroupState
from bulkreset.cluster.protocol import (
    CloseLanes,
    HaltLanes,
    LaneOrder,
    OpenFailed,
    OpenLanes,
    RowReport,
    SendRows,
    SetCeiling,
    WorkerReport,
)
from bulkreset.cluster.remote_lane import LaneGroup, RemoteLane, SessionState, WorkerSession
from bulkreset.cluster.worker_report_check import check_report
from bulkreset.cognito.transport import TransportKind
from bulkreset.errors import ServiceError, Stopped
from bulkreset.models import Row
from bulkreset.send.lane import Result, Results, WorkerCrashed, max_rate_of
from bulkreset.send.operations import AttemptState, LaneFailed
from bulkreset.send.pacer import PacerState

EventListener = Callable[..., None]


class LaneAssignments:
    """Which worker has each lane group. Only the cluster thread may use it.

    `posts` are the current worker sessions, by worker address. `event` is called when a worker joins, is lost or is
    rejected.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.posts: dict[str, WorkerSession] = {}
        self.event: EventListener = lambda _event, **_fields: None
        self._groups: dict[int, LaneGroup] = {}
        self._results: Results | None = None

    def __bool__(self) -> bool:
        """Return whether there are any lane groups."""
        return bool(self._groups)

    def add(self, groups: Sequence[LaneGroup], results: Results, on_event: EventListener) -> None:
        """Assign the lane groups to workers. Row results go to `results`, events to `on_event`."""
        self._results, self.event = results, on_event
        self._groups = {group.key.number: group for group in groups}
        for group in groups:
            for lane in group.lanes:
                lane.group = group
        for post in self.posts.values():
            self.event("worker_joined", worker=post.worker)
        self.rebalance()

    def crash(self, error: BaseException) -> bool:
        """Pass `error` to the coordinator, which raises it. Returns False if no lane has been added yet."""
        lane = next((lane for group in self._groups.values() for lane in group.lanes), None)
        if lane:
            self._settle(lane, WorkerCrashed(error))
        return lane is not None

    def has_rows(self, post: WorkerSession) -> bool:
        """Return whether the worker has unfinished rows of this run."""
        return any(group.has_rows() for group in self._assigned(post))

    def put(self, lane: RemoteLane[Any], rows: Sequence[Any]) -> None:
        """Queue rows for a lane. If its lane group is halted, return them as not sent."""
        lane.waiting.extend(rows)
        group = self._groups[lane.key.number]
        if group.state is GroupState.HALTED:
            self._return_unsent(lane, group.stopped)
        else:
            self._dispatch(group)

    def halt(self, number: int) -> None:
        """Stop starting attempts in a lane group; return its waiting rows as not sent."""
        group = self._groups.get(number)
        if group is None or group.state is GroupState.HALTED:
            return
        self._halt(group)
        if group.worker:
            group.worker.order(HaltLanes(number))

    def set_ceiling(self, lane: RemoteLane[Any]) -> None:
        """Send the lane's worker its ceiling. A worker that is still opening the lane gets it when the lane is open."""
        group = self._groups[lane.key.number]
        if group.worker and group.state in {GroupState.OPEN, GroupState.MOVING}:
            group.worker.order(SetCeiling((group.key.number, group.lanes.index(lane)), lane.pacer.ceiling))

    def _halt(self, group: LaneGroup) -> None:
        group.apply(GroupEvent.HALT)
        for lane in group.lanes:
            self._return_unsent(lane, group.stopped)

    def _return_unsent(self, lane: RemoteLane[Any], fatal: Stopped | None = None) -> None:
        """Settle the waiting rows as not sent. `fatal` is the error if it stopped the lane group."""
        while lane.waiting:
            what = lane.waiting.popleft()
            outcome = lane.operation.settle(what, lane.operation.begin(what), lane.pace.max_attempts)
            self._settle(lane, LaneFailed(outcome, fatal) if fatal else outcome)

    def _settle(self, lane: RemoteLane[Any], result: Result) -> None:
        if self._results:
            self._results.put((lane, result))

    def _assigned(self, post: WorkerSession) -> list[LaneGroup]:
        return [group for group in self._groups.values() if group.worker is post]

    def apply_report(self, post: WorkerSession, report: WorkerReport) -> None:
        """Apply a report of a worker agent. If the report cannot be true, raise InvalidMessage and apply nothing."""
        check_report(report, post, self._groups)
        for row in report.results:
            self._apply_result(row)
        self._apply_pace(report)
        for failed in report.failed:
            self._on_refused(post, failed)
        for number, kind in report.opened:
            self._on_opened(self._groups[number], kind)
        for number, states in report.retired:
            self._on_closed(self._groups[number], states)
        for number in report.halted:
            self._on_emptied(post, self._groups[number])
        for group in self._assigned(post):
            self._close_if_drained(group)

    def _apply_result(self, row: RowReport) -> None:
        """Settle a row that the worker has. A worker must not put its password into the journal by a message."""
        number, index = row.lane
        lane = self._groups[number].lanes[index]
        what = lane.away.pop(row.outcome.row, None)
        lane.away_since.pop(row.outcome.row, None)
        if what is None:
            return
        outcome, fatal = row.outcome, row.fatal
        if isinstance(what, Row):
            outcome = replace(outcome, message=what.password.withhold(outcome.message))
            fatal = fatal and replace(fatal, message=what.password.withhold(fatal.message))
        self._settle(lane, LaneFailed(outcome, fatal) if fatal else outcome)

    def _apply_pace(self, report: WorkerReport) -> None:
        now = self._clock.now()
        for (number, index), state in report.states:
            lane = self._groups[number].lanes[index]
            lane.state, lane.state_at, lane.rate = state, now, state.rate
        for (number, index), rate, why in report.changes:
            self._groups[number].lanes[index].changed(rate, why)

    def _on_opened(self, group: LaneGroup, kind: TransportKind) -> None:
        group.apply(GroupEvent.OPENED)
        for lane in group.lanes:
            lane.max_rate = max_rate_of(lane.operation, kind)
        if group.state is GroupState.HALTED and group.worker:  # the order to halt came before the lanes were open
            group.worker.order(HaltLanes(group.key.number))
        for lane in group.lanes:
            if lane.is_steered:
                self.set_ceiling(lane)
        self._dispatch(group)

    def _dispatch(self, group: LaneGroup) -> None:
        """Order the worker to send the waiting rows, if the lane group is open and not closing."""
        if group.worker is None or group.state not in {GroupState.OPEN, GroupState.MOVING}:
            return
        for index, lane in enumerate(group.lanes):
            if lane.waiting:
                rows = list(lane.waiting)
                lane.waiting.clear()
                lane.away |= {row.number: row for row in rows}
                lane.away_since |= dict.fromkeys((row.number for row in rows), now_ms())
                group.worker.orders.append(SendRows((group.key.number, index), rows))
        if not any(other.has_rows() for other in self._assigned(group.worker) if other is not group):
            group.worker.wake.set()

    def on_worker_lost(self, post: WorkerSession, *, dead: bool) -> float:
        """Mark a lost worker's rows in doubt, and free its lane groups for other workers.

        Returns the time (on this clock) after which the lost worker can no longer send; they are not opened before it.
        """
        self.posts.pop(post.worker, None)
        now = self._clock.now()
        free = now if dead else post.lease_ends + SKEW_SECONDS
        groups = self._assigned(post)
        doubted = sum(len(lane.away) for group in groups for lane in group.lanes if lane.operation.needs_claim)
        if post.state is not SessionState.ENDING:
            self.event("worker_lost", worker=post.worker, lanes=len(groups), in_doubt=doubted)
        for group in groups:
            group.apply(GroupEvent.LOST)
            # Wait one more slot after the last possible attempt, so that both workers together keep to the rate.
            group.not_before = free + max((1 / lane.rate for lane in group.lanes if lane.rate), default=0.0)
            self._mark_in_doubt(group)
        return free

    def _on_emptied(self, post: WorkerSession, group: LaneGroup) -> None:
        group.apply(GroupEvent.EMPTIED)
        if group.worker is post:
            self._mark_in_doubt(group)

    def _mark_in_doubt(self, group: LaneGroup) -> None:
        """Mark the rows that the worker had as in doubt: their outcome is unknown.

        They wait to be sent again. If the lane group is halted, they stay in doubt.
        """
        unknown = AttemptState(was_in_doubt=True, outcome_unknown=True)
        for lane in group.lanes:
            away, since = list(lane.away.values()), lane.away_since
            lane.away, lane.away_since = {}, {}
            if group.state is GroupState.HALTED:
                for what in away:
                    self._settle(lane, lane.operation.settle(what, unknown, lane.pace.max_attempts))
            else:
                lane.waiting.extendleft(
                    _in_doubt(what, since.get(what.number)) if isinstance(what, Row) else what
                    for what in reversed(away)
                )

    def _on_refused(self, post: WorkerSession, failed: OpenFailed) -> None:
        """Try another worker for a lane group that could not be opened; if all have failed, halt it."""
        group = self._groups[failed.group]
        group.apply(GroupEvent.REFUSED)
        group.failed_at.add(post.worker)
        if post.state is SessionState.SERVING:
            post.state = SessionState.AVOIDED
        self.event("worker_refused", worker=post.worker, problem=failed.message)
        if self.posts.keys() - group.failed_at:
            self.rebalance()
        elif group.state is not GroupState.HALTED:
            group.stopped = ServiceError(
                "TargetError", f"The worker {post.worker} says: {failed.message}", failed.advice
            )
            self._halt(group)

    def rebalance(self) -> None:
        """Assign lane groups without a worker, and start moving those that another worker should have."""
        groups = {number: group for number, group in self._groups.items() if group.state is not GroupState.HALTED}
        fit = {worker for worker, post in self.posts.items() if post.state is SessionState.SERVING} or set(self.posts)
        carried = {
            number: (group.moving_to or group.worker).worker  # type: ignore[union-attr]
            for number, group in groups.items()
            if group.moving_to or group.worker
        }
        now = self._clock.now()
        found = assign({number: group.weight for number, group in groups.items()}, carried, fit)
        for number, worker in found.items():
            group, post = groups[number], self.posts[worker]
            if group.state is GroupState.WAITING:
                if worker in group.failed_at:
                    post = next((post for post in self.posts.values() if post.worker not in group.failed_at), post)
                if now >= group.not_before:
                    self._open(group, post)
            elif group.state in {GroupState.OPEN, GroupState.MOVING} and group.worker is not post:
                group.apply(GroupEvent.MOVE)
                group.moving_to = post
                self._close_if_drained(group)

    def _open(self, group: LaneGroup, post: WorkerSession) -> None:
        group.apply(GroupEvent.ASSIGN)
        group.worker = post
        now = self._clock.now()
        orders = [
            LaneOrder(
                lane.operation.call,
                lane.pacer.ceiling,
                lane.state.after_seconds(now - lane.state_at) if lane.state else None,
            )
            for lane in group.lanes
        ]
        pace = group.lanes[0].pace
        post.order(
            OpenLanes(group.key.number, group.account, group.targets, group.emulated, orders, pace, group.look_up)
        )

    def _close_if_drained(self, group: LaneGroup) -> None:
        """Order a lane group to be closed if it moves to another worker and no row of it is with the worker."""
        if group.state is GroupState.MOVING and group.worker and not group.has_rows():
            group.apply(GroupEvent.DRAINED)
            group.worker.order(CloseLanes(group.key.number))

    def _on_closed(self, group: LaneGroup, states: Sequence[PacerState]) -> None:
        group.apply(GroupEvent.CLOSED)
        now = self._clock.now()
        for lane, state in zip(group.lanes, states, strict=True):
            lane.state, lane.state_at = state, now
        self.rebalance()


def _in_doubt(row: Row, since: int | None) -> Row:
    """Return a row that a worker may have sent at or after `since`."""
    earlier = row.doubted_since if row.was_in_doubt else None
    return replace(row, was_in_doubt=True, retrying_failed=False, doubted_since=earlier or since)
