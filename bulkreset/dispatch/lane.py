"""The lane: one account in one Region, with one pacer and the threads that its rate needs."""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from bulkreset.cognito.session import CONNECTIONS
from bulkreset.cognito.transport import Transport
from bulkreset.dispatch.clock import Clock
from bulkreset.dispatch.pacer import Pacer
from bulkreset.dispatch.worker import Settled, Worker
from bulkreset.errors import Stopped
from bulkreset.job import Pace
from bulkreset.rows import Outcome, Row, Status

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


class Lane:
    """Rows go in by `put`; a Result for each comes out of `results`, which lanes may share."""

    def __init__(
        self,
        transports: Mapping[str, Transport],
        pacer: Pacer,
        pace: Pace,
        clock: Clock,
        results: "SimpleQueue[tuple[Lane, Result]]",
        carries: int = UNPACED_RATE,
    ) -> None:
        self.pacer = pacer
        self.stop = threading.Event()
        self.outstanding = 0
        self.attempts = 0
        self._transports = transports
        self._pace = pace
        self._clock = clock
        self._results = results
        self._carries = carries
        self._inbox: SimpleQueue[Row | None] = SimpleQueue()
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

    def put(self, rows: Sequence[Row]) -> None:
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
            worker = Worker(self._transports.__getitem__, self.pacer, self._pace, self._clock, self.stop)
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
                row = self._inbox.get_nowait()
            except Empty:
                return
            if row is not None:
                status = Status.IN_DOUBT if row.doubted else Status.READY
                self._results.put((self, Settled(Outcome(row.number, status, in_doubt=row.doubted))))

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

    def _work(self, worker: Worker) -> None:
        while (row := self._inbox.get()) is not None:
            try:
                result: Result = worker.send(row)
            except BaseException as error:  # noqa: BLE001  (a bug: raised again by the coordinator)
                self.stop.set()
                result = Crash(error)
            self._results.put((self, result))
