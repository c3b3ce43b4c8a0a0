"""The coordinator's view of lanes whose threads and pacers run on cluster workers."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol

from bulkreset.cluster.protocol import Order
from bulkreset.cognito.transport_factory import MAX_RATE
from bulkreset.errors import Stopped
from bulkreset.job import PaceConfig, Target
from bulkreset.send.lane import LaneKey, Result
from bulkreset.send.operations import Operation, T
from bulkreset.send.pacer import PacerState
from bulkreset.send.worker import RowResult

BATCH_SECONDS: Final = 1.0  # of a lane's work. Up to two batches are with the worker, so that it never waits for rows
UNPACED_SECONDS: Final = 0.25
UNPACED_BATCH: Final = 128


class LaneCarrier(Protocol):
    """What remote lanes need of the cluster runner."""

    def check(self) -> None:
        """Raise ClusterLost if sending cannot continue."""

    def call_soon(self, do: Callable[..., None], *args: object) -> None:
        """Schedule `do(*args)` on the carrier's thread. Calls keep their order."""

    def put(self, lane: "RemoteLane[Any]", rows: Sequence[Any]) -> None:
        """Queue rows for a lane."""

    def halt(self, number: int) -> None:
        """Stop starting attempts in a lane group."""


@dataclass(frozen=True, slots=True)
class RemoteRate:
    """The coordinator's view of a pacer that runs on a worker. `rate` returns the rate last reported."""

    ceiling: float | None
    rate: Callable[[], float | None]


class RemoteLane(Generic[T]):
    """A lane whose threads and pacer run on a worker. The worker can change during the run."""

    def __init__(
        self,
        fleet: LaneCarrier,
        errand: Operation[T],
        place: LaneKey,
        ceiling: float | None,
        pace: PaceConfig,
        changed: Callable[[float, str], None],
    ) -> None:
        self.operation = errand
        self.pacer = RemoteRate(ceiling, lambda: self.rate)
        self.key = place
        self.stop = place.stop
        self.in_flight = 0
        self.attempts = 0
        self.pace = pace
        self.changed = changed
        # Below: written only by the cluster thread.
        self.rate = ceiling
        self.carries = MAX_RATE["boto3"]
        self.is_moving = False
        self.waiting: deque[T] = deque()  # claimed, but not with a worker
        self.away: dict[int, T] = {}  # with a worker
        self.state: PacerState | None = None
        self.state_at = 0.0
        self._fleet = fleet

    def capacity(self) -> int:
        """Return how many more rows may be claimed for this lane now, so that at most two batches are in flight.

        Returns 0 while the lane moves or more than one batch is in flight. Raises ClusterLost.
        """
        self._fleet.check()
        batch = (
            max(UNPACED_BATCH, math.ceil(self.carries * UNPACED_SECONDS))
            if self.rate is None
            else max(1, math.ceil(self.rate * BATCH_SECONDS))
        )
        return 0 if self.is_moving or self.in_flight > batch else 2 * batch - self.in_flight

    def put(self, rows: Sequence[T]) -> None:
        """Send rows whose claims are committed."""
        self.in_flight += len(rows)
        self._fleet.call_soon(self._fleet.put, self, rows)

    def on_result(self, result: Result) -> None:
        """Count one result taken by the coordinator. A crash belongs to no row: its rows come back in doubt."""
        if isinstance(result, RowResult):
            self.in_flight -= 1
            self.attempts += result.outcome.attempts

    def ensure_workers(self) -> None:
        """Raise ClusterLost if there can be no worker any more. The worker agent starts the threads itself."""
        self._fleet.check()

    def retrying(self) -> Sequence[int]:
        """Return nothing: a worker agent reports only results."""
        return ()

    def return_unsent(self) -> None:
        """Start no more attempts; unsent rows come back as results."""
        self._fleet.call_soon(self._fleet.halt, self.key.number)

    def close(self) -> None:
        """Do nothing: the cluster runner closes all lanes."""


@dataclass(slots=True, eq=False)
class WorkerSession:
    """A session with a worker agent. `lease_ends` is the end of its last possible lease, on the coordinator's clock."""

    worker: str
    session: str
    orders: list[Order] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    lease_ends: float = 0.0
    turn: int = 0
    is_fit: bool = True
    is_over: bool = False
    task: "asyncio.Task[None] | None" = None


@dataclass(slots=True, eq=False)
class LaneGroup:
    """Lanes with the same lane key, which go to one worker together.

    `not_before` is the earliest time to open them, on the coordinator's clock. `weight` is in calls per second.
    `failed_at` are the workers that could not open them.
    """

    key: LaneKey
    account: str
    targets: Sequence[Target]
    emulated: bool
    lanes: Sequence[RemoteLane[Any]]
    weight: float
    worker: WorkerSession | None = None
    moving_to: WorkerSession | None = None
    is_open: bool = False
    is_halted: bool = False
    stopped: Stopped | None = None
    is_retiring: bool = False
    not_before: float = 0.0
    failed_at: set[str] = field(default_factory=set)
