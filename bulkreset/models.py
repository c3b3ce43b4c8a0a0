"""The values that travel: Secret, Status, Code, Kind, Row, Outcome, Leaver, SignedOut, RateChange, LaneSummary, Summary."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Never

_SPELT_OTHERWISE = re.compile(r"[^ !#-\[\]-~]").search  # what JSON escapes, or may


def format_rows(number: int) -> str:
    """A number of rows, as people are told it."""
    return f"{number:,} {'row' if number == 1 else 'rows'}"


class Secret:
    """A password. It shows itself to nobody: `reveal` is for the one line that sends it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The password itself."""
        return self._value

    def withhold(self, text: str) -> str:
        """`text`, or a notice in its place where it repeats the password in any usual spelling."""
        spellings = {self._value}
        if _SPELT_OTHERWISE(self._value):
            spellings |= {json.dumps(self._value)[1:-1], json.dumps(self._value, ensure_ascii=False)[1:-1]}
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
        msg = "a Secret is never serialised"
        raise TypeError(msg)


class Status(StrEnum):
    """What a row is, or what became of it. `claimed` exists in the journal only."""

    READY = "ready"
    REJECTED = "rejected"
    SKIPPED = "skipped"
    CLAIMED = "claimed"
    SET = "set"
    FAILED = "failed"
    IN_DOUBT = "in_doubt"
    UNPROCESSED = "unprocessed"


class RejectCode(StrEnum):
    """Why a row was rejected in the plan."""

    BAD_VALUE = "bad_value"
    MISSING_USERNAME = "missing_username"
    MISSING_PASSWORD = "missing_password"  # noqa: S105  (the name of a code)
    TOO_LONG = "too_long"
    UNKNOWN_POOL = "unknown_pool"
    PASSWORD_WHITESPACE = "password_whitespace"  # noqa: S105  (the name of a code)
    PASSWORD_POLICY = "password_policy"  # noqa: S105  (the name of a code)
    DUPLICATE_USERNAME = "duplicate_username"
    USER_NOT_FOUND = "user_not_found"


class SkipReason(StrEnum):
    """Why a row was skipped in the plan: what sets its user apart."""

    PROTECTED = "protected"
    FEDERATED = "federated"
    DISABLED = "disabled"
    PASSWORDLESS = "passwordless"
    UNCONFIRMED = "unconfirmed"
    UNRECOVERABLE = "unrecoverable"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the input, ready to be sent. `doubted`: an earlier call's answer was lost; `revived`: it has failed since."""

    number: int
    username: str
    password: Secret
    pool: str
    permanent: bool
    was_in_doubt: bool = False
    retrying_failed: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row after its attempts. Times are Unix milliseconds, latency is the last attempt's.

    `status` is `set`, `failed`, `in_doubt`, or `ready` where the row was given back unsettled.
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


@dataclass(frozen=True, slots=True)
class SignOutTask:
    """A user whose password was set and who is to be signed out."""

    number: int
    username: str
    pool: str


@dataclass(frozen=True, slots=True)
class SignOutOutcome:
    """What became of a sign-out: `done`, or not and why; None where it was given back unsettled."""

    row: int
    done: bool | None
    code: str = ""
    message: str = ""
    attempts: int = 0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class RateChange:
    """A lane's new rate in calls per second, and why; `at_ms` is Unix milliseconds."""

    at_ms: int
    account: str
    region: str
    rate: float
    reason: str


@dataclass(frozen=True, slots=True)
class LaneSummary:
    """One lane as the summary shows it: calls per second it ran at, its quota, the ceiling taken.

    `rows` were to be sent in the last execution, `counts` are over all; `stopped_by` is what stopped this lane.
    """

    account: str
    region: str
    rate: float | None
    quota: float
    ceiling: float | None
    pools: Sequence[str] = ()
    rows: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    stopped_by: Mapping[str, str] | None = None
    changes: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """summary.json: one run in figures. `seconds` is the whole run, `sending_seconds` the time of sending; `report` the file's name.

    Where the plan is not complete, `rows` and `counts` are of the rows that had been read. `unchecked` names the pools whose
    users were not looked up, and why.
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
    rows_per_second: float
    sending_seconds: float
    lanes: tuple[LaneSummary, ...]
    input: Mapping[str, Any]
    targets: tuple[Mapping[str, Any], ...]
    report: str = "report.csv"
    unchecked: Mapping[str, str] | None = field(default=None)
    approved: Mapping[str, str] | None = field(default=None)
    signed_out: Mapping[str, int] | None = field(default=None)
    stopped_by: Mapping[str, str] | None = field(default=None)
