"""The fate: what has become, since a run, of one user whom it set; judged from the journal's row and the user as it was found."""

from enum import StrEnum
from typing import Any, NamedTuple

from bulkreset.cells import spreadsheet_safe
from bulkreset.journal.records import SetRow
from bulkreset.plan.user_lookup import ABSENT, RowFinding
from bulkreset.report.report import format_iso

COLUMNS = (
    "row",
    "user_pool_id",
    "username",
    "state",
    "user_status",
    "set_at",
    "modified_at",
    "expires_at",
)

_DAY = 86_400_000  # milliseconds
# Milliseconds by which this machine's clock and the service's may differ: with more, no call's signature is taken.
_SLACK = 300_000
_TEMPORARY = "FORCE_CHANGE_PASSWORD"
_OWN = "CONFIRMED"


class UserState(StrEnum):
    """What a set row is now. All but `changed` and `agrees` are left to be looked after."""

    WAITING = "waiting"  # the temporary password is still good, and not used
    EXPIRING = "expiring"  # it will not be good much longer
    EXPIRED = "expired"  # only an administrator can help
    CHANGED = (
        "changed"  # a temporary password: the user has chosen another; a permanent one: the user was changed since
    )
    AGREES = "agrees"  # a permanent password, and nobody has changed the user since
    UNTOUCHED = "untouched"  # the user was last changed before the run: the report says otherwise
    DIFFERS = "differs"  # the user's status is not what the set password leaves behind
    GONE = "gone"  # the pool has no such user any more


DONE = frozenset({UserState.CHANGED, UserState.AGREES})
SHORT = frozenset({UserState.EXPIRING, UserState.EXPIRED})  # whose temporary passwords are to be made anew


class VerifiedUser(NamedTuple):
    """One set row. Times are Unix milliseconds; `expires_at` is None for a permanent password."""

    row: int
    pool: str
    username: str
    state: UserState
    status: str
    set_at: int
    modified_at: int | None
    expires_at: int | None

    def values(self) -> dict[str, Any]:
        """By the report's columns, with times in words; None where there is nothing to say."""
        found = (self.row, self.pool, self.username, self.state.value, self.status or None)
        times = (None if at is None else format_iso(at) for at in (self.set_at, self.modified_at, self.expires_at))
        return dict(zip(COLUMNS, (*found, *times), strict=True))

    def cells(self) -> list[Any]:
        """The line of the report; no cell is one that a spreadsheet would run."""
        return [spreadsheet_safe(value) if isinstance(value, str) else value for value in self.values().values()]


def classify(row: SetRow, found: RowFinding, temporary_days: int, now: int, within_days: float) -> VerifiedUser:
    """What one set row is now; a temporary password is good for so many days, and expiring within so many."""
    expires = None if row.permanent else row.finished_at + temporary_days * _DAY
    if found.kind == ABSENT:
        state = UserState.GONE
    elif found.status == _TEMPORARY and expires is not None:
        state = _unused_state(expires, now, within_days)
    elif found.status != _OWN:
        state = UserState.DIFFERS
    else:
        state = _confirmed_state(row, found.modified)
    return VerifiedUser(row.row, row.pool, row.username, state, found.status, row.finished_at, found.modified, expires)


def _unused_state(expires: int, now: int, within_days: float) -> UserState:
    if now >= expires:
        return UserState.EXPIRED
    return UserState.EXPIRING if now >= expires - within_days * _DAY else UserState.WAITING


def _confirmed_state(row: SetRow, modified: int | None) -> UserState:
    """A user who has a password of their own, or the permanent one that was set."""
    if modified is not None and modified < row.started_at - _SLACK:
        return UserState.UNTOUCHED  # the password that was set, or changed, was so without the run
    if not row.permanent:
        return UserState.CHANGED
    return UserState.CHANGED if modified is not None and modified > row.finished_at + _SLACK else UserState.AGREES
