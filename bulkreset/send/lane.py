"""The lane: one kind of call in one account and Region, with one pacer and the threads that its rate needs."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeAlias

from bulkreset.cognito.session import CONNECTIONS
from bulkreset.errors import Stopped
from bulkreset.job import Pace
from bulkreset.send.clock import Clock
from bulkreset.send.operations import Errand, T
from bulkreset.send.pacer import Pacer
from bulkreset.send.worker import Settled, Worker

MOST_WORKERS = CONNECTIONS // 2
FIRST_LATENCY = 0.1  # seconds assumed until one is seen
UNPACED_RATE = 700  # calls per second that boto3 carries in one process: what unpaced lanes have threads for
ONE_THREAD = 350  # of them that one thread carries where the service answers at once
BACKLOG_SECONDS = 0.5  # how much claimed work waits for a thread: it is what a crash leaves in doubt
UNPACED_BACKLOG = 128
UNPACED_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Crash:
    """A thread of the lane ended by a bug; `error` is for whoever raises it again."""

    error: BaseException


Result = Settled | Crash
# What comes back of the lanes; None wakes who waits for it.
Results: TypeAlias = "SimpleQueue[tuple[AnyLane, Result] | None]"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a lane's calls go: an account in a Region. Lanes of one place stop together.

    `number` tells one place from the next, `name` is for people; it is "" where there is one place only.
    """

    number: int = 0
    name: str = ""
    stop: threading.Event = field(default_factory=threading.Event)


class Paced(Protocol):
    """What is asked of a lane's pacer: calls per second at most, None for no pacing."""

    @property
    def ceiling(self) -> float | None:
        """Of the job, or of the quota."""

    @property
    def rate(self) -> Callable[[], float | None]:
        """Tells the rate as it is now."""


class AnyLane(Protocol):
    """A lane, wherever its threads are: here, or on a worker of a fleet."""

    outstanding: int
    attempts: int

    @property
    def errand(self) -> Errand[Any]:
        """What is called for its rows."""

    @property
    def pacer(self) -> "Paced":
        """Its pace."""

    @property
    def place(self) -> Place:
        """Where its calls go."""

    @property
    def stop(self) -> threading.Event:
        """The place's."""

    def room(self) -> int:
        """How many more rows may be claimed for it now."""

    def put(self, rows: Sequence[Any]) -> None:
        """Hand over rows whose claim is committed."""

    def took_back(self, result: Result) -> None:
        """One result of it has been taken."""

    def staff(self) -> None:
        """See to it that somebody works."""

    def give_back(self) -> None:
        """Return what was not sent."""

    def close(self) -> None:
        """Nothing more will come."""


class Lane(Generic[T]):
    """Rows go in by `put`; a Result for each comes out of `results`, which lanes may share."""

    def __init__(
        self,
        errand: Errand[T],
        pacer: Pacer,
        pace: Pace,
        clock: Clock,
        results: "Results",
        place: Place | None = None,
        carries: int = UNPACED_RATE,
    ) -> None:
        self.errand = errand
        self.pacer = pacer
        self.place = place or Place()
        self.stop = self.place.stop
        self.outstanding = 0
        self.attempts = 0
        self._pace = pace
        self._clock = clock
        self._results = results
        self._carries = carries
        self._inbox: SimpleQueue[T | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._quickest: float | None = None

    def room(self) -> int:
        """How many more rows may be claimed for this lane now."""
        rate = self.pacer.rate()
        backlog = (
            max(UNPACED_BACKLOG, math.ceil(self._carries * UNPACED_SECONDS))
            if rate is None
            else max(1, math.ceil(rate * BACKLOG_SECONDS))
        )
        limit = backlog + len(self._threads)
        # In lots: a claim is a commit, and one for every row would be a commit for every row.
        return limit - self.outstanding if self.outstanding <= limit - backlog // 2 else 0

    def put(self, rows: Sequence[T]) -> None:
        """Hand over rows whose claim is committed."""
        self.outstanding += len(rows)
        for row in rows:
            self._inbox.put(row)

    def took_back(self, result: Result) -> None:
        """The coordinator has taken one result of this lane."""
        self.outstanding -= 1
        if isinstance(result, Settled):
            self.attempts += result.outcome.attempts
        if isinstance(result, Settled) and result.latency is not None:
            # A latency is forgotten as slowly as results are many: else a busy processor's delays would ask for more threads.
            forgotten = (self._quickest or result.latency) * (1 + 7 / self._carries)
            self._quickest = min(result.latency, forgotten)

    def close(self) -> None:
        """End the threads. One that still waits for an answer is left to the process's end."""
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join(timeout=None if not self.outstanding else 0.1)

    def staff(self) -> None:
        """Start the threads that are lacking for what is outstanding. Raises Stopped where not even one can be had."""
        for _ in range(min(self._needed(), self.outstanding) - len(self._threads)):
            worker = Worker(self.errand, self.pacer, self._pace, self._clock, self.stop)
            name = f"worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._work, args=(worker,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system's limit: go on with those there are
                if self._threads:
                    return
                raise Stopped(
                    "The system lets no thread be started.", "Raise its limit on threads, then resume."
                ) from None
            self._threads.append(thread)

    def give_back(self) -> None:
        """Return what waits in the inbox, unsent."""
        while True:
            try:
                what = self._inbox.get_nowait()
            except Empty:
                return
            if what is not None:
                given_back = self.errand.settle(what, self.errand.begin(what), self._pace.max_attempts)
                self._results.put((self, Settled(given_back)))

    def _needed(self) -> int:
        """Little's law: rate times latency, and a little more. Where slots pass untaken, more of them."""
        if self._pace.workers:
            return self._pace.workers
        rate = self.pacer.rate()
        if rate is None:
            needed = max(self._carries // ONE_THREAD, math.ceil(self._carries * (self._quickest or 0)))
        else:
            needed = math.ceil(rate * (self._quickest or FIRST_LATENCY) * 1.2) + 1
            if self.outstanding > len(self._threads) and self.pacer.is_idle():
                needed = max(needed, math.ceil(len(self._threads) * 1.25))
        return min(needed, MOST_WORKERS)

    def _work(self, worker: Worker[T]) -> None:
        while (what := self._inbox.get()) is not None:
            try:
                result: Result = worker.send(what)
            except BaseException as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
                self.stop.set()
                result = Crash(error)
            self._results.put((self, result))
