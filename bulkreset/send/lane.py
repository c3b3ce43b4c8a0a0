"""Lanes. Each sends one kind of call in one account and Region, with one pacer and the threads that its rate needs."""

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from queue import Empty, Queue, SimpleQueue
from typing import Any, Generic, Protocol

from bulkreset.clock import Clock
from bulkreset.cognito.boto3_transport import BotoTransport
from bulkreset.cognito.session import CONNECTIONS, TargetSession
from bulkreset.cognito.transport import MAX_RATE, TransportKind, open_transport
from bulkreset.errors import Stopped
from bulkreset.job import PaceConfig
from bulkreset.send.lost_answer_evidence import ListedEvidence
from bulkreset.send.operations import LaneFailed, Operation, OperationResult, SetPassword, T, TakeStep
from bulkreset.send.pacer import Pacer, PacerState
from bulkreset.send.worker import Worker
from bulkreset.send_permit import SendPermit
from bulkreset.steps import Step

MOST_WORKERS = CONNECTIONS // 2
FIRST_LATENCY = 0.1  # seconds assumed until one is measured
UNPACED_RATE = 700  # calls per second that an unpaced lane has threads for if its transport does not say
ONE_THREAD = 1000  # calls per second that one thread manages if the service answers at once
BACKLOG_SECONDS = 0.5  # seconds of claimed rows that wait for a thread; a crash leaves them in doubt
UNPACED_BACKLOG = 128
UNPACED_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class WorkerCrashed:
    """A bug ended a thread of the lane. The coordinator raises `error` again."""

    error: BaseException


Result = OperationResult | LaneFailed | WorkerCrashed


class Results(Queue["tuple[LaneProtocol[Any], Result] | None"]):
    """The results of the lanes; None wakes the waiting coordinator.

    Not a SimpleQueue: before Python 3.13, its `get` may wait forever if the timeout ends before the wait begins.
    """


@dataclass(frozen=True, slots=True)
class LaneKey:
    """The account and Region that a lane's calls go to. Lanes with the same key stop together.

    `number` identifies the key; `name` is for people and is "" if there is only one key.
    """

    number: int = 0
    name: str = ""
    stop: threading.Event = field(default_factory=threading.Event)


class RateView(Protocol):
    """The readable part of a lane's pacer. Rates are calls per second, None without pacing."""

    @property
    def ceiling(self) -> float | None:
        """Return the maximum rate, from the job or from the quota."""

    @property
    def rate(self) -> Callable[[], float | None]:
        """Return a function that returns the current rate."""


class LaneProtocol(ABC, Generic[T]):
    """A lane whose threads are in this process or on a worker agent of a cluster.

    `operation` is called for its rows; `pacer` has its rates; `key` is the account and Region that its calls go to.
    """

    pacer: RateView

    def __init__(self, operation: Operation[T], key: LaneKey) -> None:
        self.operation = operation
        self.key = key
        self.stop = key.stop
        self.in_flight = 0
        self.attempts = 0

    @abstractmethod
    def capacity(self) -> int:
        """Return how many more rows may be claimed for it now."""

    @abstractmethod
    def set_ceiling(self, ceiling: float | None) -> None:
        """Change the maximum rate: calls per second, 0 to send nothing, None for no pacing."""

    @abstractmethod
    def put(self, rows: Sequence[T]) -> None:
        """Queue rows whose claims are committed."""

    def on_result(self, result: Result) -> None:
        """Handle one of its results, taken by the coordinator."""
        self.in_flight -= 1
        if not isinstance(result, WorkerCrashed):
            self.attempts += (result.outcome if isinstance(result, LaneFailed) else result).attempts

    @abstractmethod
    def ensure_workers(self) -> None:
        """Start workers if its rows need more."""

    @abstractmethod
    def return_unsent(self) -> None:
        """Put rows that were not sent into the results."""

    def retrying(self) -> Sequence[int]:
        """Return the number of the next attempt of each row that is being retried, as far as known."""
        return ()

    def close(self) -> None:
        """End its workers; no more rows will come."""


