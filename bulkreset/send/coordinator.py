"""The coordinator: the one thread that claims rows, feeds the lanes and records outcomes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty
from typing import Any, Protocol

from bulkreset.cognito.response import Response, advice_for
from bulkreset.errors import ServiceError, Stopped
from bulkreset.models import Outcome, SignOutOutcome
from bulkreset.send.clock import Clock
from bulkreset.send.lane import LaneKey, LaneProtocol, Result, Results, WorkerCrashed
from bulkreset.send.operations import OperationResult

COMMIT_SECONDS = 0.1  # an outcome waits no longer than this for its commit
COMMIT_ROWS = 500
BATCH_SECONDS = 0.005  # results are taken in lots: to wake for each would cost more than to take it
TURN_SECONDS = 0.04  # how long results are gathered before the lanes are looked at again: many lanes share one commit


class JournalWriter(Protocol):
    """What the coordinator needs of the journal: claims and outcomes, committed together."""

    def commit(
        self, claims: Sequence[int], outcomes: Sequence[Outcome], signed_out: Sequence[SignOutOutcome] = ()
    ) -> None:
        """Commit, durably. Raises RecordError where that is not possible."""

    def ensure_mirrored(self) -> None:
        """Have what is committed wherever it must be before anything is sent on it. Raises RecordError, Busy."""


class RowSource(Protocol):
    """The rows that are to go through a lane."""

    @property
    def ended(self) -> bool:
        """Whether the last `take` has found that there are no more."""

    def take(self, most: int) -> Sequence[Any]:
        """Up to `most` rows; fewer, or none, where the next ones are still looked for. Does not wait."""

    def discard_rest(self) -> None:
        """Nothing more will be taken."""


class RunObserver(Protocol):
    """Who looks on, and may stop it."""

    def check(self) -> None:
        """Raise where all sending must stop."""

    def on_result(self, place: LaneKey, told: OperationResult) -> None:
        """Hear what has come back, before it is committed."""

    def on_committed(self, told: Sequence[tuple[LaneProtocol, OperationResult]]) -> None:
        """Hear what is committed."""

    def on_lane_stopped(self, place: LaneKey, error: Stopped) -> None:
        """Hear that nothing more is sent to a place."""

    def violation(self, place: LaneKey) -> Stopped | None:
        """Why nothing more may be sent to a place, of which something was heard; None where it may."""


@dataclass(slots=True, eq=False)
class LaneInput:
    """A lane and the rows that are to go through it. One that comes `after` another may get rows as long as that lives."""

    lane: LaneProtocol
    source: RowSource
    after: "LaneInput | None" = None
    done: bool = field(default=False)


class Coordinator:
    """Runs feeds to their end, or to a stop. Nothing is sent whose claim is not committed.

    A place whose calls cannot succeed, or whose guard is tripped, is stopped; the others go on, unless `together`.
    `patience` is how many seconds a stop waits for what is in flight.
    """

    def __init__(
        self,
        ledger: JournalWriter,
        clock: Clock,
        results: Results,
        watch: RunObserver,
        patience: float = 60.0,
        *,
        together: bool = False,
    ) -> None:
        self.stopped: dict[int, Stopped] = {}  # by the place's number, the first one first
        self._journal = ledger
        self._clock = clock
        self._results = results
        self._observer = watch
        self._patience = patience
        self._stop_all = together
        self._inputs: Sequence[LaneInput] = ()
        self._results_to_commit: list[tuple[LaneProtocol, OperationResult]] = []
        self._group_since = 0.0
        self._crash: BaseException | None = None
        self._shutting_down = False

    def run(self, feeds: Sequence[LaneInput]) -> None:
        """Send everything. Raises what the watch raises, RecordError, and at the end what stopped a place first.

        On a stop of any kind, what is in flight is finished and recorded before this raises.
        """
        self._inputs = feeds
        try:
            while True:
                self._observer.check()
                self._claim_rows()
                if self._crash or (self.stopped and self._stop_all):
                    break
                if self._is_over():
                    break
                self._collect_results()
        finally:
            self._shutdown()
        if self._crash:
            raise self._crash
        for error in self.stopped.values():
            raise error

    def _is_busy(self) -> bool:
        return any(feed.lane.in_flight for feed in self._inputs)

    def _is_over(self) -> bool:
        """Whether nothing is left to be sent or waited for: what comes back last needs no guard to look at it."""
        return all(feed.done for feed in self._inputs) and not self._is_busy()

    def _claim_rows(self) -> None:
        """Take rows for every lane that has room; commit their claims; hand them over."""
        taken: list[tuple[LaneProtocol, Sequence[Any]]] = []
        for feed in self._inputs:
            lane = feed.lane
            if feed.done or lane.stop.is_set():
                continue
            if room := lane.capacity():
                if rows := feed.source.take(room):
                    taken.append((lane, rows))
                ended = feed.source.ended
                feed.done = ended and (feed.after is None or self._is_settled(feed.after, [lane for lane, _ in taken]))
        claims = [row.number for lane, rows in taken if lane.operation.needs_claim for row in rows]
        if claims:
            self._commit(claims)
            self._mirror_claims(taken)
        for lane, rows in taken:
            lane.put(rows)
        for feed in self._inputs:
            if feed.lane.in_flight:
                feed.lane.ensure_workers()

    def _is_settled(self, feed: LaneInput, taking: Sequence[LaneProtocol]) -> bool:
        """Whether all that went through a feed is in the ledger; what was taken for a lane just now is not even out."""
        return feed.done and not feed.lane.in_flight and feed.lane not in taking and not self._results_to_commit

    def _collect_results(self) -> None:
        """Gather results for a turn, or until a lane that is not paced wants rows; commit a group that is full or old."""
        began = self._clock.now()
        while len(self._results_to_commit) < COMMIT_ROWS and (left := TURN_SECONDS - (self._clock.now() - began)) > 0:
            try:
                found = self._results.get(timeout=left)
            except Empty:
                break
            if found is None:
                break
            self._handle_result(*found)
            if self._crash or (found[0].pacer.ceiling is None and found[0].capacity()):
                break
            if self._results.empty():
                time.sleep(BATCH_SECONDS)
        due = self._clock.now() - self._group_since >= COMMIT_SECONDS or not self._is_busy()
        if len(self._results_to_commit) >= COMMIT_ROWS or (self._results_to_commit and due and not self._is_over()):
            self._commit([])

    def _handle_result(self, lane: LaneProtocol, result: Result) -> None:
        lane.on_result(result)
        if isinstance(result, WorkerCrashed):
            self._crash = result.error
            return
        if not self._results_to_commit:
            self._group_since = self._clock.now()
        self._results_to_commit.append((lane, result.outcome))
        self._observer.on_result(lane.key, result.outcome)
        if result.fatal:
            fatal = result.fatal
            self._stop_lane(lane.key, fatal if isinstance(fatal, Stopped) else _service_error(fatal, lane))
        if not (
            self._shutting_down or self._is_over()
        ):  # each by itself: a guard stops new calls at once, and misses no streak
            self._observer.check()
            if error := self._observer.violation(lane.key):
                self._stop_lane(lane.key, error)

    def _commit(self, claims: Sequence[int]) -> None:
        outcomes = [outcome for _, outcome in self._results_to_commit if isinstance(outcome, Outcome)]
        signed_out = [outcome for _, outcome in self._results_to_commit if isinstance(outcome, SignOutOutcome)]
        self._journal.commit(claims, outcomes, signed_out)
        told, self._results_to_commit = self._results_to_commit, []
        self._observer.on_committed(told)

    def _mirror_claims(self, taken: Sequence[tuple[LaneProtocol, Sequence[Any]]]) -> None:
        """Have the claims of these rows secured; where that is not possible none of them was sent, so they are given back."""
        try:
            self._journal.ensure_mirrored()
        except BaseException:
            for lane, rows in taken:
                errand = lane.operation
                if errand.needs_claim:
                    self._results_to_commit += [(lane, errand.settle(row, errand.begin(row), 1)) for row in rows]
            raise

    def _stop_lane(self, place: LaneKey, error: Stopped) -> None:
        """Send nothing more to a place. What of it is in flight comes back and is recorded."""
        if place.number in self.stopped:
            return
        if place.name:
            error.message = f"{place.name}: {error.message}"
        self.stopped[place.number] = error
        self._observer.on_lane_stopped(place, error)
        place.stop.set()
        for feed in self._inputs:
            if feed.lane.key is place:
                feed.done = True
                feed.source.discard_rest()
                feed.lane.return_unsent()

    def _shutdown(self) -> None:
        """Stop the lanes, take what is still in flight, record it."""
        self._shutting_down = True
        for feed in self._inputs:
            feed.lane.stop.set()
            feed.lane.return_unsent()
        until = self._clock.now() + self._patience
        while self._is_busy():
            try:
                found = self._results.get(timeout=max(0.0, until - self._clock.now()))
            except Empty:  # an answer that drips and never ends: its row stays claimed, which reads as in doubt
                break
            if found:
                self._handle_result(*found)
        for feed in self._inputs:
            feed.lane.close()
        if self._results_to_commit:
            self._commit([])


def _service_error(answer: Response, lane: LaneProtocol) -> ServiceError:
    code, message = answer.code, answer.message.rstrip(".")
    said = f"Cognito answered {code}: {message}." if message else f"Cognito answered {code}."
    return ServiceError(code, said, advice_for(code, lane.operation.call))
