"""Lanes, a ledger and a coordinator for the tests, put together in one place."""

from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue

from bulkreset.cognito.answer import Answer
from bulkreset.dispatch.coordinator import Coordinator, Feed
from bulkreset.dispatch.lane import Lane, Result
from bulkreset.dispatch.pacer import Pacer
from bulkreset.errors import RecordError
from bulkreset.job import Pace
from bulkreset.rows import Outcome, Row, Status
from tests.dispatch.fakes import POOL, SET, FakeClock, row


class FakeLedger:
    """A ledger in memory. `fail_at` is the commit that cannot be written, counted from 1; so are all after it."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.claimed: set[int] = set()
        self.outcomes: dict[int, Outcome] = {}
        self.commits = 0
        self._fail_at = fail_at

    def record(self, claims: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        """Commit, or say that it is not possible."""
        self.commits += 1
        if self._fail_at and self.commits >= self._fail_at:
            raise RecordError("The disk is full.")
        assert not self.claimed & set(claims), "a row was claimed twice"
        assert not self.outcomes.keys() & {outcome.row for outcome in outcomes}, "a row was settled twice"
        self.claimed |= set(claims)
        self.outcomes |= {outcome.row: outcome for outcome in outcomes}

    def statuses(self) -> dict[int, str]:
        """What the ledger knows of each row."""
        return {number: outcome.status.value for number, outcome in self.outcomes.items()}


class Service:
    """A transport that answers by `answer`, and checks that what it is sent was claimed before."""

    def __init__(self, ledger: FakeLedger, answer: Callable[[int], Answer] = lambda _number: SET) -> None:
        self._ledger = ledger
        self._answer = answer
        self.received: list[int] = []
        self.unclaimed: list[int] = []

    def set_password(self, sent: Row) -> Answer:
        """Note the row and answer."""
        self.received.append(sent.number)
        if sent.number not in self._ledger.claimed:
            self.unclaimed.append(sent.number)
        return self._answer(sent.number)


class Bench:
    """A coordinator over some lanes of one service."""

    def __init__(
        self, answer: Callable[[int], Answer] = lambda _number: SET, *, fail_at: int | None = None, workers: int = 4
    ) -> None:
        self.ledger = FakeLedger(fail_at)
        self.service = Service(self.ledger, answer)
        self.observed: list[Outcome] = []
        self.clock = FakeClock()
        self.lanes: list[Lane] = []
        self._results: SimpleQueue[tuple[Lane, Result]] = SimpleQueue()
        self._workers = workers

    def lane(self, rate: float | None = None) -> Lane:
        """One more lane."""
        pace = Pace(workers=self._workers, max_attempts=3, max_wait=1)
        lane = Lane({POOL: self.service}, Pacer(rate, self.clock), pace, self.clock, self._results)
        self.lanes.append(lane)
        return lane

    def run(self, *rows: Iterable[Row], check: Callable[[], None] = lambda: None) -> None:
        """Run one lane for each of `rows`; afterwards no thread may live."""
        feeds = [Feed(self.lane(), iter(feed)) for feed in rows]
        try:
            Coordinator(self.ledger, self.clock, self._results, self.observed.extend, check).run(feeds)
        finally:
            self.threads_ended = not any(thread.is_alive() for lane in self.lanes for thread in lane._threads)

    def observed_statuses(self) -> dict[int, Status]:
        """What the observer was told."""
        return {outcome.row: outcome.status for outcome in self.observed}


def rows(first: int, last: int) -> list[Row]:
    """The rows from `first` to `last`."""
    return [row(number) for number in range(first, last + 1)]