class Lane(LaneProtocol[T]):
    """A lane with threads in this process. For each row passed to `put`, one Result arrives in `results`.

    Lanes may share `results`. `max_rate` is the calls per second that it has threads for without pacing. Attempts start
    only while `permit` allows it.
    """

    def __init__(
        self,
        operation: Operation[T],
        pacer: Pacer,
        pace: PaceConfig,
        clock: Clock,
        results: "Results",
        key: LaneKey | None = None,
        max_rate: int = UNPACED_RATE,
        permit: SendPermit | None = None,
    ) -> None:
        super().__init__(operation, key or LaneKey())
        self.pacer: Pacer = pacer
        self._pace = pace
        self._clock = clock
        self._results = results
        self._max_rate = max_rate
        self._permit = permit
        self._inbox: SimpleQueue[T | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: list[Worker[T]] = []
        self._quickest: float | None = None

    def capacity(self) -> int:
        """Return how many more rows may be claimed for this lane now; none while nothing may leave."""
        rate = self.pacer.rate()
        if rate == 0:
            return 0
        backlog = (
            max(UNPACED_BACKLOG, math.ceil(self._max_rate * UNPACED_SECONDS))
            if rate is None
            else max(1, math.ceil(rate * BACKLOG_SECONDS))
        )
        limit = backlog + len(self._threads)
        # Claim in batches: each claim is a commit, and a commit per row would be slow.
        return limit - self.in_flight if self.in_flight <= limit - backlog // 2 else 0

    def set_ceiling(self, ceiling: float | None) -> None:
        """Change the maximum rate."""
        self.pacer.set_ceiling(ceiling)

    def put(self, rows: Sequence[T]) -> None:
        """Queue rows whose claims are committed."""
        self.in_flight += len(rows)
        for row in rows:
            self._inbox.put(row)

    def close(self) -> None:
        """End the threads. A thread that still waits for an answer ends with the process."""
        for _ in self._threads:
            self._inbox.put(None)
        for thread in self._threads:
            thread.join(timeout=None if not self.in_flight else 0.1)

    def ensure_workers(self) -> None:
        """Start the threads still needed for the rows in flight. Raises Stopped if no thread can be started."""
        for _ in range(min(self._target_workers(), self.in_flight) - len(self._threads)):
            worker = Worker(self.operation, self.pacer, self._pace, self._clock, self.stop, self._permit)
            name = f"worker-{len(self._threads) + 1}"
            thread = threading.Thread(target=self._run_worker, args=(worker,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system's limit: continue with the existing threads
                if self._threads:
                    return
                raise Stopped(
                    "The system lets no thread be started.", "Raise its limit on threads, then resume."
                ) from None
            self._threads.append(thread)
            self._workers.append(worker)

    def retrying(self) -> Sequence[int]:
        """Return the number of the next attempt of each row that is being retried."""
        return [attempt for worker in self._workers if (attempt := worker.retrying)]

    def return_unsent(self) -> None:
        """Put the rows that wait in the inbox into the results, unsent."""
        while True:
            try:
                what = self._inbox.get_nowait()
            except Empty:
                return
            if what is not None:
                given_back = self.operation.settle(what, self.operation.begin(what), self._pace.max_attempts)
                self._results.put((self, given_back))

    def _target_workers(self) -> int:
        """Return the number of threads: rate times latency (Little's law) plus a margin, more if slots stay unused."""
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
                self._note_latency(worker.latency)
            except BaseException as error:  # noqa: BLE001  (a bug; the coordinator raises it again)
                self.stop.set()
                result = WorkerCrashed(error)
            self._results.put((self, result))

    def _note_latency(self, latency: float | None) -> None:
        """Note the latency of a row. Threads call it without a lock: the loss of one note changes nothing."""
        if latency is not None:
            # Let the lowest latency rise slowly, less per result at high rates: CPU delays must not add threads.
            self._quickest = min(latency, (self._quickest or latency) * (1 + 7 / self._max_rate))


@dataclass(frozen=True)
class LaneOpener:
    """Opens lanes with the same key in this process. Their calls go to the pools of `sessions`."""

    sessions: Mapping[str, TargetSession]
    kind: TransportKind
    key: LaneKey
    pace: PaceConfig
    clock: Clock
    results: Results
    permit: SendPermit

    def set_password(self, listing: Pacer | None) -> SetPassword:
        """Return the operation that sets passwords. Users are looked up at the pace of `listing`; None: they are not."""
        evidence = ListedEvidence(self.sessions, listing, self.clock, self.key.stop) if listing else None
        return SetPassword({pool: open_transport(self.kind, it) for pool, it in self.sessions.items()}, evidence)

    def take_step(self, step: Step) -> TakeStep:
        """Return the operation that takes a step."""
        return TakeStep(step, self._step_transports)

    def open(
        self,
        operation: Operation[T],
        ceiling: float | None,
        changed: Callable[[float, str], None],
        state: PacerState | None = None,
    ) -> Lane[T]:
        """Return a lane, which continues from the state of its pacer elsewhere. `changed` is called with new rates."""
        pacer = Pacer(ceiling, self.clock, changed)
        if state:
            pacer.resume(state)
        rate = max_rate_of(operation, self.kind)
        return Lane(operation, pacer, self.pace, self.clock, self.results, self.key, rate, self.permit)

    @cached_property
    def _step_transports(self) -> Mapping[str, BotoTransport]:
        return {pool: BotoTransport.of(session) for pool, session in self.sessions.items()}


def max_rate_of(operation: Operation[Any], kind: TransportKind) -> int:
    """Return the calls per second that a lane without a pace has threads for."""
    return MAX_RATE[kind if operation.step is None else "boto3"]
