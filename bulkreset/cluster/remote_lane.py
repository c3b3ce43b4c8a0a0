"""The coordinator's view of lanes whose threads and pacers run on cluster workers."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from bulkreset.cluster.placement import GroupEvent, GroupState, next_state
from bulkreset.cluster.protocol import ListingPace, WorkerOrder
from bulkreset.cognito.transport import MAX_RATE
from bulkreset.errors import Stopped
from bulkreset.job import PaceConfig, Target
from bulkreset.send.lane import LaneKey, LaneProtocol, Result, WorkerCrashed
from bulkreset.send.operations import Operation, T
from bulkreset.send.pacer import PacerState

if TYPE_CHECKING:
    from bulkreset.cluster.cluster_runner import ClusterRunner

BATCH_SECONDS: Final = 1.0  # of a lane's work. Up to two batches are with the worker, so that it never waits for rows
UNPACED_SECONDS: Final = 0.25
UNPACED_BATCH: Final = 128


@dataclass(frozen=True, slots=True)
class RemoteRate:
    """The coordinator's view of a pacer that runs on a worker. `rate` returns the rate last reported."""

    ceiling: float | None
    rate: Callable[[], float | None]


class RemoteLane(LaneProtocol[T]):
    """A lane whose threads and pacer run on a worker. The worker can change during the run."""

    def __init__(
        self,
        cluster: "ClusterRunner",
        operation: Operation[T],
        key: LaneKey,
        ceiling: float | None,
        pace: PaceConfig,
        changed: Callable[[float, str], None],
    ) -> None:
        super().__init__(operation, key)
        self.pacer: RemoteRate = RemoteRate(ceiling, lambda: self.rate)
        self.highest = ceiling  # a report may be older than a lower ceiling
        self.is_steered = False  # its ceiling has been changed
        self.pace = pace
        self.changed = changed
        # Below: written only by the cluster thread.
        self.rate = ceiling
        self.max_rate = MAX_RATE["boto3"]
        self.group: LaneGroup | None = None
        self.waiting: deque[T] = deque()  # claimed, but not with a worker
        self.away: dict[int, T] = {}  # with a worker
        self.away_since: dict[int, int] = {}  # when they were given to it, in Unix milliseconds
        self.state: PacerState | None = None
        self.state_at = 0.0
        self._cluster = cluster

    @property
    def is_moving(self) -> bool:
        """Return whether the lane is on its way to another worker."""
        return self.group is not None and self.group.state in {GroupState.MOVING, GroupState.CLOSING}

    def capacity(self) -> int:
        """Return how many more rows may be claimed for this lane now, so that at most two batches are in flight.

        Returns 0 while the lane moves, nothing may leave, or more than one batch is in flight. Raises ClusterLost.
        """
        self._cluster.check()
        ceiling = self.pacer.ceiling
        if ceiling == 0:
            return 0
        known = [rate for rate in (self.rate, ceiling) if rate is not None]
        batch = (
            max(1, math.ceil(min(known) * BATCH_SECONDS))
            if known
            else max(UNPACED_BATCH, math.ceil(self.max_rate * UNPACED_SECONDS))
        )
        return 0 if self.is_moving or self.in_flight > batch else 2 * batch - self.in_flight

    def set_ceiling(self, ceiling: float | None) -> None:
        """Change the maximum rate, on the worker too."""
        self.pacer = replace(self.pacer, ceiling=ceiling)
        self.is_steered = True
        self._cluster.set_ceiling(self)

    def put(self, rows: Sequence[T]) -> None:
        """Send rows whose claims are committed."""
        self.in_flight += len(rows)
        self._cluster.put(self, rows)

    def on_result(self, result: Result) -> None:
        """Count one result taken by the coordinator. A crash belongs to no row: its rows come back in doubt."""
        if not isinstance(result, WorkerCrashed):
            super().on_result(result)

    def ensure_workers(self) -> None:
        """Raise ClusterLost if there can be no worker any more. The worker agent starts the threads itself."""
        self._cluster.check()

    def return_unsent(self) -> None:
        """Start no more attempts; unsent rows are returned as results."""
        self._cluster.halt(self.key.number)


class SessionState(StrEnum):
    """To what extent a worker may be used."""

    SERVING = "serving"
    AVOIDED = "avoided"  # it could not open a lane group, so it gets others only if there is no other worker
    ENDING = "ending"  # the next exchange is the last one


@dataclass(slots=True, eq=False)
class WorkerSession:
    """A session with a worker agent. `lease_ends` is the end of its last possible lease, on the coordinator's clock.

    `invalid_answers` counts its useless answers.
    """

    worker: str
    session: str
    state: SessionState = SessionState.SERVING
    orders: list[WorkerOrder] = field(default_factory=list)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    lease_ends: float = 0.0
    turn: int = 0
    invalid_answers: int = 0
    task: "asyncio.Task[None] | None" = None

    def order(self, order: WorkerOrder) -> None:
        """Send an order with the next exchange, which begins at once."""
        self.orders.append(order)
        self.wake.set()


@dataclass(slots=True, eq=False)
class LaneGroup:
    """Lanes with the same lane key, which go to one worker together.

    `not_before` is the earliest time to open them, on the coordinator's clock. `weight` is in calls per second.
    `look_up` is the pace of the lookups after lost answers; None: no lookups. `failed_at` are the workers that could
    not open them; `stopped` is the error if no worker could. `moving_to` is the worker that should have them; it may be
    lost meanwhile.
    """

    key: LaneKey
    account: str
    targets: Sequence[Target]
    emulated: bool
    lanes: Sequence[RemoteLane[Any]]
    weight: float
    look_up: ListingPace | None = None
    state: GroupState = GroupState.WAITING
    worker: WorkerSession | None = None
    moving_to: WorkerSession | None = None
    stopped: Stopped | None = None
    not_before: float = 0.0
    failed_at: set[str] = field(default_factory=set)

    def apply(self, event: GroupEvent) -> None:
        """Change the state. Without a worker, forget the old one. Raises TransitionRefused."""
        self.state = next_state(self.state, event)
        if event in {GroupEvent.REFUSED, GroupEvent.CLOSED, GroupEvent.LOST}:
            self.worker = self.moving_to = None

    def has_rows(self) -> bool:
        """Return whether rows are with the worker."""
        return any(lane.away for lane in self.lanes)
