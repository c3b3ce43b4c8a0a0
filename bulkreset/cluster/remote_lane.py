"""The remote lanes: lanes as the coordinator knows them, whose threads and pacers are on workers of a fleet."""

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

BATCH_SECONDS: Final = 1.0  # of a lane's work; two of them are with the worker, so that it never waits for one
UNPACED_SECONDS: Final = 0.25
UNPACED_BATCH: Final = 128


class LaneCarrier(Protocol):
    """What carries the rows of remote lanes to where they are sent."""

    def check(self) -> None:
        """Raise what forbids going on: FleetLost."""

    def call_soon(self, do: Callable[..., None], *args: object) -> None:
        """Have it done by the carrier's thread, in the order of the calls."""

    def put(self, lane: "RemoteLane[Any]", rows: Sequence[Any]) -> None:
        """Rows for a lane."""

    def halt(self, number: int) -> None:
        """No attempt more at a place."""


@dataclass(frozen=True, slots=True)
class RemoteRate:
    """What is asked here of a lane's pacer, which is elsewhere; `rate` as it was last told."""

    ceiling: float | None
    rate: Callable[[], float | None]


class RemoteLane(Generic[T]):
    """A lane as the coordinator knows one; its threads and its pacer are on a worker, and not always on the same."""

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
        # Below: written by the fleet's thread alone.
        self.rate = ceiling
        self.carries = MAX_RATE["boto3"]
        self.is_moving = False
        self.waiting: deque[T] = deque()  # claimed, and not with a worker
        self.away: dict[int, T] = {}  # with a worker
        self.state: PacerState | None = None
        self.state_at = 0.0
        self._fleet = fleet

    def capacity(self) -> int:
        """How many more rows may be claimed for this lane now: two batches may be out. Raises FleetLost."""
        self._fleet.check()
        batch = (
            max(UNPACED_BATCH, math.ceil(self.carries * UNPACED_SECONDS))
            if self.rate is None
            else max(1, math.ceil(self.rate * BATCH_SECONDS))
        )
        return 0 if self.is_moving or self.in_flight > batch else 2 * batch - self.in_flight

    def put(self, rows: Sequence[T]) -> None:
        """Hand over rows whose claim is committed."""
        self.in_flight += len(rows)
        self._fleet.call_soon(self._fleet.put, self, rows)

    def on_result(self, result: Result) -> None:
        """The coordinator has taken one result of this lane. A crash is of no row here: what it had comes back in doubt."""
        if isinstance(result, RowResult):
            self.in_flight -= 1
            self.attempts += result.outcome.attempts

    def ensure_workers(self) -> None:
        """The outpost's business. Raises FleetLost where there can be none any more."""
        self._fleet.check()

    def return_unsent(self) -> None:
        """Start no attempt more; what was not sent comes back."""
        self._fleet.call_soon(self._fleet.halt, self.key.number)

    def close(self) -> None:
        """The fleet's business, which closes all of them."""


@dataclass(slots=True, eq=False)
class WorkerSession:
    """A worker with an outpost of ours. `until` is the end of the last lease that it may have, on this clock."""

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
    """A place's lanes: they go to one worker together. `not_before` is when they may be opened, on this clock."""

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
