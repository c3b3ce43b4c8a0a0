"""Messages between the coordinator and its worker agents, as plain JSON. Both sides need the same protocol version."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError

from bulkreset.cognito.response import Response
from bulkreset.cognito.transport import TransportKind
from bulkreset.job import PaceConfig, Target
from bulkreset.models import Outcome, Row, Secret, StepOutcome, StepTask
from bulkreset.send.pacer import PacerState

PROTOCOL: Final = 6  # version of these messages; a worker with another version gets no lane
LEASE_SECONDS: Final = 5.0  # seconds that a worker agent keeps sending without a message from the coordinator
MAX_TEXT: Final = 2**20  # characters of a text that a worker reports: a service may send long texts

T = TypeVar("T")
Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, Field(max_length=MAX_TEXT)]

# A lane: the number of its lane group, and its index in the group.
LaneAddress = tuple[Count, Count]


class InvalidMessage(Exception):
    """A message that is not one of these, or that cannot be true."""


def _item_values(item: Row | StepTask) -> tuple[Any, ...]:
    """Return an item as plain values. This function alone writes a password into a message, in a SecretEnvelope."""
    if isinstance(item, StepTask):
        return item.number, item.username, item.pool
    password = item.password.reveal()
    flags = item.permanent, item.was_in_doubt, item.retrying_failed
    return item.number, item.username, password, item.pool, *flags, item.doubted_since, item.canonical


def _item_of(values: object) -> Row | StepTask:
    found = _ITEM.validate_python(values)
    if len(found) == 3:  # noqa: PLR2004  (the fields of a StepTask)
        return StepTask(*found)
    number, username, password, pool, permanent, was_in_doubt, retrying_failed, doubted_since, canonical = found
    flags = permanent, was_in_doubt, retrying_failed
    return Row(number, username, Secret(password), pool, *flags, doubted_since, canonical)


_Values = tuple[int, str, str] | tuple[int, str, str, str, bool, bool, bool, int | None, str]
_ITEM: Final[TypeAdapter[_Values]] = TypeAdapter(
    _Values, config=ConfigDict(hide_input_in_errors=True, defer_build=True)
)
Item = Annotated[Row | StepTask, PlainValidator(_item_of), PlainSerializer(_item_values)]


def _pace_values(pace: PaceConfig) -> dict[str, Any]:
    return pace.model_dump(
        mode="json", exclude={"timetable", "timezone", "yield_to_users", "reserve", "shared"}
    )  # the coordinator sets the ceilings


def _pace_of(values: dict[str, Any]) -> PaceConfig:
    """Return the settings, even if this machine lacks the extra of their transport: OpenFailed reports that."""
    transport = values.get("transport")
    if transport not in {"auto", "boto3", "crt"}:
        raise ValueError
    checked = PaceConfig.model_validate_json(json.dumps(values | {"transport": "auto"}))
    return checked.model_copy(update={"transport": transport})


PlainPace = Annotated[PaceConfig, PlainValidator(_pace_of), PlainSerializer(_pace_values)]


@dataclass(frozen=True, slots=True)
class LaneOrder:
    """A lane to open: the call it makes, its ceiling in calls per second, and the pacer state to continue from."""

    call: str
    ceiling: float | None
    state: PacerState | None


@dataclass(frozen=True, slots=True)
class ListingPace:
    """The pace of a lane group's ListUsers, in calls per second, None without pacing."""

    ceiling: float | None


@dataclass(frozen=True, slots=True)
class OpenLanes:
    """Order to open the lanes of a lane group.

    `group` is the lane group's number. `targets` have the confirmed Region and endpoint; `account` is "" if unknown.
    `look_up` is the pace of the lookups after lost answers; None: no lookups.
    """

    group: int
    account: str
    targets: Sequence[Target]
    emulated: bool
    lanes: Sequence[LaneOrder]
    pace: PlainPace
    look_up: ListingPace | None = None
    order: Literal["open"] = "open"


@dataclass(frozen=True, slots=True)
class SendRows:
    """Order to send rows. Their claims are already committed."""

    lane: LaneAddress
    rows: list[Item]
    order: Literal["send"] = "send"


@dataclass(frozen=True, slots=True)
class HaltLanes:
    """Order to start no more attempts in a lane group, and to return the unsent rows."""

    group: int
    order: Literal["halt"] = "halt"


@dataclass(frozen=True, slots=True)
class CloseLanes:
    """Order to close a lane group without outstanding rows, and to report its pacer states."""

    group: int
    order: Literal["close"] = "close"


@dataclass(frozen=True, slots=True)
class SetCeiling:
    """Order to change the maximum rate of a lane: calls per second, 0 to send nothing, None for no pacing."""

    lane: LaneAddress
    ceiling: float | None
    order: Literal["ceiling"] = "ceiling"


@dataclass(frozen=True, slots=True)
class EndSession:
    """Order to end the session."""

    order: Literal["end"] = "end"


WorkerOrder = OpenLanes | SendRows | SetCeiling | HaltLanes | CloseLanes | EndSession


@dataclass(frozen=True, slots=True)
class RowReport:
    """The outcome of a row of a lane. `fatal` is the answer that must stop the lane."""

    lane: LaneAddress
    outcome: Outcome | StepOutcome
    fatal: Response | None = None


@dataclass(frozen=True, slots=True)
class OpenFailed:
    """Report that a lane group could not be opened."""

    group: int
    message: Text
    advice: Text


@dataclass(slots=True)
class WorkerReport:
    """What has happened on a worker since the last report.

    `bug` is the code location of a bug, "" if there was none. `halted` are the halted lane groups that have no
    outstanding rows left. `unix` is the worker's Unix time.
    """

    unix: float
    results: list[RowReport] = field(default_factory=list)
    states: list[tuple[LaneAddress, PacerState]] = field(default_factory=list)
    changes: list[tuple[LaneAddress, float, Text]] = field(default_factory=list)
    opened: list[tuple[int, TransportKind]] = field(default_factory=list)
    failed: list[OpenFailed] = field(default_factory=list)
    retired: list[tuple[int, list[PacerState]]] = field(default_factory=list)
    halted: list[int] = field(default_factory=list)
    bug: Text = ""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """The answer of a worker to a handshake; `unix` is its Unix time."""

    protocol: int
    unix: float
    pid: int


# A pacer without a cut has an infinite age of the last cut.
_CONFIG: Final = ConfigDict(defer_build=True, ser_json_inf_nan="constants", hide_input_in_errors=True, extra="forbid")
ORDERS: Final = TypeAdapter(list[Annotated[WorkerOrder, Field(discriminator="order")]], config=_CONFIG)
# In tuples, because a dataclass alone takes no configuration.
REPORT: Final = TypeAdapter(tuple[WorkerReport], config=_CONFIG)
INFO: Final = TypeAdapter(tuple[WorkerInfo], config=_CONFIG)


def pack(kind: TypeAdapter[T], message: T) -> bytes:
    """Return a message as JSON: ORDERS, with the passwords of their rows, a REPORT or an INFO."""
    return kind.dump_json(message, warnings=False)  # a warning would quote a row


def unpack(kind: TypeAdapter[T], packed: object) -> T:
    """Return the message in JSON. Raises InvalidMessage."""
    if not isinstance(packed, bytes):
        raise InvalidMessage("no bytes")
    try:
        return kind.validate_json(packed, strict=True)
    except ValidationError as error:  # its message would quote what arrived
        raise InvalidMessage(f"{error.error_count()} wrong values") from None
