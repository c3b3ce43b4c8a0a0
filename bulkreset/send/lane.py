"""The lane: one kind of call in one account and Region, with one pacer and the threads that its rate needs."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeAlias

from bulkreset.cognito.session import CONNECTIONS
from bulkreset.errors import Stopped
from bulkreset.job import PaceConfig
from bulkreset.send.clock import Clock
from bulkreset.send.operations import Operation, T
from bulkreset.send.pacer import Pacer
from bulkreset.send.worker import RowResult, Worker

MOST_WORKERS = CONNECTIONS // 2
FIRST_LATENCY = 0.1  # seconds assumed until one is seen
UNPACED_RATE = 700  # calls per second that boto3 carries in one process: what unpaced lanes have threads for
ONE_THREAD = 350  # of them that one thread carries where the service answers at once
BACKLOG_SECONDS = 0.5  # how much claimed work waits for a thread: it is what a crash leaves in doubt
UNPACED_BACKLOG = 128
UNPACED_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class WorkerCrashed:
    """A thread of the lane ended by a bug; `error` is for whoever raises it again."""

    error: BaseException


Result = RowResult | WorkerCrashed
# What comes back of the lanes; None wakes who waits for it.
Results: TypeAlias = "SimpleQueue[tuple[LaneProtocol, Result] | None]"


@dataclass(frozen=True, slots=True)
class LaneKey:
    """Where a lane's calls go: an account in a Region. Lanes of one place stop together.

    `number` tells one place from the next, `name` is for people; it is "" where there is one place only.
    """

    number: int = 0
    name: str = ""
    stop: threading.Event = field(default_factory=threading.Event)


class RateView(Protocol):
    """What is asked of a lane's pacer: calls per second at most, None for no pacing."""

    @property
    def ceiling(self) -> float | None:
        """Of the job, or of the quota."""

    @property
    def rate(self) -> Callable[[], float | None]:
        """Tells the rate as it is now."""


class LaneProtocol(Protocol):
    """A lane, wherever its threads are: here, or on a worker of a fleet."""

    in_flight: int
    attempts: int

    @property
    def operation(self) -> Operation[Any]:
        """What is called for its rows."""

    @property
    def pacer(self) -> "RateView":
        """Its pace."""

    @property
    def key(self) -> LaneKey:
        """Where its calls go."""

    @property
    def stop(self) -> threading.Event:
        """The place's."""

    def capacity(self) -> int:
        """How many more rows may be claimed for it now."""

    def put(self, rows: Sequence[Any]) -> None:
        """Hand over rows whose claim is committed."""

    def on_result(self, result: Result) -> None:
        """One result of it has been taken."""

    def ensure_workers(self) -> None:
        """See to it that somebody works."""

    def return_unsent(self) -> None:
        """Return what was not sent."""

    def close(self) -> None:
        """Nothing more will come."""


class Lane(Generic[T]):
    """Rows go in by `put`; a Result for each comes out of `results`, which lanes may share."""

    def __init__(
        self,
        errand: Operation[T],
        pacer: Pacer,
        pace: PaceConfig,
        clock: Clock,
        results: "Results",
        place: LaneKey | None = None,
        carries: int = UNPACED_RATE,
    ) -> None:
        self.operation = errand
        self.pacer = pacer
        self.key = place or LaneKey()
        self.stop = self.key.stop
        self.in_flight = 0
        self.attempts = 0
        self._pace = pace
        self._clock = clock
        self._results = results
        self._max_rate = carries
        self._inbox: SimpleQueue[T | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._quickest: float | None = None

    def capacity(self) -> int:
        """How many more rows may be claimed for this lane now."""
        rate = self.pacer.rate()
        backlog = (
            max(UNPACED_BACKLOG, math.ceil(self._max_rate * UNPACED_SECONDS))
            if rate is None
            else max(1, math.ceil(rate * BACKLOG_SECONDS))
        )
        limit = backlog + len(self._threads)
        # In lots: a claim is a commit, and one for every row would be a commit for every row.
        return limit - self.in_flight if self.in_flight <= limit - backlog // 2 else 0

    def put(self, rows: Sequence[T]) -> None:
        """Hand over rows whose claim is committed."""
        self.in_flight += len(rows)
        for row in rows:
            self._inbox.put(row)

    def on_result(self, result: Result) -> None:
        """The coordinator has taken one result of this lane."""
        self.in_flight -= 1
        if isinstance(result, RowResult):
            self.attempts += result.outcome.attempts
        if isinstance(result, RowResult) and result.latency is not None:
            # A latency is forgotten as slowly as results are many: else a busy processor's delays would ask for more threads.
            forgotten = (self._quickest or result.latency) * (1 + 7 / self._max_rate)
            self._quickest = min(result.latency, forgotten)

    def close(self) -> None:
        """End the threads. One that still waits for an answer is left to the process's end."""
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join(timeout=None if not self.in_flight else 0.1)

    def ensure_workers(self) -> None:
        """Start the threads that are lacking for what is outstanding. Raises Stopped where not even one can be had."""
        for _ in range(min(self._target_workers(), self.in_flight) - len(self._threads)):
            worker = Worker(self.operation, self.pacer, self._pace, self._clock, self.stop)
            name = f"worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._run_worker, args=(worker,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system's limit: go on with those there are
                if self._threads:
                    return
                raise Stopped(
                    "The system lets no thread be started.", "Raise its limit on threads, then resume."
                ) from None
            self._threads.append(thread)

    def return_unsent(self) -> None:
        """Return what waits in the inbox, unsent."""
        while True:
            try:
                what = self._inbox.get_nowait()
            except Empty:
                return
            if what is not None:
                given_back = self.operation.settle(what, self.operation.begin(what), self._pace.max_attempts)
                self._results.put((self, RowResult(given_back)))

    def _target_workers(self) -> int:
        """Little's law: rate times latency, and a little more. Where slots pass untaken, more of them."""
        if self._pace.workers:
            return self._pace.workers
        rate = self.pacer.rate()
        if rate is None:
            needed = max(self._max_rate // ONE_THREAD, math.ceil(self._max_rate * (self._quickest or 0)))
        else:
            needed = math.ceil(rate * (self._quickest or FIRST_LATENCY) * 1.2) + 1
            if self.in_flight > len(self._threads) and self.pacer.is_idle():
                needed = max(needed, math.ceil(len(self._threads) * 1.25))
        return min(needed, MOST_WORKERS)

    def _run_worker(self, worker: Worker[T]) -> None:
        while (what := self._inbox.get()) is not None:
            try:
                result: Result = worker.send(what)
            except BaseException as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
                self.stop.set()
                result = WorkerCrashed(error)
            self._results.put((self, result))
