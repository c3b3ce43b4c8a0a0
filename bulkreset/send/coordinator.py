"""The coordinator, the only thread that claims rows, feeds the lanes and records outcomes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty
from typing import Any, Protocol

from bulkreset.causes import advice_for
from bulkreset.clock import Clock
from bulkreset.cognito.response import Response
from bulkreset.errors import ServiceError, Stopped
from bulkreset.models import Claimed, Event
from bulkreset.send.lane import LaneKey, LaneProtocol, Result, Results, WorkerCrashed
from bulkreset.send.operations import LaneFailed, OperationResult

COMMIT_SECONDS = 0.1  # the longest time that an outcome waits for its commit
COMMIT_ROWS = 500
BATCH_SECONDS = 0.005  # results are taken in batches: waking up for each one costs more than handling it
TURN_SECONDS = 0.04  # how long results are collected before lanes get rows again: many lanes share one commit


class EventSink(Protocol):
    """The part of the journal that the coordinator uses. Claims and outcomes are committed together."""

    def commit(self, events: Sequence[Event], claims: Sequence[Claimed] = ()) -> None:
        """Commit durably. Raises RecordError if that fails."""

    def ensure_mirrored(self) -> None:
        """Copy committed claims to the mirror, if required, before their rows are sent. Raises RecordError or Busy."""


class RowSource(Protocol):
    """The rows to send through one lane."""

    @property
    def ended(self) -> bool:
        """Return whether the last `take` found that there are no more rows."""

    def take(self, most: int) -> Sequence[Any]:
        """Return up to `most` rows; fewer or none if the next ones are still being read. Does not wait."""

    def discard_rest(self) -> None:
        """Drop the remaining rows; `take` is not called again."""


class RunObserver(Protocol):
    """The observer of a run, which may also stop it."""

    def check(self) -> None:
        """Raise if all sending must stop."""

    def on_result(self, key: LaneKey, result: OperationResult) -> None:
        """Handle a result before it is committed."""

    def on_committed(self, results: Sequence[tuple[LaneProtocol[Any], OperationResult]]) -> None:
        """Handle results that were just committed."""

    def on_lane_stopped(self, key: LaneKey, error: Stopped) -> None:
        """Handle the stop of all lanes with this key."""

    def on_stopping(self, calls: int, seconds: float) -> None:
        """Handle a stop that waits up to `seconds` for this many calls in flight."""

    def violation(self, key: LaneKey) -> Stopped | None:
        """Return why nothing more may be sent for a lane key after its latest result; None if sending may continue."""


@dataclass(slots=True, eq=False)
class LaneInput:
    """A lane and the rows to send through it.

    If `after` is set, the source may get new rows until that input is finished. `done`: no more rows will be taken.
    """

    lane: LaneProtocol[Any]
    source: RowSource
    after: "LaneInput | None" = None
    done: bool = False


class Coordinator:
    """Runs lane inputs until they end or are stopped. A row is sent only after its claim is committed.

    If the calls of a lane key cannot succeed, or its guard trips, its lanes stop. The other lanes continue, unless
    `together` is true. `patience` is how many seconds a stop waits for calls in flight.
    """

    def __init__(
        self,
        recorder: EventSink,
        clock: Clock,
        results: Results,
        observer: RunObserver,
        patience: float = 60.0,
        *,
        together: bool = False,
    ) -> None:
        self.stopped: dict[int, Stopped] = {}  # by lane key number, in the order of the stops
        self._recorder = recorder
        self._clock = clock
        self._results = results
        self._observer = observer
        self._patience = patience
        self._stop_all = together
        self._inputs: Sequence[LaneInput] = ()
        self._results_to_commit: list[tuple[LaneProtocol[Any], OperationResult]] = []
        self._group_since = 0.0
        self._crash: BaseException | None = None
        self._shutting_down = False

    def run(self, inputs: Sequence[LaneInput]) -> None:
        """Send all rows. Raises RecordError, the observer's errors and, at the end, the first error that stopped lanes.

        On any stop, calls in flight are finished and recorded before this raises.
        """
        self._inputs = inputs
        try:
            while True:
                self._observer.check()
                self._claim_rows()
                if self._crash or (self.stopped and self._stop_all) or self._is_over():
                    break
                self._collect_results()
        finally:
            self._shutdown()
        if self._crash:
            raise self._crash
        for error in self.stopped.values():
            raise error

    def _is_busy(self) -> bool:
        return any(lane_input.lane.in_flight for lane_input in self._inputs)

    def _is_over(self) -> bool:
        """Return whether no row remains to send or wait for. Then guards need not check the last result."""
        return all(lane_input.done for lane_input in self._inputs) and not self._is_busy()

    def _claim_rows(self) -> None:
        """Take rows for every lane that has room, commit their claims, then pass the rows to the lanes."""
        taken: list[tuple[LaneProtocol[Any], Sequence[Any]]] = []
        for lane_input in self._inputs:
            lane = lane_input.lane
            if lane_input.done or lane.stop.is_set():
                continue
            if room := lane.capacity():
                if rows := lane_input.source.take(room):
                    taken.append((lane, rows))
                ended, after = lane_input.source.ended, lane_input.after
                lane_input.done = ended and (after is None or self._is_finished(after, [lane for lane, _ in taken]))
        now = time.time_ns() // 1_000_000
        claims = [Claimed(row.number, now) for lane, rows in taken if lane.operation.needs_claim for row in rows]
        if claims:
            self._commit(claims)
            self._mirror_claims(taken)
        for lane, rows in taken:
            lane.put(rows)
        for lane_input in self._inputs:
            if lane_input.lane.in_flight:
                lane_input.lane.ensure_workers()

    def _is_finished(self, lane_input: LaneInput, taking: Sequence[LaneProtocol[Any]]) -> bool:
        """Return whether all rows of a lane input are committed. Lanes in `taking` have rows that are not sent yet."""
        lane = lane_input.lane
        return lane_input.done and not lane.in_flight and lane not in taking and not self._results_to_commit

    def _collect_results(self) -> None:
        """Collect results for TURN_SECONDS or until an unpaced lane has room; commit a group that is full or old."""
        began = self._clock.now()
        while len(self._results_to_commit) < COMMIT_ROWS and (left := TURN_SECONDS - (self._clock.now() - began)) > 0:
            try:
                found = self._results.get(timeout=left)
            except Empty:
                break
            if found is None:
                break
            self._handle_result(*found)
            if self._crash:
                break
            if self._results.empty():
                self._observer.check()
                if found[0].pacer.ceiling is None and found[0].capacity():
                    break
                time.sleep(BATCH_SECONDS)
        due = self._clock.now() - self._group_since >= COMMIT_SECONDS or not self._is_busy()
        if len(self._results_to_commit) >= COMMIT_ROWS or (self._results_to_commit and due and not self._is_over()):
            self._commit()

    def _handle_result(self, lane: LaneProtocol[Any], result: Result) -> None:
        lane.on_result(result)
        if isinstance(result, WorkerCrashed):
            self._crash = result.error
            return
        if not self._results_to_commit:
            self._group_since = self._clock.now()
        outcome = result.outcome if isinstance(result, LaneFailed) else result
        self._results_to_commit.append((lane, outcome))
        self._observer.on_result(lane.key, outcome)
        if isinstance(result, LaneFailed):
            error = result.error
            self._stop_lane(lane.key, error if isinstance(error, Stopped) else _service_error(error, lane))
        # After each result: guards see every streak.
        if (violation := self._observer.violation(lane.key)) and not (self._shutting_down or self._is_over()):
            self._stop_lane(lane.key, violation)

    def _commit(self, claims: Sequence[Claimed] = ()) -> None:
        self._recorder.commit([outcome for _, outcome in self._results_to_commit], claims)
        results, self._results_to_commit = self._results_to_commit, []
        self._observer.on_committed(results)

    def _mirror_claims(self, taken: Sequence[tuple[LaneProtocol[Any], Sequence[Any]]]) -> None:
        """Mirror the claims of these rows. If that fails, none of them was sent, so they are returned as unsent."""
        try:
            self._recorder.ensure_mirrored()
        except BaseException:
            for lane, rows in taken:
                operation = lane.operation
                if operation.needs_claim:
                    self._results_to_commit += [(lane, operation.settle(row, operation.begin(row), 1)) for row in rows]
            raise

    def _stop_lane(self, key: LaneKey, error: Stopped) -> None:
        """Stop all lanes of a lane key. Their calls in flight are finished and recorded."""
        if key.number in self.stopped:
            return
        if key.name:
            error.message = f"{key.name}: {error.message}"
        self.stopped[key.number] = error
        self._observer.on_lane_stopped(key, error)
        key.stop.set()
        for lane_input in self._inputs:
            if lane_input.lane.key is key:
                lane_input.done = True
                lane_input.source.discard_rest()
                lane_input.lane.return_unsent()

    def _shutdown(self) -> None:
        """Stop the lanes, then collect and record the results still in flight."""
        self._shutting_down = True
        for lane_input in self._inputs:
            lane_input.lane.stop.set()
            lane_input.lane.return_unsent()
        began = self._clock.now()
        self._await_calls(began + TURN_SECONDS)  # unsent rows are returned at once
        if calls := sum(lane_input.lane.in_flight for lane_input in self._inputs):
            self._observer.on_stopping(calls, self._patience)
        self._await_calls(began + self._patience)
        for lane_input in self._inputs:
            lane_input.lane.close()
        if self._results_to_commit:
            self._commit()

    def _await_calls(self, until: float) -> None:
        """Collect results until no call is in flight. A row whose answer never ends stays claimed: in doubt."""
        while self._is_busy():
            try:
                found = self._results.get(timeout=max(0.0, until - self._clock.now()))
            except Empty:
                return
            if found:
                self._handle_result(*found)


def _service_error(answer: Response, lane: LaneProtocol[Any]) -> ServiceError:
    code, message, step = answer.code, answer.message.rstrip("."), lane.operation.step
    text = f"Cognito answered {code}: {message}." if message else f"Cognito answered {code}."
    actions = " and cognito-idp:".join(step.calls) if step else lane.operation.call
    return ServiceError(code, text, advice_for(code, actions))
