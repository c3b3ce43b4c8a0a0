"""Lanes, an event sink and a coordinator for the tests."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bulkreset.cognito.response import Response
from bulkreset.errors import RecordError, Stopped
from bulkreset.job import PaceConfig
from bulkreset.models import Claimed, Event, Outcome, Row, Status, StepOutcome, StepTask
from bulkreset.send.coordinator import Coordinator, LaneInput
from bulkreset.send.lane import Lane, LaneKey, LaneProtocol, Results
from bulkreset.send.operations import LaneFailed, OperationResult, SetPassword, TakeStep
from bulkreset.send.pacer import Pacer
from bulkreset.steps import SIGN_OUT
from tests.send.fakes import POOL, SET, FakeClock, row


def outcome_of(result: OperationResult | LaneFailed) -> OperationResult:
    """Return the outcome of a row, whether or not its lane must stop."""
    return result.outcome if isinstance(result, LaneFailed) else result


class FakeLedger:
    """An event sink in memory. `fail_at` is the first commit that fails, counted from 1; later ones fail, too.

    `insecure_at` is the commit with claims that succeeds, but cannot be mirrored.
    """

    def __init__(self, fail_at: int | None = None, insecure_at: int | None = None) -> None:
        self.claimed: set[int] = set()
        self.outcomes: dict[int, Outcome] = {}
        self.signed_out: dict[int, StepOutcome] = {}
        self.commits = 0
        self._fail_at = fail_at
        self._insecure_at = insecure_at

    def commit(self, events: Sequence[Event], claims: Sequence[Claimed] = ()) -> None:
        """Commit, or fail."""
        claimed = {claim.row for claim in claims}
        outcomes = [event for event in events if isinstance(event, Outcome)]
        signed_out = [event for event in events if isinstance(event, StepOutcome)]
        self.commits += 1
        if self._fail_at and self.commits >= self._fail_at:
            raise RecordError("The disk is full.")
        assert not self.claimed & claimed, "a row was claimed twice"
        assert not self.outcomes.keys() & {outcome.row for outcome in outcomes}, "a row was settled twice"
        self.claimed |= claimed
        self.outcomes |= {outcome.row: outcome for outcome in outcomes}
        self.signed_out |= {outcome.row: outcome for outcome in signed_out}

    def ensure_mirrored(self) -> None:
        """Mirror, or fail."""
        if self._insecure_at and self.commits >= self._insecure_at:
            raise RecordError("The other disk is full.")

    def statuses(self) -> dict[int, str]:
        """Return the status of each row."""
        return {number: outcome.status.value for number, outcome in self.outcomes.items()}


class Service:
    """A transport that answers by `answer`, and checks that each row was claimed before."""

    def __init__(self, ledger: FakeLedger, answer: Callable[[int], Response] = lambda _number: SET) -> None:
        self._ledger = ledger
        self._answer = answer
        self.received: list[int] = []
        self.unclaimed: list[int] = []
        self.left: list[int] = []

    def set_password(self, sent: Row) -> Response:
        """Record the row and answer."""
        self.received.append(sent.number)
        if sent.number not in self._ledger.claimed:
            self.unclaimed.append(sent.number)
        return self._answer(sent.number)

    def call(self, operation: str, parameters: Mapping[str, Any], read: object = None) -> Response:  # noqa: ARG002
        """Record the sign-out of a user, who must be set by then."""
        number = int(parameters["Username"].removeprefix("user"))
        self.left.append(number)
        return self._answer(-number)


class Given:
    """A source of given rows; None among them means that the next one is not available yet."""

    def __init__(self, things: Iterable[Any]) -> None:
        self.ended = False
        self.dropped = False
        self._things: Iterator[Any] = iter(things)

    def take(self, most: int) -> list[Any]:
        """Return up to so many rows."""
        taken: list[Any] = []
        while len(taken) < most:
            try:
                thing = next(self._things)
            except StopIteration:
                self.ended = True
                break
            if thing is None:
                break
            taken.append(thing)
        return taken

    def discard_rest(self) -> None:
        """End the source."""
        self.dropped = True


class Bench:
    """A coordinator over some lanes of one service."""

    def __init__(
        self,
        answer: Callable[[int], Response] = lambda _number: SET,
        *,
        fail_at: int | None = None,
        insecure_at: int | None = None,
        workers: int = 4,
        together: bool = False,
    ) -> None:
        self.ledger = FakeLedger(fail_at, insecure_at)
        self.service = Service(self.ledger, answer)
        self.observed: list[OperationResult] = []
        self.clock = FakeClock()
        self.lanes: list[Lane[Any]] = []
        self.sources: list[Given] = []
        self.errors: dict[int, Stopped] = {}
        self.heard: list[int] = []
        self.check: Callable[[], None] = lambda: None
        self.trips: Callable[[int], Stopped | None] = lambda _number: None
        self._together = together
        self._results = Results()
        self._pace = PaceConfig(workers=workers, max_attempts=3, max_wait=1)

    def lane(self, rate: float | None = None, key: LaneKey | None = None) -> Lane[Row]:
        """Add a lane."""
        operation, pacer = SetPassword({POOL: self.service}), Pacer(rate, self.clock)
        lane = Lane(operation, pacer, self._pace, self.clock, self._results, key)
        self.lanes.append(lane)
        return lane

    def leaving(self, key: LaneKey) -> Lane[StepTask]:
        """Add a lane of sign-outs."""
        operation, pacer = TakeStep(SIGN_OUT, {POOL: self.service}), Pacer(None, self.clock)
        lane = Lane(operation, pacer, self._pace, self.clock, self._results, key)
        self.lanes.append(lane)
        return lane

    def run(self, *rows: Iterable[Row | None], check: Callable[[], None] = lambda: None) -> None:
        """Run one lane for each of `rows`; check that no thread remains."""
        self.sources = [Given(given) for given in rows]
        names = [f"Lane {number}" if len(rows) > 1 else "" for number in range(len(rows))]
        keys = [LaneKey(number, name) for number, name in enumerate(names)]
        lane_inputs = [LaneInput(self.lane(key=key), given) for key, given in zip(keys, self.sources, strict=True)]
        self.run_inputs(lane_inputs, check)

    def run_inputs(self, lane_inputs: Sequence[LaneInput], check: Callable[[], None] = lambda: None) -> None:
        """Run these lane inputs."""
        self.check = check
        coordinator = Coordinator(self.ledger, self.clock, self._results, self, together=self._together)
        self.errors = coordinator.stopped
        try:
            coordinator.run(lane_inputs)
        finally:
            self.threads_ended = not any(thread.is_alive() for lane in self.lanes for thread in lane._threads)

    def on_result(self, key: LaneKey, result: OperationResult) -> None:
        """Ignore a result."""

    def on_committed(self, results: Sequence[tuple[LaneProtocol[Any], OperationResult]]) -> None:
        """Record committed results."""
        self.observed += [outcome for _, outcome in results]

    def on_lane_stopped(self, key: LaneKey, _error: Stopped) -> None:
        """Record a stopped lane."""
        self.heard.append(key.number)

    def on_stopping(self, _calls: int, _seconds: float) -> None:
        """Ignore a stop."""

    def violation(self, key: LaneKey) -> Stopped | None:
        """Ask the test."""
        return self.trips(key.number)

    def observed_statuses(self) -> dict[int, Status]:
        """Return the statuses that the observer got."""
        return {outcome.row: outcome.status for outcome in self.observed if isinstance(outcome, Outcome)}


def rows(first: int, last: int) -> list[Row]:
    """Return the rows from `first` to `last`."""
    return [row(number) for number in range(first, last + 1)]
