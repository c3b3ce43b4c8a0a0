"""The orders: what the coordinator and its outposts tell each other. Both ends have the same version of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bulkreset.cognito.transport_factory import TransportKind
from bulkreset.job import PaceConfig, Target
from bulkreset.send.pacer import PacerState
from bulkreset.send.worker import RowResult

PROTOCOL: Final = 1  # of these values; an outpost of another one gets no lane
LEASE_SECONDS: Final = 5.0  # how long an outpost goes on without a word

# A lane: its place's number, and which of the place's lanes it is.
LaneAddress = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LaneOrder:
    """A lane to be opened: the call it makes, its ceiling in calls per second, and the pace to go on with."""

    call: str
    ceiling: float | None
    state: PacerState | None


@dataclass(frozen=True, slots=True)
class OpenLanes:
    """Open a place's lanes. `targets` have the Region and the endpoint that were confirmed, `account` is "" where it is not known.

    `ceilings` are those of all lanes that the worker is to carry, by which it chooses the transport.
    """

    place: int
    account: str
    targets: Sequence[Target]
    emulated: bool
    lanes: Sequence[LaneOrder]
    pace: PaceConfig
    ceilings: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class SendRows:
    """Rows to be sent, whose claim is committed."""

    lane: LaneAddress
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True)
class HaltLanes:
    """Start no attempt more; give back what was not sent."""

    place: int


@dataclass(frozen=True, slots=True)
class CloseLanes:
    """Close a place of which nothing is outstanding, and tell its pace."""

    place: int


@dataclass(frozen=True, slots=True)
class EndSession:
    """The session is over."""


Order = OpenLanes | SendRows | HaltLanes | CloseLanes | EndSession


@dataclass(frozen=True, slots=True)
class OpenFailed:
    """A place could not be opened."""

    place: int
    message: str
    advice: str


@dataclass(slots=True)
class WorkerReport:
    """What has happened since the last report. `bug` is the place of one in the code, "" where there was none.

    `halted` are the places that were told to halt and of which nothing is outstanding any more; `unix` is the worker's clock.
    """

    unix: float

    results: list[tuple[LaneAddress, RowResult]] = field(default_factory=list)
    states: list[tuple[LaneAddress, PacerState]] = field(default_factory=list)
    changes: list[tuple[LaneAddress, float, str]] = field(default_factory=list)
    opened: list[tuple[int, TransportKind]] = field(default_factory=list)
    failed: list[OpenFailed] = field(default_factory=list)
    retired: list[tuple[int, list[PacerState]]] = field(default_factory=list)
    halted: list[int] = field(default_factory=list)
    bug: str = ""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker says of itself; `unix` is its clock."""

    protocol: int
    unix: float
    pid: int
