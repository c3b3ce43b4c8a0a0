"""The value types that all packages share: secrets, rows, outcomes and summaries."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Literal, NamedTuple, Never

from bulkreset.errors import StoppedBy
from bulkreset.statuses import Status as Status  # noqa: PLC0414  (exported: a row has a status)
from bulkreset.steps import COLUMNS, Counted
from bulkreset.text import format_count

_SPELT_OTHERWISE = re.compile(r"[^ !#-\[\]-~]").search  # characters that JSON escapes or may escape


def format_rows(number: int) -> str:
    """Return a number of rows as text for people, such as "1,200 rows"."""
    return format_count(number, "row")


class Secret:
    """A password that is never printed or serialised. Only the line that sends it calls `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the password in plain text."""
        return self._value

    def withhold(self, text: str) -> str:
        """Return `text`, or a notice instead of it if it contains the password, plain or JSON-escaped."""
        spellings = [self._value]
        if _SPELT_OTHERWISE(self._value):
            spellings += [json.dumps(self._value)[1:-1], json.dumps(self._value, ensure_ascii=False)[1:-1]]
        if any(spelling in text for spelling in spellings):
            return "(the message repeated the password and was withheld)"
        return text

    def __repr__(self) -> str:
        return "Secret(********)"

    def __str__(self) -> str:
        return "********"

    def __format__(self, _spec: str) -> str:
        return "********"

    def __reduce__(self) -> Never:
        raise TypeError("a Secret is never serialised")


class EndState(StrEnum):
    """How an execution of a run ended. All but `finished` were stopped before their end."""

    FINISHED = "finished"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    TIME_LIMIT = "time_limit"
    ROW_LIMIT = "row_limit"
    WAVE = "wave"


class RejectCode(StrEnum):
    """The reason why the plan rejected a row."""

    BAD_VALUE = "bad_value"
    MISSING_USERNAME = "missing_username"
    MISSING_PASSWORD = "missing_password"  # noqa: S105  (a code, not a password)
    TOO_LONG = "too_long"
    UNKNOWN_POOL = "unknown_pool"
    PASSWORD_WHITESPACE = "password_whitespace"  # noqa: S105  (a code, not a password)
    PASSWORD_POLICY = "password_policy"  # noqa: S105  (a code, not a password)
    SUSPECT_PASSWORD = "suspect_password"  # noqa: S105  (a code, not a password)
    DUPLICATE_USERNAME = "duplicate_username"
    USER_NOT_FOUND = "user_not_found"


class SkipReason(StrEnum):
    """The reason why the plan skipped a row: a property of its user."""

    PROTECTED = "protected"
    FEDERATED = "federated"
    DISABLED = "disabled"
    PASSWORDLESS = "passwordless"
    UNCONFIRMED = "unconfirmed"
    UNRECOVERABLE = "unrecoverable"


class Recovery(StrEnum):
    """How a pool can send a user a code to recover the account by forgot-password."""

    EMAIL = "email"
    PHONE = "phone"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the input, ready to be sent.

    `was_in_doubt`: the answer to an earlier call was lost. `retrying_failed`: the row has failed since then.
    `doubted_since`: a time (Unix milliseconds) before that call, None if unknown. `canonical` is the user's own name if
    it is known and differs, else "".
    """

    number: int
    username: str
    password: Secret
    pool: str
    permanent: bool
    was_in_doubt: bool = False
    retrying_failed: bool = False
    doubted_since: int | None = None
    canonical: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a row after its attempts. Times are Unix milliseconds; `latency_ms` is the last attempt's latency.

    `status` is `set`, `failed` or `in_doubt`, or `ready` if the row was returned unfinished.
    """

    row: int
    status: Status
    code: str = ""
    message: str = ""
    attempts: int = 0
    throttled: int = 0
    in_doubt: bool = False
    latency_ms: int | None = None
    request_id: str = ""
    started_at: int | None = None
    finished_at: int | None = None


@dataclass(slots=True)
class StepTask:
    """A step to take for one user after the password was set.

    `found` are the items that must still be removed, if the step removes some. `is_listed`: all their pages were listed; `token` leads to the next one. `empty` pages were listed.
    """

    number: int
    username: str
    pool: str
    found: list[str] = field(default_factory=list, compare=False)
    is_listed: bool = field(default=False, compare=False)
    token: str = field(default="", compare=False)
    empty: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """The result of the step of this name. `done` is None if it was returned unfinished.

    `code` and `message` say why it failed.
    """

    step: str
    row: int
    done: bool | None
    code: str = ""
    message: str = ""
    attempts: int = 0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class EntityChange:
    """How many entities of one kind a recovery of a pool creates, updates and deletes."""

    entity: str
    created: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class RateChange:
    """A change of a lane's rate. `rate` is the new rate in calls per second; `at_ms` is Unix milliseconds."""

    at_ms: int
    account: str
    region: str
    rate: float
    reason: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that will be sent; its commit comes before its first call. `at_ms` is the time in Unix milliseconds."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # an outcome has more fields, so it is never read as a claim

    row: int
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class StateChanged:
    """New values of fields of the run state."""

    changes: Mapping[str, Any]


# What happens while a run sends. One commit of events goes to the journal, and from there to the mirror.
Event = Outcome | StepOutcome | Claimed | RateChange | StateChanged


@dataclass(frozen=True, slots=True)
class LaneSummary:
    """One lane in the summary. `rate`, `quota` and `ceiling` (the limit that was used) are calls per second.

    `rows` is the number of rows to send in the last execution; `counts` covers all executions. `stopped_by` describes
    the error that stopped this lane. `limit` (calls per second) is the last limit in force, if `limited_by`, its
    reason, is not "", which stands for the job's own ceiling.
    """

    account: str
    region: str
    rate: float | None
    quota: float
    ceiling: float | None
    pools: tuple[str, ...] = ()
    rows: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    stopped_by: StoppedBy | None = None
    limit: float | None = None
    limited_by: str = ""
    changes: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """The content of summary.json: the figures of one run.

    `seconds` is the duration of the whole run, `sending_seconds` the time spent sending; `report` is a file name.
    If the plan is not complete, `rows` and `counts` cover the rows that were read. `unchecked` maps each pool whose
    users were not looked up to the reason. `undone` maps each pool that was restored to the time of that. `resent`
    counts the rows that were claimed when a process died: they may have been sent, and were to be sent again.
    """

    run_id: str
    job: str
    mode: str
    emulated: bool
    state: str
    exit_code: int
    resumable: bool
    started_at: str
    finished_at: str
    seconds: float
    rows: int
    plan_complete: bool = field(default=True, kw_only=True)
    counts: Mapping[str, int]
    codes: Mapping[str, int]
    attempts: int
    throttled: int
    resent: int = field(default=0, kw_only=True)
    rows_per_second: float
    sending_seconds: float
    lanes: tuple[LaneSummary, ...]
    input: Mapping[str, Any]
    targets: tuple[Mapping[str, Any], ...]
    report: str = "report.csv"
    unchecked: Mapping[str, str] | None = field(default=None)
    approved: Mapping[str, str] | None = field(default=None)
    signed_out: Mapping[str, int] | None = field(default=None)
    sessions_revoked: Mapping[str, int] | None = field(default=None)
    devices_forgotten: Mapping[str, int] | None = field(default=None)
    totp_deleted: Mapping[str, int] | None = field(default=None)
    stopped_by: StoppedBy | None = field(default=None)
    undone: Mapping[str, str] | None = field(default=None)

    @property
    def steps(self) -> Counted:
        """Return the users of each step after the password by its state, by the step's column."""
        return {column: counts for column in COLUMNS if (counts := getattr(self, column))}


class ReportRow(NamedTuple):
    """A row as the reports and the page show it. Times are Unix milliseconds; flags are 1, 0, or None if unknown.

    `canonical` is the user's own name if it is known, else the username.
    """

    row: int
    user_pool_id: str
    username: str
    status: str
    code: str
    message: str
    attempts: int
    throttled: int
    in_doubt: int
    permanent: int | None
    signed_out: int | None
    sessions_revoked: int | None
    devices_forgotten: int | None
    totp_deleted: int | None
    latency_ms: int | None
    request_id: str
    started_at: int | None
    finished_at: int | None
    status_before: str
    recovery: str
    file: str
    canonical: str


ReportFormat = Literal["csv", "parquet", "jsonl"]
REPORT_COLUMNS = tuple(name for name in ReportRow._fields if name != "canonical")  # it can be a real name
