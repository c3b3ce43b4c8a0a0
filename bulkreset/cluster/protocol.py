"""Messages between the coordinator and its worker agents. Both sides must have the same protocol version."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bulkreset.cognito.transport_factory import TransportKind
from bulkreset.job import PaceConfig, Target
from bulkreset.send.pacer import PacerState
from bulkreset.send.worker import RowResult

PROTOCOL: Final = 1  # version of these messages; a worker with another version gets no lane
LEASE_SECONDS: Final = 5.0  # how long a worker agent keeps sending without hearing from the coordinator

# A lane: the number of its lane group, and its index in the group.
LaneAddress = tuple[int, int]


@dataclass(frozen=True, slots=True)
class LaneOrder:
    """A lane to open: the call it makes, its ceiling in calls per second, and the pacer state to continue from."""

    call: str
    ceiling: float | None
    state: PacerState | None


@dataclass(frozen=True, slots=True)
class OpenLanes:
    """Order to open the lanes of a lane group.

    `place` is the lane group's number. `targets` have the confirmed Region and endpoint; `account` is "" if not known.
    `ceilings` are those of all password lanes that the worker will have; it chooses the transport by them.
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
    """Order to send rows. Their claims are already committed."""

    lane: LaneAddress
    rows: Sequence[Any]


@dataclass(frozen=True, slots=True)
class HaltLanes:
    """Order to start no more attempts in a lane group, and to return the unsent rows."""

    place: int


@dataclass(frozen=True, slots=True)
class CloseLanes:
    """Order to close a lane group without outstanding rows, and to report its pacer states."""

    place: int


@dataclass(frozen=True, slots=True)
class EndSession:
    """Order to end the session."""


Order = OpenLanes | SendRows | HaltLanes | CloseLanes | EndSession


@dataclass(frozen=True, slots=True)
class OpenFailed:
    """Report that a lane group could not be opened."""

    place: int
    message: str
    advice: str


@dataclass(slots=True)
class WorkerReport:
    """What has happened on a worker since the last report.

    `bug` is the code location of a bug, "" if there was none. `halted` are the halted lane groups that have no
    outstanding rows left. `unix` is the worker's Unix time.
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
    """The answer of a worker to a handshake; `unix` is its Unix time."""

    protocol: int
    unix: float
    pid: int
